"""Operations on a local stack: killed workers and lost commands."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from progress.local import readiness
from tests.support import fault_stack, operation_fixtures, sample_events
from tests.support.fault_stack import Stack
from tests.support.pushes import encode_push

USERS = [f"u{n}" for n in range(6)]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with fault_stack.run_stack() as made:
        made.publish([sample_events.item_published(f"i{n}") for n in range(4)])
        made.publish(*(sample_events.lesson(user, day) for user in USERS for day in range(5)))
        made.await_delivery()
        made.await_projection()
        assert made.run("batch").returncode == 0
        yield made


def start(stack: Stack, field: str) -> str:
    """Start an operation with this mutation; return the id of the operation."""
    query = f'mutation {{ {field}(idempotencyKey: "{os.urandom(8).hex()}") {{ id }} }}'
    operation_id: str = stack.ask("ada", query, role="admin")[field]["id"]
    return operation_id


def get(stack: Stack, operation_id: str) -> dict[str, Any]:
    """Return the current state of the operation."""
    query = f'{{ operation(id: "{operation_id}") {operation_fixtures.FIELDS} }}'
    operation: dict[str, Any] = stack.ask("ada", query, role="admin")["operation"]
    return operation


def await_end(stack: Stack, operation_id: str) -> dict[str, Any]:
    """Wait until the operation has ended; return the operation."""
    readiness.wait(
        lambda: get(stack, operation_id)["finishedAt"] is not None, "the operation", seconds=60
    )
    return get(stack, operation_id)


@pytest.mark.exhaustive
def test_another_worker_takes_over_if_the_project_function_is_killed_during_a_swap(
    stack: Stack,
) -> None:
    with contextlib.closing(stack.connect()) as holder:
        holder.run(operation_fixtures.BLOCKS["damage read models"])
        assert sample_events.find_differences(holder)
        holder.run("BEGIN")
        holder.run(operation_fixtures.BLOCKS["hold the swap"])
        started = start(stack, "rebuildProjections")
        readiness.wait(lambda: (stack.count("swaps held") or 0) > 0, "the swap")
        command = encode_push({"command": "operation", "id": started})
        assert stack.post("project", command, seconds=5) == 429  # a redelivery
        before = get(stack, started)
        assert (before["state"], before["finishedAt"]) == ("RUNNING", None)
        assert [(s["state"], s["attempts"]) for s in before["steps"]] == [
            ("SUCCEEDED", 1),
            ("RUNNING", 1),
        ]
        stack.signal("project", signal.SIGKILL)
        holder.run("ROLLBACK")
    done = await_end(stack, started)
    assert (done["state"], done["error"]) == ("SUCCEEDED", None)
    assert [(s["name"], s["attempts"]) for s in done["steps"]] == [("fold", 1), ("swap", 2)]
    stack.check()


@pytest.mark.first_in_gate
@pytest.mark.parametrize("is_job", [True, False], ids=["the job", "the command"])
def test_the_batch_job_sends_a_lost_command_again(stack: Stack, is_job: bool) -> None:
    # A paused supervisor cannot serve the token keys. This query therefore makes the query function
    # fetch the keys before the pause.
    stack.ask("ada", "{ __typename }")
    with stack.pause_supervisor():
        stack.signal("pubsub", signal.SIGKILL)
        lost = start(stack, "runBatch")
    stack.await_wakes()
    assert get(stack, lost)["state"] == "PENDING"
    assert (stack.start_job().wait() if is_job else stack.run("batch").returncode) == 0
    assert await_end(stack, lost)["state"] == "SUCCEEDED"
    stack.check()
