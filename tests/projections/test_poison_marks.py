"""A mark of a poisoned event belongs to the folds that failed, and goes with their schema."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from progress.adapters.postgres.database import Connection
from progress.event_store import dead_letters
from progress.projections import batch, rebuild, replacement, replay, schema
from progress.projections.projector import Projector
from tests.conftest import Store
from tests.support import model_rows, sample_events
from tests.support.stage import append

pytestmark = pytest.mark.every_postgres

OTHER = "progress_0123456789ab"
ERROR = "integrity constraint violation 23514 in completions"
FORBID = "ALTER TABLE completions ADD CONSTRAINT completions_score_check CHECK (score < 100)"
ALLOW = "ALTER TABLE completions DROP CONSTRAINT completions_score_check"


class Former(Projector):
    """A worker of version 0.3, whose marks hold for all schemas of that version and before."""

    def _poison(self, shard: int, position: int, error: str) -> None:
        values = {"position": position, "error": error}
        self.connection.run("SELECT event_store.quarantine(:position, :error)", **values)


@pytest.fixture
def other(store: Store, connection: Connection) -> Iterator[Connection]:
    """A connection to read models of other code, whose folds fail for a score of 100."""
    with contextlib.closing(store.connect()) as made:
        schema.create(made, OTHER)
        made.run(FORBID)
        yield made


def make_former(other: Connection) -> Former:
    """Let the other read models be those of version 0.3, which know only the table `poisoned`."""
    other.run(
        "CREATE OR REPLACE VIEW poisoned_events AS "
        "SELECT p.global_position FROM event_store.poisoned p"
    )
    other.run("ALTER VIEW poisoned_events RENAME TO poisoned_before")
    unlist(other)
    return Former(other, OTHER)


def unlist(other: Connection) -> None:
    """Let the other read models be of a version before 0.3: only its own workers fold them."""
    other.run("DELETE FROM event_store.read_models WHERE schema = current_schema()")


def record(connection: Connection) -> int:
    """Record two lessons; return the position of the second one's score, which is 100."""
    sample_events.record_lessons(connection, "ann", lessons=1)
    *events, completion = sample_events.lesson("ann", 1)
    append(connection, [*events, {**completion, "data": {**completion["data"], "score": 100}}])
    ((position,),) = connection.run("SELECT max(global_position) FROM event_store.events")
    return int(position)


def mark_in_both(connection: Connection, other: Connection) -> int:
    """Record two lessons of which neither folds take the second score; return its position."""
    connection.run(FORBID)
    position = record(connection)
    for projector in (Projector(connection), Projector(other, OTHER)):
        projector.catch_up_all()
    return position


def read_letter(connection: Connection) -> tuple[str, bool]:
    (letter,) = dead_letters.list_letters(connection, include_closed=True)
    assert letter.kind == "poisoned"
    return letter.reason, letter.replayed_at is None


def drop_unused(store: Store) -> None:
    with contextlib.closing(store.connect()) as pruning:
        assert [*replacement.drop_unused(pruning)] == [OTHER]


def count_sessions(connection: Connection) -> list[list[int]]:
    rows: list[list[int]] = connection.run("SELECT sessions_completed FROM user_progress")
    return rows


def test_events_that_only_a_former_schema_cannot_fold_count_in_the_new_one(
    store: Store, connection: Connection, other: Connection
) -> None:
    """The former schema is still served, by its own workers, while the new one is built."""
    former = make_former(other)
    record(connection)
    former.catch_up_all()
    rebuild.run(store.connect, workers=1)
    append(connection, sample_events.lesson("ann", 2))
    former.catch_up_all()
    Projector(connection).catch_up_all()
    batch.run(connection)
    assert model_rows.read_value(connection, "poisoned") is None
    assert not sample_events.find_differences(connection)
    assert (count_sessions(connection), count_sessions(other)) == ([[3]], [[2]])
    assert read_letter(connection) == (ERROR, True)
    drop_unused(store)
    assert connection.run("SELECT FROM event_store.poisoned") == []
    assert read_letter(connection) == (ERROR, False)


def test_one_letter_names_all_folds_that_failed_and_a_replay_clears_the_marks_of_its_own(
    store: Store, connection: Connection, other: Connection
) -> None:
    connection.run(FORBID)
    position = record(connection)
    own = schema.fingerprint()
    former = make_former(other)
    former.catch_up_all()
    Projector(connection).catch_up_all()
    assert read_letter(connection) == (f"{ERROR}; {ERROR} (folds {own})", True)
    other.run(
        "SELECT event_store.mark_poisoned('ba9876543210', :at, :error)", at=position, error=ERROR
    )
    both = ", ".join(sorted([own, "ba9876543210"]))
    assert read_letter(connection) == (f"{ERROR}; {ERROR} (folds {both})", True)
    (letter,) = dead_letters.list_letters(connection)
    assert "still fails" in str(replay.replay(connection, letter.letter_id))
    assert read_letter(connection) == (f"{ERROR}; {ERROR} (folds {both})", True)
    connection.run(ALLOW)
    assert "other code" in str(replay.replay(connection, letter.letter_id))
    assert count_sessions(connection) == [[2]]
    assert read_letter(connection) == (ERROR, True)  # the folds ba9876543210 have no schema
    drop_unused(store)
    assert read_letter(connection) == (ERROR, False)


def test_a_replay_leaves_the_event_out_of_read_models_that_it_cannot_refold(
    store: Store, connection: Connection, other: Connection
) -> None:
    """Without their mark, their next refold of the learner would fail at an innocent event."""
    position = mark_in_both(connection, other)
    connection.run(ALLOW)
    (letter,) = dead_letters.list_letters(connection)
    assert "still fails" in str(replay.replay(connection, letter.letter_id))
    append(connection, [sample_events.change_preferences("ann", timezone="Asia/Tokyo")])
    for projector in (Projector(connection), Projector(other, OTHER)):
        projector.catch_up_all()
    assert (count_sessions(connection), count_sessions(other)) == ([[2]], [[1]])
    marks = "SELECT fingerprint, global_position FROM event_store.poison_marks"
    assert connection.run(marks) == [["0123456789ab", position]]
    assert read_letter(connection) == (f"{ERROR} (folds 0123456789ab)", True)


def test_a_swap_keeps_an_event_that_was_replayed_during_the_build(
    store: Store, connection: Connection, other: Connection
) -> None:
    connection.run(FORBID)
    former = make_former(other)
    record(connection)
    Projector(connection).catch_up_all()
    with replacement.open_replacement(store.connect) as second:
        rebuild.fold(store.connect, 1)
        connection.run(ALLOW)
        (letter,) = dead_letters.list_letters(connection)
        assert replay.replay(connection, letter.letter_id) is None
        former.catch_up_all()
        assert read_letter(connection) == (ERROR, True)  # opened again
        replacement.swap(second)
    assert count_sessions(connection) == [[2]]
    assert connection.run("SELECT FROM event_store.poison_marks") == []


MARK = "SELECT event_store.mark_poisoned('0123456789ab', :at, 'second')"
MARK_UNUSED = "SELECT event_store.mark_poisoned('ba9876543210', :at, 'first')"
MARK_FORMER = "SELECT event_store.quarantine(:at, 'second')"
DROP = "SELECT event_store.drop_orphaned_marks()"
REPLAY_FORMER = "SELECT event_store.release(1), event_store.mark_replayed(1)"


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("first", "second", "close"),
    [
        (MARK_UNUSED, MARK, lambda c: c.run(DROP)),
        (MARK_UNUSED, MARK, lambda c: replay.replay(c, 1)),
        (MARK_UNUSED, MARK_FORMER, lambda c: replay.replay(c, 1)),
        (MARK_FORMER, MARK, lambda c: c.run(REPLAY_FORMER)),
    ],
)
def test_a_letter_stays_open_if_another_mark_comes_while_it_is_closed(
    store: Store,
    connection: Connection,
    other: Connection,
    *,
    first: str,
    second: str,
    close: Callable[[Connection], object],
) -> None:
    position = record(connection)
    unlist(other)
    Projector(connection).catch_up_all()
    connection.run(first, at=position)
    waits = (
        "SELECT FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with contextlib.closing(store.connect()) as closing, ThreadPoolExecutor(1) as pool:
        other.run("BEGIN")
        other.run(second, at=position)
        closed = pool.submit(close, closing)
        while not connection.run(waits):
            assert not closed.done()
        other.run("COMMIT")
        closed.result()
    reason, is_open = read_letter(connection)
    assert (reason[:6], is_open) == ("second", True)


def test_a_mark_goes_with_its_schema_and_survives_a_swap(
    store: Store, connection: Connection, other: Connection
) -> None:
    position = mark_in_both(connection, other)
    rebuild.run(store.connect, workers=1)  # its folds would count the event
    assert model_rows.read_value(connection, "poisoned") == position
    own = schema.fingerprint()
    both = ", ".join(sorted([own, "0123456789ab"]))
    assert read_letter(connection) == (f"{ERROR} (folds {both})", True)
    drop_unused(store)
    assert read_letter(connection) == (f"{ERROR} (folds {own})", True)
    schema.drop(connection, schema.schema_name())
    rebuild.ensure(store.connect)  # its folds count the event
    assert model_rows.read_value(connection, "poisoned") is None
    assert read_letter(connection) == (f"{ERROR} (folds {own})", False)
