"""Archive runs, merges of ranges, the command `progress archive`, and the archive's location."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import check, files, log_rows, manifests, merges, runs
from progress.archive.manifests import RangeEntry
from progress.errors import ProgressError
from progress.projections import batch
from tests.conftest import Store
from tests.support import archives, cli, sample_events
from tests.support.stage import append


def test_the_archive_contains_each_event_of_the_log_once(
    log: Connection, archive: Storage, folder: Path
) -> None:
    archived = archives.run(log, archive)
    (contents,) = archives.ranges(archive)
    (count,) = log.run(archives.BLOCKS["count"])[0]
    assert (archived.upto, contents.first, contents.last) == (count, 1, count)
    assert contents.events == sum(file.rows for file in contents.files) == count
    for file in contents.files:
        data = (folder / manifests.file_path(contents, file.name)).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file.sha256
        assert len(data) == file.bytes
    assert {file.bucket is None for file in contents.files} == {True, False}


def test_full_ranges_are_archived_and_the_remaining_events_wait_until_they_are_old(
    log: Connection, archive: Storage, small_ranges: int
) -> None:
    archived = archives.run(log, archive, is_now=False)
    assert [(r.first, r.last) for r in archived.ranges] == [(1, 60), (61, 120)]
    assert archives.run(log, archive, is_now=False) == archived
    (count,) = log.run(archives.BLOCKS["count"])[0]
    assert 120 < count < 180
    assert archives.run(log, archive).upto == count
    assert archives.run(log, archive).upto == count


def test_events_that_are_not_folded_are_not_archived(log: Connection, archive: Storage) -> None:
    (count,) = log.run(archives.BLOCKS["count"])[0]
    append(log, sample_events.lesson("ann", 7))
    assert archives.run(log, archive).upto == count


def test_a_run_removes_files_that_a_killed_rebuild_left_more_than_a_day_ago(
    log: Connection, archive: Storage, folder: Path
) -> None:
    archives.run(log, archive)
    old, new = folder / "rebuilds/6/items.parquet", folder / "rebuilds/7/items.parquet"
    for file in (old, new):
        file.parent.mkdir(parents=True)
        file.touch()
    os.utime(old, (0, 0))
    archives.run(log, archive)
    assert not old.exists()
    assert new.exists()


def test_events_of_a_learner_whose_erasure_has_begun_are_not_archived(
    log: Connection, archive: Storage
) -> None:
    """The events still contain the learner's id, because the erasure has not emptied them yet."""
    log.run(archives.BLOCKS["begin erasure"], learner="ann")
    archives.run(log, archive)
    assert archives.files_with(archive, "learner-ann") == []
    assert archives.files_with(archive, "learner-una")
    (contents,) = archives.ranges(archive)
    left_out = {(row.event_id, row.stream_version) for row in contents.erased}
    assert left_out == {(None, None)}
    assert archives.differing(log, archive) == []
    archives.empty_stream(log, "learner-ann")
    assert archives.differing(log, archive) == []


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
    cli.expect_failure(archive(store, tmp_path, "check"), "run `progress archive --now`")
    nothing = archive(store, tmp_path, "--json")
    assert "Nothing archived" in nothing.stderr
    assert "run `progress archive --now`" in nothing.stderr
    assert json.loads(cli.expect_success(nothing)) == {
        "location": f"{tmp_path}/archive", "ranges": None, "upto": None, "merges": None
    }  # fmt: skip
    done = archive(store, tmp_path, "--now", "--merge", ARCHIVE_BUCKETS="64")
    output = cli.expect_success(done)
    assert f"Archived in {tmp_path}/archive: 1 range up to position 131." in output
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


def test_a_log_without_a_folded_event_is_not_called_empty(
    connection: Connection, store: Store, tmp_path: Path
) -> None:
    def archive_now() -> str:
        return cli.expect_success(archive(store, tmp_path, "--now"))

    assert "the log has no events" in archive_now()
    append(connection, sample_events.lesson("ann", 7))
    assert "the first one is not" in " ".join(archive_now().split())


def test_a_second_concurrent_run_does_nothing_and_reports_this(
    log: Connection, store: Store, tmp_path: Path
) -> None:
    with log_rows.hold_lock(log):
        output = cli.expect_success(archive(store, tmp_path, "--now"))
        assert "Nothing archived: another run works on the archive" in output
        assert not (tmp_path / "archive").exists()
        cli.expect_failure(archive(store, tmp_path, "restore"), "another run")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"PROGRESS_DATA_DIR": "/data"}, "/data/archive"),
        ({"ARCHIVE_BUCKET": "logs", "PROGRESS_DATA_DIR": "/data"}, "gs://logs"),
        ({"ARCHIVE_BUCKET": "gs://logs/2026"}, "gs://logs/2026"),
    ],
)
def test_the_archive_is_in_its_bucket_or_in_the_data_directory(
    environment: dict[str, str], expected: str
) -> None:
    assert manifests.location(settings.read(environment)) == expected


@pytest.fixture
def tiny_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RANGE", 6)


def merge(connection: Connection, archive: Storage) -> int:
    return merges.run(connection, archive, lambda: None)


@pytest.fixture
def slices(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Limit each slice to one stream. The returned list records the stream of each merged slice."""
    first: list[str] = []
    run = files.Workspace._run

    def record(workspace: files.Workspace, block: str, **values: object) -> list[Any]:
        if block == "write slice":
            first.append(str(values["first"]))
        return run(workspace, block, **values)

    monkeypatch.setattr(files.Workspace, "_run", record)
    monkeypatch.setattr(files, "_SLICE_ROWS", 1)
    return first


@pytest.mark.exhaustive
@pytest.mark.usefixtures("tiny_ranges")
def test_ten_ranges_are_merged_slice_by_slice_into_one_range_with_the_same_rows(
    log: Connection, archive: Storage, slices: list[str]
) -> None:
    archives.run(log, archive)
    assert len(archives.ranges(archive)) == 22
    assert merge(log, archive) == 2
    merged = archives.ranges(archive)
    assert [(one.first, one.last) for one in merged] == [(1, 60), (61, 120), (121, 126), (127, 131)]
    assert check.run_deep(log, archive, lambda *_: None).findings == []
    stored = [manifests.file_path(one, file.name) for one in merged[:2] for file in one.files]
    assert len(slices) > len(stored)
    for path in stored:
        rows = archives.stream_versions(archive, path)
        assert rows == sorted(rows)
    folders = {path.split("/")[1] for path in archives.paths(archive)}
    assert len(folders) == 4
    assert merge(log, archive) == 0


def test_ranges_are_not_merged_if_the_result_would_be_too_large(
    log: Connection, archive: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "RANGE", 13)
    archives.run(log, archive)
    assert merges.run(log, archive, lambda: None, largest=100) == 0
    with monkeypatch.context() as patch:
        patch.setattr(merges, "_MAX_BYTES", 1_000)
        assert merge(log, archive) == 0
    assert merges.run(log, archive, lambda: None, largest=130) == 1


@pytest.mark.exhaustive
@pytest.mark.usefixtures("tiny_ranges")
def test_an_interrupted_merge_leaves_the_ranges_as_they_were(
    log: Connection, archive: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives.run(log, archive)
    before = archives.ranges(archive)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(manifests, "publish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            merge(log, archive)
    assert archives.ranges(archive) == before
    assert check.run_deep(log, archive, lambda *_: None).findings == []
    assert merge(log, archive) == 2


@pytest.mark.exhaustive
@pytest.mark.usefixtures("tiny_ranges")
def test_a_merged_range_that_has_lost_a_file_is_written_again_as_ten_ranges(
    log: Connection, archive: Storage
) -> None:
    archives.run(log, archive)
    merge(log, archive)
    lost = archives.ranges(archive)[0]
    archive.remove_file(manifests.file_path(lost, lost.files[0].name))
    archives.run(log, archive)
    assert check.run_deep(log, archive, lambda *_: None).findings == []
    assert len(archives.ranges(archive)) == 13
    assert merge(log, archive) == 1


def test_a_step_that_reports_success_without_its_work_publishes_and_removes_nothing(
    log: Connection, archive: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "RANGE", 13)
    archives.run(log, archive)
    append(log, sample_events.lesson("ann", 7))
    batch.run(log)
    before, ranges = archives.paths(archive), archives.ranges(archive)
    works: dict[str, list[Any]] = {"copy": [archives.run], "merge": [merge]}
    for fault in archives.SILENT_FAULTS:
        for work in works.get(fault[1], [archives.run, merge]):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(*fault)
                with pytest.raises(ProgressError):
                    work(log, archive)
            assert archives.ranges(archive) == ranges, (fault, work)
            assert archives.paths(archive) >= before
    archives.run(log, archive)
    assert merge(log, archive) == 1
    assert check.run_deep(log, archive, lambda *_: None).findings == []


def test_the_archive_of_ten_billion_events_has_at_most_forty_ranges() -> None:
    entries: list[RangeEntry] = []
    most = 0
    for number in range(9_999):
        first = number * runs.RANGE + 1
        entries.append(RangeEntry(first, first + runs.RANGE - 1, ""))
        while chosen := next(merges.choose(entries), None):
            at = entries.index(chosen[0])
            entries[at : at + 10] = [RangeEntry(chosen[0].first, chosen[-1].last, "")]
        most = max(most, len(entries))
    assert most == 36
    assert entries[-1].last == 9_999 * runs.RANGE
