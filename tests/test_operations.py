"""Operations, carried out: by one worker at a time, to an end that is on record, whoever dies."""

import contextlib
import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import lessons
import msgspec
import pg8000.exceptions
import pytest
import redis
import rows
from conftest import Store
from delivering import pushed
from operating import Operator, blocks, operator, url_of, wakings
from stage import append, connect
from wakings import Wakings

from progress import (
    batch,
    database,
    deadletters,
    operations,
    procedures,
    projections,
    rebuild,
    settings,
    statements,
    wakeups,
    waking,
)
from progress.database import Connection
from progress.errors import Unavailable
from progress.local import readiness

__all__ = ["operator", "wakings"]

USERS = ("ann", "ben", "cyd")


@pytest.fixture
def taught(connection: Connection) -> Connection:
    """A store with learners, folded."""
    lessons.teach(connection, *USERS)
    batch.run(connection)
    connection.run(blocks()["watch"])
    return connection


@pytest.fixture
def worker(store: Store) -> Iterator[Connection]:
    """Another worker's connection."""
    made = database.connect(url_of(store, "project"), name="operation")
    yield made
    with contextlib.suppress(pg8000.exceptions.Error, OSError):  # a test may have broken it
        made.close()


def seen(connection: Connection) -> list[tuple[int, float, str]]:
    """Every state that an operation was in: version, progress, state."""
    return [tuple(row) for row in connection.run(blocks()["seen"])]


def result(done: dict[str, Any]) -> Any:
    """What came of an operation that succeeded."""
    assert (done["state"], done["progress"], done["error"]) == ("SUCCEEDED", 1, None)
    assert {step["state"] for step in done["steps"]} == {"SUCCEEDED"}
    assert done["finishedAt"] > done["startedAt"]
    return msgspec.json.decode(done["result"])


def test_a_batch_run(operator: Operator, connection: Connection) -> None:
    lessons.teach(connection, *USERS)
    done = operator.done(operator.start("runBatch")["id"])
    swept = rows.ask(connection, "head")
    assert result(done) == {"replayed": 0, "swept": swept, "learners": 3}
    assert done["steps"] == [{"name": "batch", "state": "SUCCEEDED", "attempts": 1, "error": None}]
    assert not lessons.wrong(connection)


@pytest.mark.every_postgres
def test_a_rebuild(operator: Operator, taught: Connection) -> None:
    taught.run(blocks()["spoil"])
    assert lessons.wrong(taught)
    done = operator.done(operator.start("rebuildProjections")["id"])
    assert result(done) == {"events": rows.ask(taught, "head")}
    assert [(s["name"], s["attempts"]) for s in done["steps"]] == [("fold", 1), ("swap", 1)]
    assert not lessons.wrong(taught)
    assert rows.ask(taught, "schemas") == 1


def test_what_is_done_is_not_done_again(operator: Operator, taught: Connection) -> None:
    done = operator.done(operator.start("rebuildProjections", key="k")["id"])
    assert operator.done(done["id"]) == done
    assert operator.start("rebuildProjections", key="k") == done
    assert operator.called() == [done["id"]]


@pytest.mark.every_postgres
def test_each_change_has_a_greater_version_and_progress_never_falls(
    operator: Operator, taught: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "_BETWEEN", 0.0)
    operator.done(operator.start("rebuildProjections")["id"])
    changes = seen(taught)
    assert [version for version, _, _ in changes] == list(range(1, len(changes) + 1))
    reached = [progress for _, progress, _ in changes]
    assert reached == sorted(reached)
    assert (reached[0], reached[-1]) == (0, 1)
    assert len(set(reached)) > 5
    assert [state for _, _, state in changes] == [
        "PENDING", *["RUNNING"] * (len(changes) - 2), "SUCCEEDED"
    ]  # fmt: skip


def test_progress_is_written_about_once_a_second(operator: Operator, taught: Connection) -> None:
    lessons.teach(taught, *(f"u{n}" for n in range(60)), lessons=1)  # something in every shard
    started = operator.start("rebuildProjections")
    begun = time.monotonic()
    operator.done(started["id"])
    took = time.monotonic() - begun
    # accepted, taken up, two steps begun, the end; and a report for each second that it took
    assert len(seen(taught)) <= 5 + 1 + took


def test_listeners_hear_of_each_change(
    operator: Operator, taught: Connection, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", valkey)
    settings.current.cache_clear()
    started = operator.start("runBatch")
    with contextlib.closing(redis.Redis.from_url(valkey)) as client, client.pubsub() as listening:  # type: ignore[no-untyped-call] # theirs
        listening.subscribe(f"changed:operation:{started['id']}")
        assert listening.get_message(timeout=5)
        operator.done(started["id"])
        wanted = [version for version, _, _ in seen(taught)][1:]
        heard = [listening.get_message(timeout=5) for _ in wanted]
        assert [int(message["data"]) for message in heard if message] == wanted


def test_a_command_delivered_again_while_it_is_worked_on_has_nothing_to_do(
    operator: Operator, taught: Connection, worker: Connection
) -> None:
    started = operator.start("runBatch")
    work = operations.take_up(worker, UUID(started["id"]))
    assert work
    work.begin("batch")
    assert not procedures.carry_out(UUID(started["id"]))
    now = operator.look(started["id"])
    assert now["state"] == "RUNNING"
    assert now["steps"] == [{"name": "batch", "state": "RUNNING", "attempts": 1, "error": None}]


@pytest.mark.every_postgres
def test_a_worker_that_dies_is_followed_by_another(
    operator: Operator, taught: Connection, worker: Connection
) -> None:
    taught.run(blocks()["spoil"])
    started = operator.start("rebuildProjections")
    work = operations.take_up(worker, UUID(started["id"]))
    assert work
    work.begin("fold")
    work.reached(0.625)
    worker._usock.shutdown(socket.SHUT_RDWR)  # as a process ends: nothing is said, the lock goes
    readiness.wait(lambda: procedures.carry_out(UUID(started["id"])), "the lock")
    done = operator.look(started["id"])
    result(done)
    assert [(s["name"], s["attempts"]) for s in done["steps"]] == [("fold", 2), ("swap", 1)]
    assert not lessons.wrong(taught)
    reached = [progress for _, progress, _ in seen(taught)]
    assert 0.625 in reached
    assert reached == sorted(reached)
    with pytest.raises(Unavailable):
        work.begin("swap")  # whoever was thought dead can write nothing more


def test_who_dies_too_often_is_not_followed(operator: Operator, store: Store) -> None:
    started = operator.start("runBatch")
    for _ in range(operations.MOST_ATTEMPTS):
        with contextlib.closing(database.connect(url_of(store, "project"))) as dying:
            found: list[operations.Work | None] = []

            def taken(dying: Connection = dying, found: list[Any] = found) -> bool:
                found.append(operations.take_up(dying, UUID(started["id"])))
                return found[-1] is not None

            readiness.wait(taken, "the lock")
            work = found[-1]
            assert work
            work.begin("batch")
    readiness.wait(lambda: procedures.carry_out(UUID(started["id"])), "the lock")
    done = operator.look(started["id"])
    assert (done["state"], done["error"]) == ("FAILED", "batch: 5 attempts came to no end")
    assert done["steps"][0]["attempts"] == 5
    assert done["finishedAt"]


def test_a_step_that_fails_is_tried_again_and_given_up_in_the_end(
    operator: Operator, taught: Connection
) -> None:
    started = operator.start("rebuildProjections")
    taught.run(blocks()["deny"])
    try:
        for attempt in range(1, operations.MOST_ATTEMPTS):
            with pytest.raises(Unavailable, match=f"attempt {attempt}: permission denied"):
                procedures.carry_out(UUID(started["id"]))
            now = operator.look(started["id"])
            assert (now["state"], now["error"]) == ("RUNNING", None)
            assert (now["steps"][0]["state"], now["steps"][0]["attempts"]) == ("PENDING", attempt)
            assert "permission denied" in now["steps"][0]["error"]
        done = operator.done(started["id"])
    finally:
        taught.run(blocks()["allow"])
    assert done["state"] == "FAILED"
    assert done["error"].startswith("fold: permission denied")
    assert (done["result"], done["steps"][0]["state"]) == (None, "FAILED")
    assert done["steps"][1] == {"name": "swap", "state": "PENDING", "attempts": 0, "error": None}
    assert rows.ask(taught, "schemas") == 1
    assert not lessons.wrong(taught)


def test_a_step_that_failed_once_succeeds_the_next_time(
    operator: Operator, taught: Connection
) -> None:
    started = operator.start("rebuildProjections")
    taught.run(blocks()["deny"])
    with pytest.raises(Unavailable):
        procedures.carry_out(UUID(started["id"]))
    taught.run(blocks()["allow"])
    done = operator.done(started["id"])
    result(done)
    assert done["steps"][0] == {"name": "fold", "state": "SUCCEEDED", "attempts": 2, "error": None}


@pytest.mark.every_postgres
def test_a_statement_that_takes_too_long_ends_its_operation(
    operator: Operator, store: Store, taught: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(operations.SECONDS, "fold", 0.3)
    started = operator.start("rebuildProjections")
    with contextlib.closing(connect(store.url)) as holder:
        holder.run("BEGIN")
        holder.run(blocks()["hold the log"])
        done = operator.done(started["id"])
    assert (done["state"], done["error"]) == ("TIMED_OUT", "fold: not done within 0 s")
    assert (done["steps"][0]["state"], done["result"]) == ("TIMED_OUT", None)
    assert rows.ask(taught, "schemas") == 1


def test_a_swap_that_takes_too_long_changes_nothing(
    operator: Operator, store: Store, taught: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(operations.SECONDS, "swap", 0.3)
    started = operator.start("rebuildProjections")
    with contextlib.closing(connect(store.url)) as holder:
        holder.run("BEGIN")
        holder.run(blocks()["hold the swap"])
        done = operator.done(started["id"])
    assert (done["state"], done["error"]) == ("TIMED_OUT", "swap: not done within 0 s")
    assert [step["state"] for step in done["steps"]] == ["SUCCEEDED", "TIMED_OUT"]
    assert rows.ask(taught, "schemas") == 1
    assert not lessons.wrong(taught)


def test_a_batch_run_waits_for_another_and_no_longer_than_it_may(
    operator: Operator, store: Store, taught: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(connect(store.url)) as winner:
        winner.run("BEGIN")
        projections.Projector(winner)
        batch.fold(winner, [3])
        with ThreadPoolExecutor(1) as pool:
            started = operator.start("runBatch")
            running = pool.submit(operator.done, started["id"])
            readiness.wait(lambda: len(seen(taught)) == 3, "the step")
            winner.run("ROLLBACK")
        result(running.result())
        winner.run("BEGIN")
        batch.fold(winner, [3])
        monkeypatch.setitem(operations.SECONDS, "batch", 0.5)
        done = operator.done(operator.start("runBatch")["id"])
        winner.run("ROLLBACK")
    assert (done["state"], done["steps"][0]["state"]) == ("TIMED_OUT", "TIMED_OUT")


def test_a_rebuild_waits_for_another(
    operator: Operator, store: Store, taught: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = operator.start("rebuildProjections")
    tried: list[bool] = []
    run = rebuild.run

    def counted(*given: Any, **named: Any) -> int:
        tried.append(True)
        return run(*given, **named)

    monkeypatch.setattr(rebuild, "run", counted)
    with ThreadPoolExecutor(1) as pool, contextlib.closing(connect(store.url)) as holder:
        holder.run(blocks()["hold rebuilds"])
        running = pool.submit(operator.done, started["id"])
        readiness.wait(lambda: len(tried) > 1, "a second try")
        holder.run(statements.blocks("rebuild")["unlock"])
        done = running.result()
    result(done)
    assert done["steps"][0]["attempts"] == 1


def letter_of(connection: Connection, event: dict[str, Any]) -> int:
    """The letter that an event became."""
    append(connection, [event])
    return max(letter.letter_id for letter in deadletters.list_letters(connection))


@pytest.mark.every_postgres
def test_letters_are_replayed_and_those_that_fail_again_stay(
    operator: Operator, connection: Connection
) -> None:
    session = {"session_id": "s", "user_id": "dan", "item_count": 99_999}
    mended = letter_of(connection, lessons.envelope("SessionStarted", session, at=lessons.BEGIN))
    bad = letter_of(
        connection,
        lessons.envelope("SessionStarted", {**session, "session_id": "t"}, at=lessons.BEGIN),
    )
    gone = letter_of(connection, lessons.envelope("SessionStarted", {}, at=lessons.BEGIN))
    deadletters.discard(connection, gone, "of no use")
    connection.run(blocks()["mend"], letter_id=mended)
    ids = ", ".join(f'"{each}"' for each in (gone, bad, mended))
    done = operator.done(operator.start("replayDeadLetters", f"ids: [{ids}]")["id"])
    told = result(done)
    assert told["replayed"] == [str(mended)]
    reasons = {each["id"]: each["reason"] for each in told["stay"]}
    assert reasons[str(bad)].endswith("at $.data.item_count")
    assert reasons[str(gone)] == f"dead letter {gone} was discarded: of no use"
    assert rows.ask(connection, "head") == 1
    batch.run(connection)
    assert not lessons.wrong(connection)


def test_a_poisoned_letter_is_replayed(operator: Operator, connection: Connection) -> None:
    connection.run("ALTER TABLE event_store.events DISABLE TRIGGER append_only")
    lessons.teach(connection, "ann")
    rows.ask(connection, "poison", user="ann")
    projections.Projector(connection).catch_up_all()
    (letter,) = deadletters.list_letters(connection)
    first = operator.start("replayDeadLetters", f'ids: ["{letter.letter_id}"]')
    (stays,) = result(operator.done(first["id"]))["stay"]
    assert stays["id"] == str(letter.letter_id)
    assert stays["reason"].startswith("it fails still:")
    rows.ask(connection, "mend")
    second = operator.start("replayDeadLetters", f'ids: ["{letter.letter_id}"]')
    assert result(operator.done(second["id"])) == {
        "replayed": [str(letter.letter_id)],
        "stay": [],
    }
    assert rows.ask(connection, "poisoned") is None
    batch.run(connection)
    assert not lessons.wrong(connection)


@pytest.mark.every_postgres
def test_a_command_that_was_lost_is_sent_again_by_the_batch_job(
    operator: Operator, store: Store, worker: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setattr(wakeups, "publisher", lambda: refuse)
        lost = operator.start("runBatch")["id"]
        held = operator.start("rebuildProjections")["id"]
    assert operations.take_up(worker, UUID(held))
    assert operator.called() == []
    with contextlib.closing(database.connect(url_of(store, "batch"))) as job:
        assert batch.call_workers(job) == 1
        assert operator.called() == [lost]
        assert operator.done(lost)["state"] == "SUCCEEDED"
        assert batch.call_workers(job) == 0


def refuse(*_: object, **__: object) -> bytes:
    """A Pub/Sub that takes nothing."""
    raise Unavailable("nobody is there")


def test_a_pushed_command_is_an_operation_s_or_none() -> None:
    operation = uuid.uuid4()
    assert waking.open_push(pushed({"command": "operation", "id": str(operation)})) == operation
    bad: object
    for bad in ("x", "", None, 7, {}, [str(operation)]):
        assert waking.open_push(pushed({"command": "operation", "id": bad})) is None
    assert waking.open_push(pushed({"command": "operation"})) is None


def test_an_operation_that_there_is_not_is_nobody_s_work(operator: Operator) -> None:
    waking.obey(uuid.uuid4())


def test_what_is_sent_is_what_is_understood(operator: Operator, wakings: Wakings) -> None:
    started = operator.start("runBatch")
    (command,) = wakings.commands()
    assert waking.open_push(pushed(command)) == UUID(started["id"])
