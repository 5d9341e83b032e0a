"""A test operation that replaces REBUILD; each of its four steps writes rows.

The points of a step are before and after its effect (`before`, `after`), and before and after the
effect of its compensation (`undo before`, `undo after`).
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from progress import settings
from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.operations import runner
from progress.operations.claimed_operations import ClaimedOperation
from progress.operations.records import PLANS, OperationPlan, Step
from progress.operations.runner import Action
from tests.support import doomed_worker
from tests.support.operation_fixtures import Operator

BLOCKS = statements.blocks(str(Path(__file__).with_suffix("")))

PLAN = OperationPlan(
    (Step("prepare", 60), Step("write", 60), Step("offer", 60, is_final=True), Step("tidy", 60))
)
STEPS = [step.name for step in PLAN.steps]
COMPENSATED = ("write", "prepare")
DONE = [(step, "do") for step in STEPS]

Hooks = dict[tuple[str, str], Callable[[], None]]
Hook = Callable[[str, str], None]


def install(hook: Hook) -> None:
    PLANS["REBUILD"] = PLAN
    runner.ACTIONS["REBUILD"] = {name: _effect(name, "do", "", hook) for name in STEPS}
    runner.COMPENSATIONS["REBUILD"] = {
        name: _effect(name, "undo", "undo ", hook) for name in COMPENSATED
    }


def _effect(step: str, block: str, prefix: str, hook: Hook) -> Action:
    def act(operation: ClaimedOperation) -> object:
        hook(step, f"{prefix}before")
        operation.report_progress((STEPS.index(step) + 1) / 10)
        with closing(database.connect(settings.current(), name="effect")) as connection:
            connection.run(BLOCKS[block], operation_id=str(operation.id), step=step)
        hook(step, f"{prefix}after")
        return {"step": step}

    return act


def read_runs(connection: Connection) -> list[tuple[str, str]]:
    return [tuple(row) for row in connection.run(BLOCKS["runs"])]


def read_effects(connection: Connection) -> list[str]:
    return [row[0] for row in connection.run(BLOCKS["effects"])]


@pytest.fixture
def hooks(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hooks]:
    """Replace REBUILD with the traced operation, which calls functions of the test.

    Yield an empty dictionary. The test adds functions by step and point; the operation calls each
    function when it reaches the function's step and point.
    """
    connection.execute_simple(BLOCKS["create"])
    for registry in (PLANS, runner.ACTIONS):
        monkeypatch.setitem(registry, "REBUILD", registry["REBUILD"])  # restored after the test
    calls: Hooks = {}

    def call(step: str, point: str) -> None:
        if (step, point) in calls:
            calls[step, point]()

    install(call)
    yield calls
    runner.COMPENSATIONS.pop("REBUILD", None)


def start(operator: Operator) -> str:
    return str(operator.start("rebuildProjections")["id"])


def run_a_worker_that_dies(
    connection: Connection, operation_id: str, step: str, point: str
) -> None:
    doomed_worker.run(connection, operation_id, functools.partial(_doom, operation_id, step, point))


def _doom(operation_id: str, doomed_step: str, doomed_point: str) -> None:
    def hook(step: str, point: str) -> None:
        if (step, point) == (doomed_step, doomed_point):
            doomed_worker.die()
        if doomed_point.startswith("undo") and (step, point) == ("write", "after"):
            # Cancel as the API does, but with the privileges of the worker's login.
            with closing(database.connect(settings.current())) as connection:
                connection.run(BLOCKS["cancel"], operation_id=operation_id)

    install(hook)
