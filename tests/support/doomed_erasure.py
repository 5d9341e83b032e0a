"""A worker that runs an erasure, and kills itself at a point of the erasure.

`python -m tests.support.doomed_erasure OPERATION STEP POINT` starts the worker. If POINT is
`before` or `after`, the worker dies before or after the step's effect. Otherwise, POINT names a
function of `progress.operations.erase_user`; the worker dies after the first call of this function.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID

from progress.operations import erase_user, runner
from progress.operations.claim import ClaimedOperation

STEPS = ("forbid", "forget", "redact", "files", "close")
POINTS = [
    *((step, point) for step in STEPS for point in ("before", "after")),
    ("forbid", "forbid_learner"),
    ("redact", "redact_events"),
    ("close", "hide_sessions"),
    ("close", "delete_marks"),
    ("close", "keep_receipt"),
]


def die() -> None:
    """End the process as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def install(step: str, point: str) -> None:
    """Make this process kill itself when it reaches this point of the step."""
    action = runner.ACTIONS["ERASE_USER"][step]

    def act(operation: ClaimedOperation) -> object:
        if point == "before":
            die()
        elif point != "after":
            setattr(erase_user, point, _die_after(getattr(erase_user, point)))
        outcome = action(operation)
        die()
        return outcome

    runner.ACTIONS["ERASE_USER"] = {**runner.ACTIONS["ERASE_USER"], step: act}


def _die_after(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> None:
        function(*arguments, **named)
        die()

    return call


if __name__ == "__main__":
    erase_user._REQUESTS_END_S = 0.0
    erase_user.CHUNK = 7
    install(sys.argv[2], sys.argv[3])
    runner.run(UUID(sys.argv[1]))
