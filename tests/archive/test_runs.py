"""Archive runs, joins of ranges, the command `progress archive`, and checks of the archive."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Folder, Storage
from progress.archive import catalogue, check, log_rows, restore, runs
from progress.archive.catalogue import Finding, Range
from progress.errors import ArchiveDamaged, ProgressError, StorageUnavailable
from progress.projections import batch
from tests.conftest import Store
from tests.support import archives, cli, sample_events
from tests.support.stage import append


def list_positions(archive: Storage) -> list[tuple[int, int]]:
    return [(one.first, one.last) for one in archives.ranges(archive)]


def test_the_archive_contains_each_event_of_the_log_once(
    log: Connection, archive: Storage, folder: Path
) -> None:
    found = archives.run(log, archive)
    (count,) = log.run(archives.BLOCKS["count"])[0]
    assert list_positions(archive) == [(1, count)]
    assert (found.upto, sum(file.rows for file in found.files)) == (count, count)
    for file in found.files:
        data = (folder / file.path).read_bytes()
        assert hashlib.sha256(data).hexdigest().startswith(file.sha256)
        assert (len(data), file.buckets) == (file.bytes, archives.BUCKETS)
    assert {file.bucket is None for file in found.files} == {True, False}
    assert {file.path for file in found.files} == archives.paths(archive)


def test_full_ranges_are_archived_and_the_remaining_events_wait_until_they_are_old(
    log: Connection, archive: Storage, small_ranges: int
) -> None:
    archived = archives.run(log, archive, is_now=False)
    assert list_positions(archive) == [(1, 60), (61, 120)]
    assert archives.run(log, archive, is_now=False) == archived
    (count,) = log.run(archives.BLOCKS["count"])[0]
    assert 120 < count < 180
    now = archives.run(log, archive)
    assert archives.run(log, archive) == now
    append(log, sample_events.lesson("ann", 7))
    batch.run(log)
    assert archives.run(log, archive, is_now=False) == now
    archives.run(log, archive)
    assert list_positions(archive) == [(1, 60), (61, 120), (121, count + 8)]
    assert len({path.split("/")[1] for path in archives.paths(archive)}) == 3


def test_events_that_are_not_folded_are_not_archived(log: Connection, archive: Storage) -> None:
    (count,) = log.run(archives.BLOCKS["count"])[0]
    append(log, sample_events.lesson("ann", 7))
    assert archives.run(log, archive).upto == count


def test_a_run_removes_the_files_of_a_killed_rebuild(
    log: Connection, archive: Storage, folder: Path
) -> None:
    left = folder / "rebuilds/6/items.parquet"
    left.parent.mkdir(parents=True)
    left.touch()
    archives.run(log, archive)
    assert not left.exists()


def test_an_event_whose_erasure_has_begun_is_archived_as_if_it_were_erased(
    log: Connection, archive: Storage
) -> None:
    """The event still contains the learner's id, because the erasure has not emptied it yet."""
    log.run(archives.BLOCKS["begin erasure"], learner="ann")
    found = archives.run(log, archive)
    assert archives.files_with(archive, "learner-ann") == []
    assert archives.files_with(archive, "learner-una")
    assert sum(file.erased for file in found.files) == 32
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
        "location": f"{tmp_path}/archive", "ranges": None, "upto": None
    }  # fmt: skip
    done = archive(store, tmp_path, "--now", ARCHIVE_BUCKETS="64")
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
    lost, *_ = sorted(path.parent.iterdir())
    lost.unlink()
    missing = archive(store, tmp_path, "check", "--json")
    report = json.loads(cli.expect_failure(missing, path.parent.name, "lost"))
    events = 131 - int(lost.name.split("-")[3].removesuffix("rows"))
    assert (report["ranges"], report["upto"], report["events"]) == (1, 131, events)
    problem = f"has lost {131 - events} of 131 rows"
    assert report["findings"] == [{"path": f"ranges/{path.parent.name}", "problem": problem}]


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
    assert catalogue.location(settings.read(environment)) == expected


JOINED = [(1, 60), (61, 120), (121, 126), (127, 131)]


@pytest.fixture
def tiny_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RANGE", 6)
    monkeypatch.setattr(runs, "TOGETHER", 100)


@pytest.fixture
def joins(tiny_ranges: None, log: Connection, archive: Storage) -> Callable[[], None]:
    """Archive 22 ranges; return a function that joins each ten of them."""
    archives.run(log, archive)

    def join() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runs, "TOGETHER", 10)
            runs.join(log, archive, lambda *_: None)

    return join


def test_ten_neighbours_become_one_range_with_the_same_rows_but_the_newest_is_left(
    log: Connection, archive: Storage, joins: Callable[[], None]
) -> None:
    assert len(archives.ranges(archive)) == 22
    joins()
    assert list_positions(archive) == JOINED
    assert deep(log, archive) == []
    assert len({path.split("/")[1] for path in archives.paths(archive)}) == 4
    joins()
    assert list_positions(archive) == JOINED


def test_ranges_are_not_joined_if_a_file_would_be_too_large(
    archive: Storage, joins: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_MAX_JOINED", 1_000)
    joins()
    assert len(archives.ranges(archive)) == 22


@pytest.mark.exhaustive
def test_a_joined_range_that_has_lost_a_file_is_written_again_as_ten_ranges(
    log: Connection, archive: Storage, joins: Callable[[], None]
) -> None:
    joins()
    archive.remove_file(archives.ranges(archive)[0].files[0].path)
    archives.run(log, archive)
    assert deep(log, archive) == []
    assert len(archives.ranges(archive)) == 13
    joins()
    assert list_positions(archive) == JOINED


def test_a_step_that_reports_success_without_its_work_stores_and_removes_nothing(
    log: Connection, archive: Storage, joins: Callable[[], None]
) -> None:
    append(log, sample_events.lesson("ann", 7))
    batch.run(log)
    before, ranges = archives.paths(archive), archives.ranges(archive)

    def run() -> None:
        archives.run(log, archive)

    works = {"copy": [run], "join": [joins]}
    for fault in archives.SILENT_FAULTS:
        for work in works.get(fault[1], [run, joins]):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(*fault)
                with pytest.raises(ProgressError):
                    work()
            assert archives.ranges(archive) == ranges, fault
            assert archives.paths(archive) >= before
    run()
    joins()
    assert deep(log, archive) == []


def test_the_archive_of_ten_billion_events_has_at_most_two_hundred_ranges() -> None:
    ranges: list[Range] = []
    file = catalogue.File("", None, 16, runs.RANGE, 0, 28_000_000 // 256, "")
    most, now = 0, sample_events.BEGIN
    for number in range(10_000):
        first = number * runs.RANGE + 1
        ranges.append(Range(first, first + runs.RANGE - 1, now, [file]))
        while chosen := runs.choose(ranges):
            at, rows = ranges.index(chosen[0]), chosen[-1].last - chosen[0].first + 1
            joined = file._replace(rows=rows)
            ranges[at : at + len(chosen)] = [Range(chosen[0].first, chosen[-1].last, now, [joined])]
        most = max(most, len(ranges))
    assert most == 199
    assert ranges[-1].last == 10_000 * runs.RANGE


def test_an_archive_of_version_0_4_is_written_again_and_removed(
    log: Connection, archive: Storage, folder: Path, small_ranges: int
) -> None:
    ((at,),) = log.run("SELECT created_at FROM event_store.events WHERE global_position = 60")
    checkpoint = {"shard": 0, "position": 60, "event_id": "x", "recorded_at": at.isoformat()}
    ranges = folder / f"ranges/{1:020}-{60:020}"
    ranges.mkdir(parents=True)
    for name in ("manifest.json", "003-0123456789ab.parquet", "others-0123456789ab.parquet"):
        (ranges / name).touch()
    manifest = folder / "manifest.json"
    manifest.write_text(
        json.dumps({"checkpoints": [checkpoint | {"recorded_at": "2001-01-01T00:00:00Z"}]})
    )
    with pytest.raises(ProgressError, match="another log"):
        archives.run(log, archive)
    manifest.write_text(json.dumps({"checkpoints": [checkpoint]}))
    with pytest.raises(ProgressError, match=r"is of version 0\.4: run `progress archive --now`"):
        catalogue.require(archive)
    with pytest.raises(
        ProgressError, match=r"restore this archive of version 0\.4 by that version"
    ):
        restore.run(log, archive, lambda *_: None)
    assert archives.run(log, archive, is_now=False).upto == 120
    assert deep(log, archive) == []
    assert not manifest.exists()
    assert not ranges.exists()


def test_a_file_of_newer_code_is_neither_ignored_nor_removed(
    log: Connection, archive: Storage, folder: Path
) -> None:
    archives.run(log, archive)
    (folder / "ranges/0-1.delta").touch()
    for use in (shallow, lambda stored: archives.run(log, stored)):
        with pytest.raises(ProgressError, match="use newer code"):
            use(archive)
    assert "ranges/0-1.delta" in archives.paths(archive)


ANN = "learner-ann"


def shallow(archive: Storage) -> list[Finding]:
    return check.run(archive, lambda *_: None).findings


def deep(connection: Connection, archive: Storage) -> list[Finding]:
    return check.run_deep(connection, archive, lambda *_: None).findings


def test_an_intact_archive_has_no_findings(
    log: Connection, archive: Storage, small_ranges: int
) -> None:
    archives.run(log, archive)
    found = check.run_deep(log, archive, lambda *_: None)
    assert found.findings == []
    assert len(found.ranges) == 3
    assert [[sum(file.rows for file in found.files)]] == log.run(archives.BLOCKS["count"])
    assert shallow(archive) == []


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.first_in_gate
@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize(
    ("which", "damage", "problem"),
    [
        (ANN, Path.unlink, "has lost 32 of 60 rows"),
        (ANN, cut, "but its name says"),
        ("others", cut, "but its name says"),
    ],
)
def test_a_damaged_file_is_reported_and_the_next_run_writes_its_range_again(
    log: Connection, archive: Storage, folder: Path, *, which: str, damage: Any, problem: str
) -> None:
    archives.run(log, archive)
    others = archives.ranges(archive)[1].files[-1].path
    path = archives.find_file(archive, which) if which == ANN else others
    damage(folder / path)
    (finding,) = shallow(archive)
    expected = path if damage is cut else path.rpartition("/")[0]
    assert (finding.path, problem in finding.problem) == (expected, True)
    with pytest.raises(ArchiveDamaged, match=expected):
        catalogue.require(archive)
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


def test_a_range_that_has_lost_its_last_file_is_found_by_the_deep_check_and_written_again(
    log: Connection, archive: Storage, small_ranges: int
) -> None:
    """To the other checks, the run that writes the range could still be at work."""
    archives.run(log, archive)
    lost = archives.ranges(archive)[2].files[-1].path
    archive.remove_file(lost)
    assert shallow(archive) == []
    (finding,) = deep(log, archive)
    assert finding.path.rpartition("/")[0] == lost.rpartition("/")[0]
    archives.run(log, archive, is_now=False)
    assert lost in archives.paths(archive)
    assert deep(log, archive) == []
    for file in archives.ranges(archive)[1].files:
        archive.remove_file(file.path)
    assert shallow(archive) == [Finding("ranges", "has a gap: position 121 follows 60")]
    archives.run(log, archive, is_now=False)
    assert deep(log, archive) == []


def test_the_archive_of_another_log_is_rejected(log: Connection, archive: Storage) -> None:
    """A log that was restored to an earlier time has other events at the last positions."""
    upto = archives.run(log, archive).upto
    archives.change(log, "record later", position=upto)
    with pytest.raises(ProgressError, match="another log"):
        deep(log, archive)
    with pytest.raises(ProgressError, match="another log"):
        archives.run(log, archive)


@pytest.mark.parametrize("failure", [StorageUnavailable("no response"), ProgressError("HTTP 403")])
def test_a_storage_failure_is_raised_and_not_taken_for_a_missing_range(
    log: Connection, archive: Storage, monkeypatch: pytest.MonkeyPatch, failure: ProgressError
) -> None:
    archives.run(log, archive)
    before = archives.paths(archive)

    def fail(*_: object, **__: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "list_tree", fail)
        for use in (shallow, lambda stored: archives.run(log, stored)):
            with pytest.raises(ProgressError, match=str(failure)):
                use(archive)
    assert archives.paths(archive) == before
