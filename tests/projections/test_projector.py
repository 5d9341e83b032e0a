"""One worker at a time folds a shard; no wake-up is lost; unfoldable events are skipped."""

import contextlib
import json
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import (
    CheckpointError,
    DatabaseUnavailable,
    EventStoreError,
    PoisonError,
    ProjectionError,
)
from progress.event_store import dead_letters
from progress.projections import batch, replay, schema
from progress.projections import projector as shard_projector
from progress.projections import replay as letter_replay
from progress.projections.projector import Projector
from progress.serve import readiness
from tests.conftest import Store
from tests.support import model_rows, sample_events
from tests.support.stage import append, connect

pytestmark = pytest.mark.every_postgres


def test_a_wake_up_for_a_busy_shard_returns_immediately_and_is_not_lost(
    store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann", lessons=1)
    shard = model_rows.read_value(connection, "shard", user="ann")
    with contextlib.ExitStack() as ending:
        holder, waker, locker = (
            Projector(ending.enter_context(contextlib.closing(connect(store.url)))) for _ in "abc"
        )
        locker.connection.run("BEGIN")
        locker.connection.run("LOCK TABLE daily_stats IN SHARE MODE")
        pid = model_rows.read_value(holder.connection, "pid")
        pool = ending.enter_context(ThreadPoolExecutor(1))
        holding = pool.submit(holder.catch_up, shard)
        model_rows.wait_for_lock(connection, pid, holding)
        append(connection, sample_events.lesson("ann", 1))
        assert waker.catch_up(shard) == 0
        locker.connection.run("ROLLBACK")
        assert holding.result() == 2 * len(sample_events.lesson("ann", 0))
    batch.run(connection)
    assert not sample_events.find_differences(connection)


def test_a_poisoned_event_becomes_a_dead_letter_and_its_shard_continues(
    connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    sample_events.record_lessons(connection, "ann", "ben")
    poisoned = sample_events.poison(connection, "ann")
    batch.run(connection)
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    failed = "a window of 1 failed: data exception 22P02 in window_events"
    assert [line["severity"] for line in lines if failed in line["message"]] == ["WARNING"]
    (letter,) = dead_letters.list_letters(connection)
    assert letter.kind == "poisoned"
    reason = f"data exception 22P02 in window_events (folds {schema.fingerprint()})"
    assert letter.reason == reason  # no value of the event
    dead_letters.discard(connection, letter.letter_id, "of no use")
    with pytest.raises(EventStoreError, match="was discarded: of no use"):
        replay.replay(connection, letter.letter_id)
    assert model_rows.read_value(connection, "poisoned") == poisoned
    assert not sample_events.find_differences(connection)


def test_the_letter_of_a_poisoned_list_has_no_value_and_its_replay_folds_the_list(
    connection: Connection,
) -> None:
    """The word of a learner is in no reason."""
    connection.run("ALTER TABLE event_store.events DISABLE TRIGGER append_only")
    connection.run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE data_exception USING MESSAGE = NEW.name; END $$"
    )
    connection.run(
        "CREATE TRIGGER refuse BEFORE INSERT ON own_lists FOR EACH ROW"
        " WHEN (NEW.name = 'secret') EXECUTE FUNCTION refuse()"
    )
    for at, name in ((sample_events.BEGIN, "known"), (datetime.now(UTC), "secret")):
        data = {"user_id": "ann", "list_id": "l", "name": name}
        append(connection, [sample_events.envelope("ListPublished", data, at=at)])
    batch.run(connection)
    (letter,) = dead_letters.list_letters(connection)
    assert letter.reason == f"data exception 22000 in own_lists (folds {schema.fingerprint()})"
    connection.run("DROP TRIGGER refuse ON own_lists")
    replay.replay(connection, letter.letter_id)
    rows = model_rows.read_rows(connection)["own_lists"].values()
    assert [row["name"] for row in rows] == ["secret"]
    assert not sample_events.find_differences(connection)


class Interrupted(Projector):
    """A projector that calls `interrupt` with the shard when a poisoned event has been found."""

    def __init__(self, connection: Connection, interrupt: Callable[[int], None]) -> None:
        super().__init__(connection)
        self._interrupt = interrupt

    def fold_window(self, shard: int, at_most: int) -> int | None:
        try:
            return super().fold_window(shard, at_most)
        except PoisonError:
            if at_most == 1:
                self._interrupt(shard)
            raise


def test_two_workers_that_find_the_same_poisoned_event_mark_only_this_event(
    store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    poisoned = sample_events.poison(connection, "ann")
    another = Projector(connection)

    def poison_first(shard: int) -> None:
        another.catch_up(shard)
        append(connection, sample_events.lesson("ann", 4))

    with contextlib.closing(connect(store.url)) as slow:
        Interrupted(slow, poison_first).catch_up_all()
    batch.run(connection)
    assert model_rows.read(connection, "poisoned") == [{"global_position": poisoned}]
    assert not sample_events.find_differences(connection)


def test_an_event_that_another_worker_is_folding_is_not_marked_as_poisoned(
    store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    sample_events.poison(connection, "ann")
    with contextlib.ExitStack() as ending:
        slow, watching = (
            ending.enter_context(contextlib.closing(connect(store.url))) for _ in "ab"
        )
        pid, ended = model_rows.read_value(slow, "pid"), threading.Event()
        pool = ending.enter_context(ThreadPoolExecutor(1))
        ending.callback(ended.set)

        def commit_later() -> None:
            # Wait until the slow worker waits for the shard.
            while not ended.wait(0.002) and not model_rows.read_value(watching, "waits", pid=pid):
                pass
            connection.run("COMMIT")

        def fold_mended(shard: int) -> None:
            connection.run("BEGIN")
            model_rows.read_value(connection, "mend")
            Projector(connection).fold_window(shard, 1_000)
            pool.submit(commit_later)

        Interrupted(slow, fold_mended).catch_up_all()
    batch.run(connection)
    assert model_rows.read_value(connection, "poisoned") is None
    assert not sample_events.find_differences(connection)


def test_losing_the_connection_before_marking_a_poisoned_event_raises_database_unavailable(
    store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    sample_events.poison(connection, "ann")

    def end_session(_: int) -> None:
        model_rows.read_value(connection, "terminate", pid=pid)

    broken = Interrupted(connect(store.url), end_session)
    pid = model_rows.read_value(broken.connection, "pid")
    with pytest.raises(DatabaseUnavailable):
        broken.catch_up_all()
    broken.close()
    assert model_rows.read_value(connection, "poisoned") is None


def test_a_checkpoint_past_the_end_of_the_log_is_an_error(connection: Connection) -> None:
    connection.run("UPDATE checkpoints SET position = 5 WHERE shard = 3")
    with pytest.raises(CheckpointError, match="the log ends at 0: rebuild"):
        Projector(connection).catch_up(3)


def test_no_checkpoint_is_past_the_last_event(store: Store, connection: Connection) -> None:
    """Report kurrent-io/KurrentDB#4970: a checkpoint after an empty window skipped an event.

    After a full window, a worker reads once more, and finds an empty window.
    """
    shard = model_rows.read_value(connection, "shard", user="ann")
    for lesson in range(5):
        events = sample_events.lesson("ann", lesson)
        append(connection, events)
        with contextlib.closing(connect(store.url)) as restarted:
            assert Projector(restarted).catch_up(shard, limit=len(events)) == len(events)
        checkpoints = model_rows.read_table(connection, "checkpoints")
        head = model_rows.read_value(connection, "head")
        assert {row["position"] for row in checkpoints if row["shard"] == shard} == {head}
    batch.run(connection)
    assert not sample_events.find_differences(connection)


def test_events_are_not_marked_as_poisoned_if_the_code_has_a_defect(connection: Connection) -> None:
    sample_events.record_lessons(connection, "ann")
    connection.run("ALTER TABLE item_days RENAME TO item_days_gone")
    with pytest.raises(ProjectionError, match="item_days"):
        Projector(connection).catch_up_all()
    assert model_rows.read_value(connection, "poisoned") is None
    connection.run("ALTER TABLE item_days_gone RENAME TO item_days")
    batch.run(connection)
    assert not sample_events.find_differences(connection)


@pytest.fixture
def woken(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A connection to the database in which the worker folds."""
    monkeypatch.setenv("DATABASE_URL", store.url)
    monkeypatch.setattr(shard_projector, "_idle", queue.LifoQueue())
    with contextlib.closing(connect(store.url)) as made:
        yield made
    while not shard_projector._idle.empty():
        shard_projector._idle.get().close()


@pytest.mark.parametrize(
    "state",
    [
        "",  # its connection breaks
        "SET default_transaction_read_only = on",
        "DEALLOCATE ALL",
        "SET search_path = event_store",  # the fold's tables are not found
        "SET client_encoding = 'LATIN2'",  # which lacks the learner's id
    ],
)
def test_an_idle_session_that_broke_or_whose_state_fails_the_fold_is_replaced(
    woken: Connection, state: str
) -> None:
    shard_projector.wake(0)
    append(woken, sample_events.lesson("¥", 0))
    idle = shard_projector._idle.get_nowait()
    if state:
        idle.connection.run(state)
    else:
        pid = model_rows.read_value(idle.connection, "pid")
        model_rows.kill(woken, pid)
    shard_projector._idle.put(idle)
    assert sum(shard_projector.wake(shard) for shard in shard_projector.SHARDS) > 0
    assert model_rows.read_value(woken, "answered") == 3
    assert model_rows.read_value(woken, "poisoned") is None


def test_a_wake_up_that_fails_closes_its_connection(woken: Connection) -> None:
    shard_projector.wake(3)
    idle = shard_projector._idle.get_nowait()
    pid = model_rows.read_value(idle.connection, "pid")
    shard_projector._idle.put(idle)
    woken.run("UPDATE checkpoints SET position = 5 WHERE shard = 3")
    with pytest.raises(CheckpointError):
        shard_projector.wake(3)
    assert shard_projector._idle.empty()
    readiness.wait(lambda: not model_rows.read_value(woken, "lives", pid=pid), "the end")


def test_a_replay_that_waits_for_a_concurrent_fold_gets_a_higher_version_than_the_fold(
    store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    sample_events.poison(connection, "ann")
    Projector(connection).catch_up_all()
    model_rows.read_value(connection, "mend")
    (letter,) = dead_letters.list_letters(connection)
    append(connection, sample_events.lesson("ann", 4))
    with closing(connect(store.url)) as replaying, ThreadPoolExecutor(1) as pool:
        pid = model_rows.read_value(replaying, "pid")
        with database.transaction(connection):
            model_rows.read_value(connection, "hold the learner", user="ann")
            replay = pool.submit(letter_replay.replay, replaying, letter.letter_id)
            while not model_rows.read_value(connection, "waits", pid=pid):
                connection.run("SELECT pg_stat_clear_snapshot()")
            Projector(connection).catch_up_all()
            folded = model_rows.read_value(connection, "version", user="ann")
        assert replay.result() is None
    assert model_rows.read_value(connection, "version", user="ann") > folded
