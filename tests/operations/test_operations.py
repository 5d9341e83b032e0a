"""Only one worker at a time runs an operation.

If this worker dies, another worker completes the operation.
"""

import contextlib
import socket
import time
from uuid import UUID

import pytest
import redis

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.errors import OperationClaimed, Unavailable
from progress.operations import claim, runner
from tests.support import model_rows, sample_events
from tests.support.operation_fixtures import (
    USERS,
    Operator,
    blocks,
    deliver,
    list_changes,
    result,
    step_named,
)


def test_a_batch_run_folds_all_learners(operator: Operator, connection: Connection) -> None:
    sample_events.record_lessons(connection, *USERS)
    done = operator.run(operator.start("runBatch")["id"])
    swept = model_rows.read_value(connection, "head")
    assert result(done) == {"replayed": 0, "swept": swept, "learners": 3}
    assert done["steps"] == [{"name": "batch", "state": "SUCCEEDED", "attempts": 1, "error": None}]
    assert not sample_events.find_differences(connection)


@pytest.mark.every_postgres
def test_a_rebuild_repairs_the_read_models(operator: Operator, populated: Connection) -> None:
    populated.run(blocks()["damage read models"])
    assert sample_events.find_differences(populated)
    done = operator.run(operator.start("rebuildProjections")["id"])
    assert result(done) == {"events": model_rows.read_value(populated, "head")}
    assert [(s["name"], s["attempts"]) for s in done["steps"]] == [("fold", 1), ("swap", 1)]
    assert not sample_events.find_differences(populated)
    assert model_rows.read_value(populated, "schemas") == 1


def test_a_finished_operation_is_not_repeated(operator: Operator, populated: Connection) -> None:
    done = operator.run(operator.start("rebuildProjections", key="k")["id"])
    assert operator.run(done["id"]) == done
    assert operator.start("rebuildProjections", key="k") == done
    assert operator.called() == [done["id"]]


@pytest.mark.every_postgres
def test_each_change_increases_the_version_but_never_decreases_the_progress(
    operator: Operator, populated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "_REPORT_INTERVAL_S", 0.0)
    operator.run(operator.start("rebuildProjections")["id"])
    changes = list_changes(populated)
    assert [version for version, _, _ in changes] == list(range(1, len(changes) + 1))
    reached = [progress for _, progress, _ in changes]
    assert reached == sorted(reached)
    assert (reached[0], reached[-1]) == (0, 1)
    assert len(set(reached)) > 5
    assert [state for _, _, state in changes] == [
        "PENDING", *["RUNNING"] * (len(changes) - 2), "SUCCEEDED"
    ]  # fmt: skip


def test_progress_is_written_once_a_second(operator: Operator, populated: Connection) -> None:
    # With 60 learners, each shard has events.
    sample_events.record_lessons(populated, *(f"u{n}" for n in range(60)), lessons=1)
    started = operator.start("rebuildProjections")
    start = time.monotonic()
    operator.run(started["id"])
    took = time.monotonic() - start
    # 7 changes are not progress reports: the operation is accepted, claimed and ended, and two
    # steps begin and end. The other changes are progress reports, one for each second.
    assert len(list_changes(populated)) <= 7 + 1 + took


def test_each_change_is_published_to_redis(
    operator: Operator, populated: Connection, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", valkey)
    settings.current.cache_clear()
    started = operator.start("runBatch")
    with contextlib.closing(redis.Redis.from_url(valkey)) as client, client.pubsub() as listening:
        listening.subscribe(f"changed:operation:{started['id']}")
        assert listening.get_message(timeout=5)
        operator.run(started["id"])
        expected = [version for version, _, _ in list_changes(populated)][1:]
        messages = [listening.get_message(timeout=5) for _ in expected]
        assert [int(message["data"]) for message in messages if message] == expected


def test_a_redelivered_command_of_a_claimed_operation_does_nothing(
    operator: Operator, populated: Connection, worker: Connection
) -> None:
    started = operator.start("runBatch")
    operation = claim.claim(worker, UUID(started["id"]))
    assert operation
    operation.begin_step(step_named("batch"))
    with pytest.raises(OperationClaimed):
        runner.run(UUID(started["id"]))
    now = operator.get(started["id"])
    assert now["state"] == "RUNNING"
    assert now["steps"] == [{"name": "batch", "state": "RUNNING", "attempts": 1, "error": None}]


@pytest.mark.every_postgres
def test_another_worker_takes_over_if_a_worker_dies(
    operator: Operator, populated: Connection, worker: Connection
) -> None:
    populated.run(blocks()["damage read models"])
    started = operator.start("rebuildProjections")
    operation = claim.claim(worker, UUID(started["id"]))
    assert operation
    operation.begin_step(step_named("fold"))
    operation.report_progress(0.625)
    worker._usock.shutdown(socket.SHUT_RDWR)  # releases the lock, as the death of a process does
    assert deliver(started["id"])
    done = operator.get(started["id"])
    result(done)
    assert [(s["name"], s["attempts"]) for s in done["steps"]] == [("fold", 2), ("swap", 1)]
    assert not sample_events.find_differences(populated)
    reached = [progress for _, progress, _ in list_changes(populated)]
    assert 0.625 in reached
    assert reached == sorted(reached)
    with pytest.raises(Unavailable):
        operation.begin_step(step_named("swap"))  # the first worker can no longer write
