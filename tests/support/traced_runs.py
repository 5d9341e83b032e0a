"""Helpers that run the operation of traced_operation.py, in this process or in another.

In the test's process, this operation replaces the operation of the kind REBUILD.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from progress.adapters.postgres.database import Connection
from progress.errors import Unavailable
from progress.local import readiness
from progress.operations import runner
from progress.operations.records import PLANS
from tests.support import traced_operation
from tests.support.operation_fixtures import FIELDS, Operator

DONE = [(step, "do") for step in traced_operation.STEPS]
Hooks = dict[tuple[str, str], Callable[[], None]]


@pytest.fixture
def hooks(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hooks]:
    """Replace REBUILD with the traced operation, which calls functions of the test.

    Yield an empty dictionary. The test adds functions by step and point; the operation calls each
    function when it reaches the function's step and point.
    """
    connection.execute_simple(traced_operation.blocks()["create"])
    for registry in (PLANS, runner.ACTIONS):
        monkeypatch.setitem(registry, "REBUILD", registry["REBUILD"])  # restored after the test
    calls: Hooks = {}

    def call(step: str, point: str) -> None:
        if (step, point) in calls:
            calls[step, point]()

    traced_operation.install(call)
    yield calls
    runner.COMPENSATIONS.pop("REBUILD", None)


def start(operator: Operator) -> str:
    """Start a traced operation and return its id."""
    operation_id: str = operator.start("rebuildProjections")["id"]
    return operation_id


def change(operator: Operator, mutation: str, operation_id: str) -> Any:
    """Cancel or retry the operation; return it, or the error's code."""
    body = operator.ask(f'mutation {{ {mutation}(id: "{operation_id}") {FIELDS} }}')
    if "errors" in body:
        return body["errors"][0]["extensions"]["code"]
    return body["data"][mutation]


def run_a_worker_that_dies(operation_id: str, step: str, point: str) -> None:
    """Run a worker process that kills itself at this point of the step."""
    words = [sys.executable, "-m", "tests.support.traced_operation", operation_id, step, point]
    done = subprocess.run(words, env=dict(os.environ), timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL


def run_until_it_ends(operator: Operator, operation_id: str) -> Any:
    """Run the operation repeatedly, as redelivered commands do, until it ends; return it."""

    def has_ended() -> bool:
        try:
            runner.run(UUID(operation_id))
        except Unavailable:
            return False
        return True

    readiness.wait(has_ended, "the end")
    return operator.get(operation_id)
