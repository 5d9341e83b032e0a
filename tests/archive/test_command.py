"""The command `progress archive`."""

import json
from pathlib import Path

import pytest

from progress.adapters.postgres.database import Connection
from progress.archive import log_rows
from tests.conftest import Store
from tests.support import cli

pytestmark = pytest.mark.timeout(300)  # commands are slow on a busy machine


def archive(store: Store, folder: Path, *words: str, **environment: str) -> cli.Result:
    """Run `progress archive` in another time zone and locale; neither may change the results."""
    return cli.progress(
        store.url,
        "archive",
        *words,
        PROGRESS_DATA_DIR=str(folder),
        TZ="Asia/Kathmandu",
        LC_ALL="C",
        **environment,
    )


def test_commands_write_and_check_an_archive_but_do_not_restore_it_into_a_log_with_events(
    log: Connection, store: Store, tmp_path: Path
) -> None:
    cli.expect_failure(archive(store, tmp_path, "check"), "no archive yet")
    nothing = archive(store, tmp_path, "--json")
    assert "nothing to archive yet" in nothing.stderr
    assert json.loads(cli.expect_success(nothing)) == {
        "location": f"{tmp_path}/archive", "ranges": None, "upto": None, "merges": None
    }  # fmt: skip
    done = archive(store, tmp_path, "--now", "--merge", ARCHIVE_BUCKETS="64")
    output = cli.expect_success(done)
    assert f"Archived in {tmp_path}/archive: 1 ranges up to position 131." in output
    assert "The archive is complete." in cli.expect_success(archive(store, tmp_path, "check"))
    output = cli.expect_success(archive(store, tmp_path, "check", "--deep"))
    assert "files with 131 events" in output
    cli.expect_failure(archive(store, tmp_path, "restore"), "not empty")
    (path,) = (tmp_path / "archive/ranges").glob("*/others-*.parquet")
    path.write_bytes(path.read_bytes().replace(b"i0", b"i9", 1))
    assert f"WRONG  {path.relative_to(tmp_path / 'archive')}" in cli.expect_failure(
        archive(store, tmp_path, "check", "--deep"), path.name
    )
    path.unlink()
    missing = archive(store, tmp_path, "check", "--json")
    report = json.loads(cli.expect_failure(missing, path.name, "missing"))
    assert (report["ranges"], report["upto"], report["events"]) == (1, 131, 131)
    path_in_archive = f"{path.relative_to(tmp_path / 'archive')}"
    assert report["findings"] == [{"path": path_in_archive, "problem": "is missing"}]


def test_a_second_concurrent_run_does_nothing_and_reports_this(
    log: Connection, store: Store, tmp_path: Path
) -> None:
    with log_rows.hold_lock(log):
        output = cli.expect_success(archive(store, tmp_path, "--now"))
        assert "Nothing archived: another run works on the archive" in output
        assert not (tmp_path / "archive").exists()
        cli.expect_failure(archive(store, tmp_path, "restore"), "another run")
