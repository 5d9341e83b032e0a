"""A test operation that replaces REBUILD; each of its four steps writes rows.

`python -m tests.support.traced_operation OPERATION STEP POINT` is a worker that kills itself in
this step. POINT says when: before or after the step's effect (`before`, `after`), or before or
after the effect of the step's compensation (`undo before`, `undo after`).
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

from progress import settings
from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.operations import runner
from progress.operations.claim import ClaimedOperation
from progress.operations.records import PLANS, Plan, Step
from progress.operations.runner import Action

PLAN = Plan(
    (
        Step("prepare", 60.0),
        Step("write", 60.0),
        Step("offer", 60.0, is_final=True),
        Step("tidy", 60),
    )
)
STEPS = [step.name for step in PLAN.steps]
COMPENSATED = ("write", "prepare")
POINTS = ("before", "after")

Hook = Callable[[str, str], None]


def blocks() -> dict[str, str]:
    """Return the named statements of traced_operation.sql."""
    return statements.blocks(str(Path(__file__).with_suffix("")))


def install(hook: Hook) -> None:
    """Make REBUILD run the traced steps in this process; call `hook(step, point)` at each point."""
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
            connection.run(blocks()[block], operation_id=str(operation.id), step=step)
        hook(step, f"{prefix}after")
        return {"step": step}

    return act


def read_runs(connection: Connection) -> list[tuple[str, str]]:
    """Return the steps and compensations in the order in which they took effect."""
    return [tuple(row) for row in connection.run(blocks()["runs"])]


def read_effects(connection: Connection) -> list[str]:
    """Return the steps whose effect remains."""
    return [row[0] for row in connection.run(blocks()["effects"])]


def cancel(operation_id: str) -> None:
    """Request the cancellation as the API does, but with the privileges of the worker's login."""
    with closing(database.connect(settings.current())) as connection:
        connection.run(blocks()["cancel"], operation_id=operation_id)


def main(operation_id: str, doomed_step: str, doomed_point: str) -> None:
    """Run the operation; kill this process when it reaches the given point of the given step."""

    def die(step: str, point: str) -> None:
        if (step, point) == (doomed_step, doomed_point):
            os.kill(os.getpid(), signal.SIGKILL)
        if doomed_point.startswith("undo") and (step, point) == ("write", "after"):
            cancel(operation_id)

    install(die)
    runner.run(UUID(operation_id))


if __name__ == "__main__":
    main(*sys.argv[1:])
