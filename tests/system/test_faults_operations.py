"""Operations on a local stack: a worker that is killed, a command that is lost."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from progress import settings
from progress.local import parts, readiness
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
    """The id of the operation that the mutation starts."""
    query = f'mutation {{ {field}(idempotencyKey: "{os.urandom(8).hex()}") {{ id }} }}'
    found: str = stack.ask("ada", query, role="admin")[field]["id"]
    return found


def look(stack: Stack, operation_id: str) -> dict[str, Any]:
    """The operation as it is."""
    query = f'{{ operation(id: "{operation_id}") {operation_fixtures.FIELDS} }}'
    found: dict[str, Any] = stack.ask("ada", query, role="admin")["operation"]
    return found


def await_end(stack: Stack, operation_id: str) -> dict[str, Any]:
    """The operation, once it has ended."""
    readiness.wait(
        lambda: look(stack, operation_id)["finishedAt"] is not None, "the operation", seconds=60
    )
    return look(stack, operation_id)


def test_a_worker_that_is_killed_in_the_middle_of_a_rebuild_is_followed_by_another(
    stack: Stack,
) -> None:
    with contextlib.closing(stack.connect()) as holder:
        holder.run(operation_fixtures.blocks()["spoil"])
        assert sample_events.find_differences(holder)
        holder.run("BEGIN")
        holder.run(operation_fixtures.blocks()["hold the swap"])
        started = start(stack, "rebuildProjections")
        readiness.wait(lambda: (stack.count("swaps held") or 0) > 0, "the swap")
        command = encode_push({"command": "operation", "id": started})
        assert stack.post("project", command, seconds=5) == 204  # delivered again meanwhile
        before = look(stack, started)
        assert (before["state"], before["finishedAt"]) == ("RUNNING", None)
        assert [(s["state"], s["attempts"]) for s in before["steps"]] == [
            ("SUCCEEDED", 1),
            ("RUNNING", 1),
        ]
        stack.signal("project", signal.SIGKILL)
        holder.run("ROLLBACK")
    done = await_end(stack, started)
    assert (done["state"], done["error"]) == ("SUCCEEDED", None)
    assert [(s["name"], s["attempts"]) for s in done["steps"]] == [("fold", 2), ("swap", 2)]
    stack.check()


def test_a_worker_that_is_killed_while_it_folds_is_followed_by_another(stack: Stack) -> None:
    started = start(stack, "rebuildProjections")
    readiness.wait(lambda: (stack.count("building") or 0) > 0, "the fold")
    stack.signal("project", signal.SIGKILL)
    assert await_end(stack, started)["state"] == "SUCCEEDED"
    assert stack.count("building") == 0
    stack.check()


def job(stack: Stack) -> None:
    """A run of the batch job, as the scheduler starts it."""
    subprocess.run(
        [sys.executable, str(parts.ROOT / "jobs" / "batch_aggregates" / "main.py")],
        env=settings.inherited(
            DATABASE_URL=stack.addresses["database_url"].replace("postgres@", "local_batch@"),
            PUBSUB_EMULATOR_HOST=stack.addresses["pubsub_emulator_host"],
            PYTHONPATH=str(parts.ROOT),
        ),
        check=True,
        stdout=subprocess.DEVNULL,
    )


def command(stack: Stack) -> None:
    """The same by hand."""
    ran = stack.run("batch")
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("sweep", [job, command])
def test_a_command_that_was_lost_is_sent_again(
    stack: Stack, sweep: Callable[[Stack], None]
) -> None:
    stack.ask("ada", "{ __typename }")  # who keeps the parts tells the keys of tokens, too
    with stack.pause_supervisor():
        stack.signal("pubsub", signal.SIGKILL)
        lost = start(stack, "runBatch")
    stack.await_wakes()
    assert look(stack, lost)["state"] == "PENDING"
    sweep(stack)
    assert await_end(stack, lost)["state"] == "SUCCEEDED"
    stack.check()


def test_the_commands_show_what_was_started(stack: Stack) -> None:
    started = start(stack, "runBatch")
    done = await_end(stack, started)
    newest = json.loads(stack.run("operations", "list", "--json").stdout.splitlines()[0])
    shown = json.loads(stack.run("operations", "show", started).stdout)
    assert newest == shown
    assert (shown["id"], shown["state"]) == (started, done["state"])
    assert started in stack.run("operations", "list").stdout
    none = stack.run("operations", "show", "00000000-0000-0000-0000-000000000000")
    assert (none.returncode, none.stdout) == (1, "")
    assert none.stderr.startswith("progress: there is no operation 00000000")
