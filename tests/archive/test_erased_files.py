"""The erasure of a learner from the archive's files."""

from typing import Any

import pytest

from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Folder, Storage
from progress.archive import erased_files, files, log_rows, manifests, restore
from progress.errors import ProgressError
from progress.projections.projector import Projector
from tests.support import archives, cloud_storage, sample_events, stage

ANN = "learner-ann"


def remove(connection: Connection, archive: Storage) -> erased_files.Removal:
    return erased_files.remove_stream(connection, archive, ANN, lambda _: None)


def test_no_file_contains_an_erased_learner_and_the_hash_sums_equal_those_of_the_log(
    log: Connection, archive: Storage, small_ranges: int
) -> None:
    archives.run(log, archive)
    before = len(archives.files_with(archive, ANN))
    others = archives.files_with(archive, "learner-ben")
    events = sum(contents.events for contents in archives.ranges(archive))
    archives.empty_stream(log, ANN)
    assert archives.differing(log, archive)
    removal = remove(log, archive)
    assert removal.files == before > 0
    assert archives.files_with(archive, ANN) == []
    assert archives.differing(log, archive) == []
    left = archives.ranges(archive)
    assert sum(contents.events for contents in left) == events - removal.rows
    assert sum(len(contents.erased) for contents in left) == removal.rows > 0
    for path in archives.files_with(archive, "learner-ben"):
        rows = archives.stream_versions(archive, path)
        assert rows == sorted(rows)
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
        archives.empty_stream(log, ANN)
        return sums

    with monkeypatch.context() as patch:
        patch.setattr(log_rows, "sum_rows", sum_and_empty)
        upto = archives.run(log, archive).upto
    remove(log, archive)
    assert archives.files_with(archive, ANN) == []
    assert archives.differing(log, archive) == []
    restore.check_positions(archives.ranges(archive), upto)


def test_an_erasure_removes_former_generations_of_files_from_the_bucket(
    log: Connection, bucket: cloud_storage.Bucket
) -> None:
    archive = storage.open_storage("gs://b/a")
    archives.run(log, archive)
    path = archives.find_file(archive, ANN)
    data = bucket.objects[f"a/{path}"]
    bucket.store(f"a/{path}", data)
    bucket.store("a/ranges/old/000-0.parquet", data)
    archive.remove_file("ranges/old/000-0.parquet")
    archives.empty_stream(log, ANN)
    remove(log, archive)
    stored = {**bucket.former, **bucket.objects}
    assert [name for name, old in stored.items() if old and name.endswith(path)] == []
    assert not bucket.former["a/ranges/old/000-0.parquet"]
    assert archives.files_with(archive, ANN) == []


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (files, "upload"),
        (manifests, "put_range"),
        (Folder, "replace"),
        (manifests, "settle"),
        (Folder, "purge"),
        (manifests, "remove_all"),
    ],
)
def test_an_interrupted_erasure_can_be_repeated(
    log: Connection, archive: Storage, owner: object, name: str
) -> None:
    archives.run(log, archive)
    archives.empty_stream(log, ANN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            remove(log, archive)
    assert len(archives.ranges(archive)) == 1
    remove(log, archive)
    assert archives.files_with(archive, ANN) == []
    assert archives.differing(log, archive) == []
    assert not any("manifest-" in path for path in archives.paths(archive))


def test_a_step_that_reports_success_without_its_work_removes_no_file(
    log: Connection, archive: Storage
) -> None:
    archives.run(log, archive)
    archives.empty_stream(log, ANN)
    before = archives.paths(archive)
    faults = [fault for fault in archives.SILENT_FAULTS if fault[0] in (files, Folder)]
    for fault in (*faults, (files.Workspace, "write_without", lambda *_: None)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(*fault)
            with pytest.raises(ProgressError):
                remove(log, archive)
        assert archives.paths(archive) >= before, fault
    remove(log, archive)
    assert archives.differing(log, archive) == []


def test_a_damaged_file_is_reported(log: Connection, archive: Storage) -> None:
    archives.run(log, archive)
    path = archives.find_file(archive, ANN)
    archives.flip_byte(archive, path)
    with pytest.raises(ProgressError, match=path):
        remove(log, archive)


def test_nothing_is_erased_if_there_is_no_archive(log: Connection, archive: Storage) -> None:
    assert remove(log, archive) == erased_files.Removal(0, 0)
