"""A restore from the archive fills an empty log completely, or changes nothing."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import check, erased_files, restore
from progress.errors import ProgressError
from progress.projections import batch, rebuild
from progress.projections.projector import Projector
from progress.recovery import checks
from tests.conftest import Store
from tests.support import archives, model_rows, sample_events, stage

pytestmark = pytest.mark.usefixtures("small_ranges")


@pytest.fixture
def other(stores: Callable[[], Store]) -> Store:
    return stores()


@pytest.fixture
def empty(other: Store) -> Iterator[Connection]:
    """A connection to the empty database."""
    with contextlib.closing(other.connect()) as connection:
        yield connection


def fill(connection: Connection, archive: Storage) -> restore.Restored:
    return restore.run(connection, archive, lambda *_: None)


def record_longest_parameter(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], int]:
    """Return a function that returns the length of the longest parameter sent so far."""
    run, lengths = connection.run, [0]

    def record(sql: str, stream: Any = None, **values: object) -> Any:
        lengths.extend(len(str(value)) for value in values.values())
        return run(sql, stream=stream, **values)

    monkeypatch.setattr(connection, "run", record)
    return lambda: max(lengths)


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


def test_any_number_of_erased_events_is_restored_as_erased_rows(
    log: Connection, archive: Storage, empty: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL limits the length of a parameter, so no parameter may hold all rows."""
    archives.run(log, archive)
    for learner in ("learner-ann", "learner-una", "learner-ben"):
        archives.empty_stream(log, learner)
        erased_files.remove_stream(log, archive, learner, lambda _: None)
    longest = record_longest_parameter(empty, monkeypatch)
    assert fill(empty, archive).erased == 3 * 32
    assert longest() < 1_000
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
    archives.empty_stream(log, "learner-una")
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
    archives.empty_stream(log, "learner-una")
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
    with pytest.raises(ProgressError, match=path):
        fill(empty, archive)
    assert empty.run(archives.BLOCKS["count"]) == [[0]]
    (folder / path).write_bytes(whole)
    fill(empty, archive)


def test_wrong_sums_in_the_manifest_are_detected(
    log: Connection, archive: Storage, empty: Connection
) -> None:
    archives.run(log, archive)
    archives.change_sums(archive, log)
    with pytest.raises(ProgressError, match="damaged"):
        fill(empty, archive)
    assert empty.run(archives.BLOCKS["count"]) == [[0]]
