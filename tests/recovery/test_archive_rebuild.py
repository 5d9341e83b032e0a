"""A rebuild from the archive gives the same rows as one from the log, or changes nothing."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import erasure, log_rows, manifests
from progress.errors import ArchiveRunning, ProgressError
from progress.event_store import dead_letters
from progress.operations import erase_user
from progress.projections import batch, changes, rebuild, replacement, replay, schema
from progress.recovery import buckets
from progress.recovery.archive_loads import Rebuild
from progress.recovery.archive_rebuild import Engine, Source
from tests.conftest import Store
from tests.support import archive_rebuilds, archives, model_rows, sample_events
from tests.support.archive_rebuilds import archive, archived, folder
from tests.support.backup_fixtures import every_row
from tests.support.sample_events import lesson
from tests.support.stage import append

__all__ = ["archive", "archived", "folder"]

pytestmark = pytest.mark.timeout(300)  # processes start slowly on a busy machine


def test_the_rows_equal_those_of_a_rebuild_from_the_log(
    store: Store, archived: Connection, folder: Path
) -> None:
    archive_rebuilds.record_later(archived)
    expected = archive_rebuilds.rebuild_plainly(store, archived)
    assert [table for table, rows in expected.items() if not rows] == ["window_shape"]
    for tasks in (1, 2, 5):
        events = archive_rebuilds.run_tasks(store, folder, tasks)
        assert events == model_rows.read_value(archived, "head")
        assert every_row(archived) == expected
        assert model_rows.read_value(archived, "schemas") == 1


def test_the_rows_include_changes_made_during_the_rebuild(
    store: Store, archived: Connection, archive: Storage, folder: Path
) -> None:
    sample_events.poison(archived, "una")
    rebuild.run(store.connect)  # marks una's event as poisoned
    model_rows.read_value(archived, "mend")

    def change(source: Source, number: Rebuild, on_loaded: Callable[[], None]) -> None:
        append(archived, [sample_events.user_deleted("cyd"), *lesson("new", 2)])
        begin_erasure(archived, archive, "ann")
        archive_rebuilds.run_in_turn(source, number, on_loaded)
        (letter,) = dead_letters.list_letters(archived)
        assert replay.replay(archived, letter.letter_id) is None
        append(archived, lesson("una", 11))

    archive_rebuilds.run(store, folder, change)
    batch.run(archived)
    rows = every_row(archived)
    assert model_rows.read(archived, "poisoned") == []
    assert rows == archive_rebuilds.rebuild_plainly(store, archived)
    assert {row.split(",")[0] for row in rows["user_progress"]} == {"(new", "(una"}


def forbid(connection: Connection, learner: str) -> None:
    """Run `forbid`, the first step of an erasure."""
    connection.run(archives.blocks()["begin erasure"], learner=learner)
    ((operation_id,),) = connection.run("SELECT operation_id FROM operations.operations")
    erase_user.forbid_learner(connection, learner, operation_id)


def begin_erasure(connection: Connection, archive: Storage, learner: str) -> None:
    """Begin an erasure; assert that it cannot rewrite the archive's files during the rebuild."""
    forbid(connection, learner)
    busy = erase_user.fold_deletion(connection, learner, changes.DISABLED)
    assert busy == [replacement.building_name()]
    schema.set_search_path(connection)
    with pytest.raises(ArchiveRunning):
        erasure.remove_stream(connection, archive, f"learner-{learner}", lambda _: None)


def test_a_learner_who_is_not_yet_erased_from_the_archive_does_not_reappear(
    store: Store, archived: Connection, archive: Storage, folder: Path
) -> None:
    forbid(archived, "ann")
    batch.run(archived)
    archives.run(archived, archive)  # the new range's files leave out ann's UserDeleted
    archive_rebuilds.run(store, folder, archive_rebuilds.run_in_turn)
    assert every_row(archived) == archive_rebuilds.rebuild_plainly(store, archived)


@pytest.mark.exhaustive
def test_before_rows_are_loaded_an_erasure_can_delete_a_learner_from_the_second_schema(
    store: Store, archived: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_lock, before = log_rows.hold_lock, every_row(archived)

    def erase_and_lock(connection: Connection) -> contextlib.AbstractContextManager[None]:
        assert erase_user.fold_deletion(archived, "ben", changes.DISABLED) == []
        schema.set_search_path(archived)
        return hold_lock(connection)

    monkeypatch.setattr(log_rows, "hold_lock", erase_and_lock)
    archive_rebuilds.run(store, folder, archive_rebuilds.run_in_turn)
    assert every_row(archived) == before


def test_a_rebuild_that_fails_before_it_loads_the_first_bucket_leaves_nothing_behind(
    store: Store, archived: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_shared = buckets.store_shared

    def fail(*arguments: Any) -> None:
        store_shared(*arguments)
        raise ProgressError("the storage is full")

    monkeypatch.setattr(buckets, "store_shared", fail)
    expect_rejection(store, archived, folder, archive_rebuilds.run_in_turn, "the storage is full")


@pytest.mark.exhaustive
def test_an_archive_that_cannot_be_used_is_rejected_and_nothing_is_left_behind(
    store: Store, archived: Connection, archive: Storage, folder: Path
) -> None:
    engine = archive_rebuilds.run_in_turn
    path = archives.find_file(archive, "learner-cyd")
    archives.flip_byte(archive, path)
    expect_rejection(store, archived, folder, engine, path)
    archives.flip_byte(archive, path)
    expect_rejection(store, archived, folder, lambda *_: None, "16 of 16 buckets were not loaded")
    manifest_file = folder / "manifest.json"
    manifest = manifest_file.read_text()

    def lose_a_range(source: Source, number: Rebuild, on_loaded: Callable[[], None]) -> None:
        parts = json.loads(manifest)
        manifest_file.write_text(json.dumps(parts | {"ranges": parts["ranges"][:-1]}))
        archive_rebuilds.run_in_turn(source, number, on_loaded)

    def lose_the_archive(source: Source, number: Rebuild, on_loaded: Callable[[], None]) -> None:
        manifest_file.unlink()
        archive_rebuilds.run_in_turn(source, number, on_loaded)

    for losing, words in ((lose_a_range, "events were loaded"), (lose_the_archive, "no archive")):
        expect_rejection(store, archived, folder, losing, words)
        manifest_file.write_text(manifest)
    with log_rows.hold_lock(archived):
        expect_rejection(store, archived, folder, engine, "another run works on the archive")
    manifest_file.write_text(manifest.replace('"format": 1', '"format": 2'))
    expect_rejection(store, archived, folder, engine, "format 2")
    manifest_file.write_text(manifest)
    published = manifests.read(archive)
    assert published
    archives.change_event(archived, published.manifest.checkpoints[-1].position)
    expect_rejection(store, archived, folder, engine, "another log")
    expect_rejection(store, archived, folder / "missing", engine, "no archive")


@pytest.mark.exhaustive
def test_a_rebuild_fails_if_an_event_is_quarantined_meanwhile(
    store: Store, archived: Connection, folder: Path
) -> None:
    def quarantine(source: Source, number: Rebuild, on_loaded: Callable[[], None]) -> None:
        archived.run("SELECT event_store.quarantine(5, 'defective')")
        archive_rebuilds.run_in_turn(source, number, on_loaded)

    expect_rejection(store, archived, folder, quarantine, "position 5 was quarantined")


def expect_rejection(
    store: Store, connection: Connection, folder: Path, engine: Engine, words: str
) -> None:
    before = every_row(connection)
    with pytest.raises(ProgressError, match=words):
        archive_rebuilds.run(store, folder, engine)
    assert every_row(connection) == before
    assert model_rows.read_value(connection, "schemas") == 1
    assert archive_rebuilds.list_left(folder) == []
