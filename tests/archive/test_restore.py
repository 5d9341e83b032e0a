"""Erasures from the archive, and restores, which fill an empty log or change nothing."""

import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Folder, Storage
from progress.archive import catalogue, check, erased_files, files, log_rows, restore, runs
from progress.errors import ProgressError
from progress.projections import batch, rebuild
from progress.projections.projector import Projector
from progress.recovery import checks
from tests.conftest import Store
from tests.support import archives, cloud_storage, model_rows, sample_events, stage


@pytest.fixture
def other(stores: Callable[[], Store], small_ranges: int) -> Store:
    return stores()


@pytest.fixture
def empty(other: Store) -> Iterator[Connection]:
    with contextlib.closing(other.connect()) as connection:
        yield connection


def fill(connection: Connection, archive: Storage) -> restore.Restored:
    return restore.run(connection, archive, lambda *_: None)


def test_a_restored_log_has_the_same_rows_and_gives_the_same_read_models(
    log: Connection, archive: Storage, other: Store, empty: Connection
) -> None:
    archives.run(log, archive)
    restored = fill(empty, archive)
    assert (restored.positions, restored.erased) == (131, 0)
    for block in ("rows", "sessions"):
        assert empty.run(archives.BLOCKS[block]) == log.run(archives.BLOCKS[block])
    rebuild.run(other.connect)
    batch.run(empty)
    assert model_rows.compare(model_rows.read_rows(empty), model_rows.read_rows(log)) == []
    assert checks.run(empty).findings == []
    assert check.run_deep(empty, archive, lambda *_: None).findings == []
    archives.run(empty, archive)


def test_erased_events_are_restored_as_erased_rows(
    log: Connection, archive: Storage, empty: Connection
) -> None:
    archives.run(log, archive)
    for learner in ("learner-ann", "learner-una", "learner-ben"):
        archives.change(log, "empty stream", stream_id=learner)
        erased_files.remove_stream(log, archive, learner, lambda _: None)
    assert fill(empty, archive).erased == 3 * 32
    assert empty.run(archives.BLOCKS["rows"]) == log.run(archives.BLOCKS["rows"])
    assert checks.run(empty).findings[1:] == []


def test_a_restore_keeps_the_stream_and_version_of_an_emptied_event_in_a_stream_without_a_learner(
    log: Connection, archive: Storage, empty: Connection
) -> None:
    """The event names a session of the erased learner; therefore, the erasure has emptied it."""
    early = sample_events.envelope("Unheard", {"session_id": "una-9"}, at=sample_events.BEGIN)
    later = sample_events.envelope("Unheard", {}, at=sample_events.BEGIN)
    stage.append(log, [early])
    stage.append(log, [later, *sample_events.lesson("una", 9)])
    Projector(log).catch_up_all()
    archives.run(log, archive)
    assert log.run(archives.BLOCKS["redact undeclared"], learner="una") == [[1]]
    archives.change(log, "empty stream", stream_id="learner-una")
    erased_files.remove_stream(log, archive, "learner-una", lambda _: None)
    assert check.run_deep(log, archive, lambda *_: None).findings == []
    fill(empty, archive)
    assert empty.run(archives.BLOCKS["rows"]) == log.run(archives.BLOCKS["rows"])
    assert checks.run(empty).findings[1:] == []


def test_restored_rows_have_versions_without_gaps_even_if_rows_were_erased(
    log: Connection, archive: Storage, other: Store, empty: Connection
) -> None:
    log.run(archives.BLOCKS["begin erasure"], learner="ann")
    archives.run(log, archive)
    archives.change(log, "empty stream", stream_id="learner-una")
    erased_files.remove_stream(log, archive, "learner-una", lambda _: None)
    assert fill(empty, archive).erased == 2 * 32
    rebuild.run(other.connect)
    assert checks.run(empty).findings == []


def test_nothing_is_restored_into_a_log_that_is_not_empty(
    log: Connection, archive: Storage, empty: Connection
) -> None:
    archives.run(log, archive)
    sample_events.record_lessons(empty, "ann", lessons=1)
    before = empty.run(archives.BLOCKS["rows"])
    with pytest.raises(ProgressError, match="not empty"):
        fill(empty, archive)
    assert empty.run(archives.BLOCKS["rows"]) == before


def test_nothing_is_restored_from_a_damaged_archive(
    log: Connection, archive: Storage, empty: Connection, folder: Path
) -> None:
    archives.run(log, archive)
    path = archives.find_file(archive, "learner-ann")
    whole = (folder / path).read_bytes()
    for damaged in (whole[:-1], whole[1:]):
        (folder / path).write_bytes(damaged)
        with pytest.raises(ProgressError, match=path):
            fill(empty, archive)
    (folder / path).unlink()
    with pytest.raises(ProgressError, match=f"{Path(path).parent} of the archive has lost 32 of"):
        fill(empty, archive)
    assert empty.run(archives.BLOCKS["count"]) == [[0]]
    (folder / path).write_bytes(whole)
    fill(empty, archive)


def test_rows_that_are_lost_on_the_way_to_the_log_are_detected(
    log: Connection, archive: Storage, empty: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives.run(log, archive)
    write_csv = files.Workspace.write_csv

    def write_less(workspace: Any, paths: list[Path], target: Path, *, erased: bool) -> None:
        write_csv(workspace, paths[1:], target, erased=erased)

    monkeypatch.setattr(files.Workspace, "write_csv", write_less)
    with pytest.raises(ProgressError, match="differ from the archive"):
        fill(empty, archive)
    assert empty.run(archives.BLOCKS["count"]) == [[0]]


def test_nothing_is_restored_from_an_archive_with_an_unfinished_range(
    log: Connection, archive: Storage, empty: Connection
) -> None:
    archives.run(log, archive)
    last = archives.ranges(archive)[-1].files[-1].path
    archive.remove_file(last)
    with pytest.raises(ProgressError, match="without its file `others`"):
        fill(empty, archive)
    assert empty.run(archives.BLOCKS["count"]) == [[0]]


ANN = "learner-ann"


def deep(connection: Connection, archive: Storage) -> list[catalogue.Finding]:
    return check.run_deep(connection, archive, lambda *_: None).findings


def remove(connection: Connection, archive: Storage) -> erased_files.Removal:
    return erased_files.remove_stream(connection, archive, ANN, lambda _: None)


def test_no_file_contains_an_erased_learner_and_the_hash_sums_equal_those_of_the_log(
    log: Connection, archive: Storage, small_ranges: int
) -> None:
    archives.run(log, archive)
    before = len(archives.files_with(archive, ANN))
    others = archives.files_with(archive, "learner-ben")
    archives.change(log, "empty stream", stream_id=ANN)
    assert archives.differing(log, archive)
    removal = remove(log, archive)
    assert removal.files == before > 0
    assert archives.files_with(archive, ANN) == []
    assert archives.differing(log, archive) == []
    left = catalogue.require(archive).files
    assert sum(file.erased for file in left) == removal.rows > 0
    assert [path.rpartition("/")[0] for path in archives.files_with(archive, "learner-ben")] == [
        path.rpartition("/")[0] for path in others
    ]
    assert remove(log, archive) == erased_files.Removal(0, 0)


def test_an_erasure_removes_events_that_were_emptied_while_their_range_was_verified(
    log: Connection, archive: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = sample_events.envelope("Unheard", {"session_id": "ann-9"}, at=sample_events.BEGIN)
    stage.append(log, [early])
    stage.append(log, sample_events.lesson("ann", 9))
    Projector(log).catch_up_all()
    sum_rows = log_rows.sum_rows

    def sum_and_empty(*arguments: Any) -> Any:
        sums = sum_rows(*arguments)
        assert log.run(archives.BLOCKS["redact undeclared"], learner="ann") == [[1]]
        archives.change(log, "empty stream", stream_id=ANN)
        return sums

    with monkeypatch.context() as patch:
        patch.setattr(log_rows, "sum_rows", sum_and_empty)
        archives.run(log, archive)
    remove(log, archive)
    assert archives.files_with(archive, ANN) == []
    assert archives.differing(log, archive) == []


def test_an_erasure_removes_former_generations_of_files_from_the_bucket(
    log: Connection, bucket: cloud_storage.Bucket
) -> None:
    archive = storage.open_storage("gs://b/a")
    archives.run(log, archive)
    path = archives.find_file(archive, ANN)
    data = bucket.objects[f"a/{path}"]
    bucket.store(f"a/{path}", data)
    old = f"ranges/{1:020}-{9:020}/000-0123456789ab.parquet"
    bucket.store(f"a/{old}", data)
    archive.remove_file(old)
    archives.change(log, "empty stream", stream_id=ANN)
    remove(log, archive)
    stored = {**bucket.former, **bucket.objects}
    assert [name for name, old in stored.items() if old and name.endswith(path)] == []
    assert not bucket.former[f"a/{old}"]
    assert archives.files_with(archive, ANN) == []


def test_a_damaged_file_or_a_step_that_reports_success_without_its_work_removes_no_file(
    log: Connection, archive: Storage
) -> None:
    assert remove(log, archive) == erased_files.Removal(0, 0)  # there is no archive yet
    archives.run(log, archive)
    path = archives.find_file(archive, ANN)
    archives.change(log, "empty stream", stream_id=ANN)
    archives.flip_byte(archive, path)
    with pytest.raises(ProgressError, match=path):
        remove(log, archive)
    archives.flip_byte(archive, path)
    before = archives.paths(archive)
    faults = [fault for fault in archives.SILENT_FAULTS if fault[0] is files]
    copy_erased = (log_rows, "copy_erased", lambda *_: None)
    for fault in (*faults, copy_erased):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(*fault)
            with pytest.raises(ProgressError):
                remove(log, archive)
        assert archives.paths(archive) >= before, fault
    remove(log, archive)
    assert archives.differing(log, archive) == []


class Doomed(Folder):
    """A storage whose user dies at the given call that would write or remove a file."""

    def __init__(self, folder: Path, call: int) -> None:
        super().__init__(folder)
        self.calls_left = call

    def die(self) -> None:
        self.calls_left -= 1
        if self.calls_left == 0:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Any]:
        with super().writing(path) as output:
            yield output
            self.die()

    def purge(self, path: str) -> None:
        self.die()
        super().purge(path)


def read_by_path(folder: Path) -> list[Any]:
    """Return the positions once, as docs/analysis.md says; of two rows, the erased one counts."""
    rows = (
        "SELECT global_position, bool_or(event_type = 'Erased') "  # noqa: S608 - a temporary path
        f"FROM '{folder}/ranges/*/*.parquet' GROUP BY ALL ORDER BY ALL"
    )
    with contextlib.closing(duckdb.connect()) as duck:
        return duck.execute(rows).fetchall()


def join(log: Connection, archive: Storage) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "TOGETHER", 4)
        runs.join(log, archive, lambda *_: None)


WORKS: dict[str, Any] = {"archive": archives.run, "join": join, "erase": remove}
SLOW = (pytest.param(work, marks=pytest.mark.exhaustive) for work in ("join", "mend"))


@pytest.mark.parametrize("work", ["archive", "erase", *SLOW])
def test_whoever_is_killed_at_any_write_leaves_a_whole_archive_and_the_next_run_completes_it(
    log: Connection, archive: Storage, folder: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    monkeypatch.setattr(runs, "RANGE", 30)
    archives.run(log, archive)
    if work == "archive":
        stage.append(log, sample_events.lesson("ann", 9))
        Projector(log).catch_up_all()
    if work == "mend":
        archive.remove_file(archives.ranges(archive)[1].files[0].path)
    if work == "erase":
        archives.change(log, "empty stream", stream_id=ANN)
    before, base = read_by_path(folder), folder.with_name("base")
    shutil.copytree(folder, base)
    for call in itertools.count(1):
        shutil.rmtree(folder)
        shutil.copytree(base, folder)
        doomed = Doomed(folder, call)
        try:
            WORKS.get(work, archives.run)(log, doomed)
        except KeyboardInterrupt:
            if work != "mend":
                assert catalogue.require(archive).upto >= 131
                assert [each[0] for each in read_by_path(folder)] >= [each[0] for each in before]
            WORKS.get(work, archives.run)(log, archive)
        assert deep(log, archive) == []
        assert len(read_by_path(folder)) == catalogue.require(archive).upto
        folders = {path.split("/")[1] for path in archives.paths(archive)}
        assert len(folders) == len(archives.ranges(archive))
        if doomed.calls_left > 0:
            break
    assert call > 4
