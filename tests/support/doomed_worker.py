"""Processes that kill themselves at a point of an operation or of a rebuild.

They are forked from a process that has imported the runner, so that they start quickly.
"""

import functools
import importlib
import os
import signal
from collections.abc import Callable
from typing import Any
from uuid import UUID

from progress.adapters.postgres.database import Connection
from progress.operations import runner
from progress.operations.claimed_operations import ClaimedOperation
from progress.serve import readiness
from tests.support import cli
from tests.support.operation_fixtures import BLOCKS

POINTS = ("before", "after")  # the worker dies before or after the step takes effect


def run(connection: Connection, operation_id: str, doom: Callable[[], None]) -> None:
    """Run a worker in a process that `doom` lets die; wait until its claim has ended."""
    assert call_until_death(functools.partial(runner.run, UUID(operation_id)), doom)
    await_lost_claim(connection)


def die_in(
    connection: Connection, operation_id: str, kind: str, step: str, point: str = "before"
) -> None:
    """Run a worker that dies at this point of the step."""
    run(connection, operation_id, functools.partial(doom_step, kind, step, point))


def await_lost_claim(connection: Connection) -> None:
    """Wait until PostgreSQL has ended the dead workers' sessions, which also ends their claims."""
    readiness.wait(lambda: connection.run(BLOCKS["workers"]) == [[0]], "the end of the session")


def call_until_death(function: Callable[[], object], doom: Callable[[], None]) -> bool:
    """Call the function in a process that `doom` lets die; return False if it did not die."""
    process = cli.FORKS.Process(target=_work, args=(dict(os.environ), doom, function))
    process.start()
    process.join(120)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def _work(
    environment: dict[str, str], doom: Callable[[], None], function: Callable[[], object]
) -> None:
    os.environ.clear()  # the process that forks has the environment of the test that started it
    os.environ.update(environment)
    doom()
    function()


def doom_step(kind: str, step: str, point: str) -> None:
    is_undone = point.startswith("undo ")
    registry = runner.COMPENSATIONS if is_undone else runner.ACTIONS
    action = registry[kind][step]

    def act(operation: ClaimedOperation) -> None:
        if point.endswith("after"):
            action(operation)
        die()

    registry[kind] = {**registry[kind], step: act}


def doom_call(owner: str, name: str, point: str) -> None:
    """Let this process die before or after its first call of the function `name`.

    `owner` is the module or the class (`module:class`) that has the function.
    """
    module, _, class_name = owner.partition(":")
    place: Any = importlib.import_module(module)
    place = getattr(place, class_name) if class_name else place
    original = getattr(place, name)

    def call(*arguments: Any, **named: Any) -> None:
        if point == "after":
            original(*arguments, **named)
        die()

    setattr(place, name, call)


def die() -> None:
    """End the process as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)
