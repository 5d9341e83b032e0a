"""Workers that kill themselves before or after an operation's step or the step's compensation.

The workers are forked from a process that has imported the runner, so that they start quickly.
"""

import functools
import multiprocessing
import os
import signal
from collections.abc import Callable
from uuid import UUID

from progress.adapters.postgres.database import Connection
from progress.local import readiness
from progress.operations import runner
from progress.operations.claim import ClaimedOperation
from progress.operations.runner import Action
from tests.support.operation_fixtures import blocks

POINTS = ("before", "after")  # the worker dies before or after the step takes effect

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])


def run(operation_id: str, kind: str, step: str, point: str) -> None:
    """Run a worker that dies at this point of the step.

    The points of the step's compensation are `undo before` and `undo after`.
    """
    run_doomed(operation_id, functools.partial(_doom, kind, step, point))


def run_doomed(operation_id: str, doom: Callable[[], None]) -> None:
    """Run a worker that dies; its process first calls `doom`, which prepares the death."""
    worker = _FORKS.Process(target=_work, args=(dict(os.environ), operation_id, doom))
    worker.start()
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL


def await_lost_claim(connection: Connection) -> None:
    """Wait until PostgreSQL has ended the dead workers' sessions, which also ends their claims."""

    readiness.wait(
        lambda: connection.run(blocks()["workers"]) == [[0]], "the end of the worker's session"
    )


def _work(environment: dict[str, str], operation_id: str, doom: Callable[[], None]) -> None:
    os.environ.clear()  # the process that forks has the environment of the test that started it
    os.environ.update(environment)
    doom()
    runner.run(UUID(operation_id))


def _doom(kind: str, step: str, point: str) -> None:
    is_undone = point.startswith("undo ")
    registry = runner.COMPENSATIONS if is_undone else runner.ACTIONS
    actions = registry[kind]
    doomed = _die_at(point.removeprefix("undo "), actions[step])
    registry[kind] = {**actions, step: doomed}


def _die_at(point: str, action: Action) -> Action:
    def act(operation: ClaimedOperation) -> object:
        if point == "after":
            action(operation)
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    return act
