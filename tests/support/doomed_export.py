"""A worker that runs an export, and kills itself at a point of the export.

`python -m tests.support.doomed_export OPERATION POINT` starts the worker.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID

from progress.adapters.storage.storage import Folder
from progress.operations import export_statistics, export_steps, export_user, runner
from progress.operations.claim import ClaimedOperation

POINTS = ("caught up", "first bytes", "last bytes", "renamed", "written", "offered")


def die(*_: object, **__: object) -> None:
    """End the process as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def install(point: str) -> None:
    """Make this process kill itself when it reaches this point of the export."""
    match point:
        case "caught up":
            for module in (export_user, export_statistics):
                _replace(module, "write", before=die)
        case "first bytes":
            _replace(export_steps.HashedOutput, "write", after=die)
        case "last bytes":
            for module in (export_user, export_statistics):
                _replace(module, "write", after=die)
        case "renamed":  # the object is complete, but the outcome is not recorded
            _replace(ClaimedOperation, "complete_step", before=die)
        case "written":
            _replace(ClaimedOperation, "complete_step", after=die)
        case "offered":
            _replace(ClaimedOperation, "finish", before=die)
        case "deleted":
            _replace(Folder, "remove_file", after=die)


def _replace(
    owner: object,
    name: str,
    before: Callable[..., None] | None = None,
    after: Callable[..., None] | None = None,
) -> None:
    original = getattr(owner, name)

    def call(*arguments: Any, **named: Any) -> Any:
        if before:
            before()
        result = original(*arguments, **named)
        if after:
            after()
        return result

    setattr(owner, name, call)


if __name__ == "__main__":
    install(sys.argv[2])
    runner.run(UUID(sys.argv[1]))
