"""Waiting for something to answer, without waiting longer than it takes."""

import time
from collections.abc import Callable

from progress.errors import StackError


def wait(answers: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
    """Return once `answers()`; StackError names `what` after `seconds`.

    It is asked again after 2 ms, then ever more seldom, every 0.1 s at last.
    """
    pause, deadline = 0.002, time.monotonic() + seconds
    while not answers():
        if time.monotonic() > deadline:
            raise StackError(f"{what} did not answer within {seconds:.0f} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
