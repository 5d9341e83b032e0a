"""A bundle (one dead letter for many entries) is replayed once, even if replays are killed."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import DatabaseUnavailable
from progress.event_store import dead_letters
from progress.event_store.dead_letter_record import DeadLetter
from tests.conftest import Store
from tests.event_store.test_bundles import deliver, log, mend, recorded, started, waiting
from tests.support.pushes import encode_push

__all__ = ["log"]


@contextmanager
def stopped(store: Store, place: int) -> Iterator[None]:
    """Make inserts of one dead letter wait until the `with` block ends.

    The dead letter is that of the entry with index `place` in message m.
    """
    other = store.connect()
    other.run("BEGIN")
    other.run(
        "INSERT INTO event_store.dead_letters "
        "(kind, subscription, message_id, index_in_message, reason, payload) "
        "VALUES ('invalid', 'projects/p/subscriptions/s', 'm', :place, '', '')",
        place=place,
    )
    try:
        yield
    finally:
        other.run("ROLLBACK")
        other.close()


def await_blocked(log: Connection, backends: int) -> list[int]:
    """Wait until `backends` server processes wait for a lock; return their process ids."""
    while True:
        rows = log.run(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock'"
        )
        if len(rows or []) == backends:
            return [pid for (pid,) in rows]


@pytest.fixture
def half(log: Connection) -> tuple[DeadLetter, set[str]]:
    """A bundle whose first half has become valid, and the event ids of that half."""
    good = [started(99_999) for _ in range(50)]
    deliver(log, encode_push([*[0] * 999, *good, *[1] * 50], message_id="m"))
    mend(log, after=998)
    return waiting(log)[-1], {event["event_id"] for event in good}


def replaying(store: Store, letter: DeadLetter) -> str | None:
    connection = store.connect()
    try:
        return dead_letters.replay(connection, letter.letter_id)
    finally:
        database.close(connection)  # the connection may have been killed


def test_a_replay_that_is_killed_changes_nothing(
    store: Store, log: Connection, half: tuple[DeadLetter, set[str]]
) -> None:
    bundle, good = half
    with ThreadPoolExecutor(1) as pool:
        with stopped(store, 1_049):
            killed: Future[str | None] = pool.submit(replaying, store, bundle)
            log.run("SELECT pg_terminate_backend(:pid)", pid=await_blocked(log, 1)[0])
            with pytest.raises(DatabaseUnavailable):
                killed.result()
            assert (recorded(log), waiting(log)[999:]) == (set(), [bundle])
        assert dead_letters.replay(log, bundle.letter_id) is None
    assert recorded(log) == good
    assert [letter.index_in_message for letter in waiting(log)[999:]] == [*range(1_049, 1_099)]


def test_a_bundle_is_replayed_once_despite_concurrent_replays_and_a_redelivery(
    store: Store, log: Connection, half: tuple[DeadLetter, set[str]]
) -> None:
    bundle, good = half
    again = encode_push([*[0] * 999, *[1] * 100], message_id="m")
    with ThreadPoolExecutor(3) as pool:
        with stopped(store, 1_049):
            tries = [pool.submit(replaying, store, bundle)]
            await_blocked(log, 1)
            tries.append(pool.submit(replaying, store, bundle))
            await_blocked(log, 2)
            redelivery = pool.submit(lambda: deliver(store.connect(), again))
            await_blocked(log, 3)
        assert [one.result() for one in tries] == [None, None]
        redelivery.result()
    assert recorded(log) == good
    assert [letter.index_in_message for letter in waiting(log)[999:]] == [*range(1_049, 1_099)]


@pytest.mark.parametrize("role", ["progress_batch", "progress_project"])
def test_roles_that_replay_dead_letters_may_replay_a_bundle(
    log: Connection, half: tuple[DeadLetter, set[str]], role: str
) -> None:
    bundle, good = half
    log.run(f"SET ROLE {role}")
    assert dead_letters.replay(log, bundle.letter_id) is None
    log.run("RESET ROLE")
    assert recorded(log) == good
