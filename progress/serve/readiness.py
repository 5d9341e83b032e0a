"""Wait for a condition by polling."""

import time
from collections.abc import Callable

from progress.errors import StackError


def wait(is_ready: Callable[[], bool], subject: str, *, seconds: float = 30.0) -> None:
    """Return once `is_ready()` is true; after `seconds`, raise a StackError that names `subject`.

    The interval between two calls grows from 2 ms to 0.1 s.
    """
    pause, deadline = 0.002, time.monotonic() + seconds
    while not is_ready():
        if time.monotonic() > deadline:
            raise StackError(f"{subject} took more than {seconds:.0f} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
