"""Operations, carried out: by one worker at a time, to an end that is on record, whoever dies."""

import contextlib
import socket
import time
from uuid import UUID

import pytest
import redis

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.errors import Unavailable
from progress.local import readiness
from progress.operations import claim, step_actions
from tests.support import model_rows, sample_events
from tests.support.operation_fixtures import (
    USERS,
    Operator,
    blocks,
    fake_publisher,
    operator,
    populated,
    result,
    seen,
    worker,
)

__all__ = ["fake_publisher", "operator", "populated", "worker"]


def test_a_batch_run(operator: Operator, connection: Connection) -> None:
    sample_events.record_lessons(connection, *USERS)
    done = operator.done(operator.start("runBatch")["id"])
    swept = model_rows.read_value(connection, "head")
    assert result(done) == {"replayed": 0, "swept": swept, "learners": 3}
    assert done["steps"] == [{"name": "batch", "state": "SUCCEEDED", "attempts": 1, "error": None}]
    assert not sample_events.find_differences(connection)


@pytest.mark.every_postgres
def test_a_rebuild(operator: Operator, populated: Connection) -> None:
    populated.run(blocks()["spoil"])
    assert sample_events.find_differences(populated)
    done = operator.done(operator.start("rebuildProjections")["id"])
    assert result(done) == {"events": model_rows.read_value(populated, "head")}
    assert [(s["name"], s["attempts"]) for s in done["steps"]] == [("fold", 1), ("swap", 1)]
    assert not sample_events.find_differences(populated)
    assert model_rows.read_value(populated, "schemas") == 1


def test_what_is_done_is_not_done_again(operator: Operator, populated: Connection) -> None:
    done = operator.done(operator.start("rebuildProjections", key="k")["id"])
    assert operator.done(done["id"]) == done
    assert operator.start("rebuildProjections", key="k") == done
    assert operator.called() == [done["id"]]


@pytest.mark.every_postgres
def test_each_change_has_a_greater_version_and_progress_never_falls(
    operator: Operator, populated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "_REPORT_INTERVAL_S", 0.0)
    operator.done(operator.start("rebuildProjections")["id"])
    changes = seen(populated)
    assert [version for version, _, _ in changes] == list(range(1, len(changes) + 1))
    reached = [progress for _, progress, _ in changes]
    assert reached == sorted(reached)
    assert (reached[0], reached[-1]) == (0, 1)
    assert len(set(reached)) > 5
    assert [state for _, _, state in changes] == [
        "PENDING", *["RUNNING"] * (len(changes) - 2), "SUCCEEDED"
    ]  # fmt: skip


def test_progress_is_written_about_once_a_second(operator: Operator, populated: Connection) -> None:
    sample_events.record_lessons(
        populated, *(f"u{n}" for n in range(60)), lessons=1
    )  # something in every shard
    started = operator.start("rebuildProjections")
    begun = time.monotonic()
    operator.done(started["id"])
    took = time.monotonic() - begun
    # accepted, taken up, two steps begun, the end; and a report for each second that it took
    assert len(seen(populated)) <= 5 + 1 + took


def test_listeners_hear_of_each_change(
    operator: Operator, populated: Connection, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", valkey)
    settings.current.cache_clear()
    started = operator.start("runBatch")
    with contextlib.closing(redis.Redis.from_url(valkey)) as client, client.pubsub() as listening:  # type: ignore[no-untyped-call] # theirs
        listening.subscribe(f"changed:operation:{started['id']}")
        assert listening.get_message(timeout=5)
        operator.done(started["id"])
        wanted = [version for version, _, _ in seen(populated)][1:]
        heard = [listening.get_message(timeout=5) for _ in wanted]
        assert [int(message["data"]) for message in heard if message] == wanted


def test_a_command_delivered_again_while_it_is_worked_on_has_nothing_to_do(
    operator: Operator, populated: Connection, worker: Connection
) -> None:
    started = operator.start("runBatch")
    work = claim.claim(worker, UUID(started["id"]))
    assert work
    work.begin_step("batch")
    assert not step_actions.run(UUID(started["id"]))
    now = operator.look(started["id"])
    assert now["state"] == "RUNNING"
    assert now["steps"] == [{"name": "batch", "state": "RUNNING", "attempts": 1, "error": None}]


@pytest.mark.every_postgres
def test_a_worker_that_dies_is_followed_by_another(
    operator: Operator, populated: Connection, worker: Connection
) -> None:
    populated.run(blocks()["spoil"])
    started = operator.start("rebuildProjections")
    work = claim.claim(worker, UUID(started["id"]))
    assert work
    work.begin_step("fold")
    work.report_progress(0.625)
    worker._usock.shutdown(socket.SHUT_RDWR)  # as a process ends: nothing is said, the lock goes
    readiness.wait(lambda: step_actions.run(UUID(started["id"])), "the lock")
    done = operator.look(started["id"])
    result(done)
    assert [(s["name"], s["attempts"]) for s in done["steps"]] == [("fold", 2), ("swap", 1)]
    assert not sample_events.find_differences(populated)
    reached = [progress for _, progress, _ in seen(populated)]
    assert 0.625 in reached
    assert reached == sorted(reached)
    with pytest.raises(Unavailable):
        work.begin_step("swap")  # whoever was thought dead can write nothing more
