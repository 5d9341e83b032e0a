"""Archive runs, merges of ranges, the command `progress archive`, and checks of the archive."""

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
from progress.archive.check import Finding
from progress.archive.manifests import RangeEntry, RangeManifest
from progress.errors import ProgressError, StorageUnavailable
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
    archives.change(log, "empty stream", stream_id="learner-ann")
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


ANN = "learner-ann"


def shallow(archive: Storage) -> list[Finding]:
    return check.run(archive, lambda *_: None).findings


def deep(connection: Connection, archive: Storage) -> list[Finding]:
    return check.run_deep(connection, archive, lambda *_: None).findings


def test_an_intact_archive_has_no_findings(
    log: Connection, archive: Storage, small_ranges: int
) -> None:
    archives.run(log, archive)
    report = check.run_deep(log, archive, lambda *_: None)
    assert report.findings == []
    assert len(report.manifest.ranges) == 3
    assert [[report.events]] == log.run(archives.BLOCKS["count"])
    assert shallow(archive) == []


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.first_in_gate
@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize(
    ("which", "damage", "problem"),
    [
        (ANN, Path.unlink, "is missing"),
        (ANN, cut, "but the manifest says"),
        ("manifest", cut, "is missing or damaged"),
    ],
)
def test_a_damaged_file_is_reported_and_the_next_run_writes_its_range_again(
    log: Connection, archive: Storage, folder: Path, *, which: str, damage: Any, problem: str
) -> None:
    archives.run(log, archive)
    manifest_paths = sorted(p for p in archives.paths(archive) if p.endswith("manifest.json"))
    path = archives.find_file(archive, which) if which == ANN else manifest_paths[1]
    damage(folder / path)
    (finding,) = shallow(archive)
    assert (finding.path, problem in finding.problem) == (path, True)
    assert deep(log, archive)[:1] == [finding]
    archives.run(log, archive, is_now=False)
    assert deep(log, archive) == []
    assert len(archives.ranges(archive)) == 3


def test_the_deep_check_also_finds_changed_bytes_other_rows_and_erased_rows(
    log: Connection, archive: Storage
) -> None:
    archives.run(log, archive)
    path = archives.find_file(archive, ANN)
    archives.flip_byte(archive, path)
    (finding,) = deep(log, archive)
    assert (finding.path, "changed" in finding.problem) == (path, True)
    archives.flip_byte(archive, path)
    archives.change(log, "change event", position=40)
    (finding,) = deep(log, archive)
    assert finding.problem == "has other rows than the log"
    archives.change(log, "empty stream", stream_id=ANN)
    erased = Finding(path, "holds 32 erased rows: the erasure has not ended")
    assert erased in deep(log, archive)
    assert shallow(archive) == []


@pytest.mark.parametrize("change", ["change event", "record later"])
def test_the_archive_of_another_log_is_rejected(
    log: Connection, archive: Storage, change: str
) -> None:
    """A log that was restored to an earlier time has other events at the last positions."""
    upto = archives.run(log, archive).upto
    archives.change(log, change, position=1 if change == "change event" else upto)
    with pytest.raises(ProgressError, match="another log"):
        deep(log, archive)
    with pytest.raises(ProgressError, match="another log"):
        archives.run(log, archive)


@pytest.mark.parametrize("failure", [StorageUnavailable("no response"), ProgressError("HTTP 403")])
def test_a_storage_failure_is_raised_and_not_taken_for_a_missing_range(
    log: Connection, archive: Storage, monkeypatch: pytest.MonkeyPatch, failure: ProgressError
) -> None:
    archives.run(log, archive)
    read_range, calls = manifests.read_range, list[RangeEntry]()

    def fail_once(stored: Storage, entry: RangeEntry) -> RangeManifest:
        calls.append(entry)
        if len(calls) == 1:
            raise failure
        return read_range(stored, entry)

    monkeypatch.setattr(manifests, "read_range", fail_once)
    with pytest.raises(ProgressError, match=str(failure)):
        shallow(archive)
    calls.clear()
    with pytest.raises(ProgressError, match=str(failure)):
        archives.run(log, archive)
