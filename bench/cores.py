"""One core for the server that is measured, the other for all that works for it and asks it."""

import contextlib
import os
from collections.abc import Iterator

import psutil

# Systems that let no process be kept to a core have them all do as they like.
_CAN_PIN = hasattr(psutil.Process, "cpu_affinity")
_ALL = sorted(os.sched_getaffinity(0)) if _CAN_PIN else [0]
MEASURED, REST = _ALL[:1], _ALL[-1:]


@contextlib.contextmanager
def on(cores: list[int]) -> Iterator[None]:
    """Keep to these cores what the block starts, to its end; what was started before stays."""
    if not _CAN_PIN:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def kept(pid: int, cores: list[int]) -> Iterator[None]:
    """Keep this process to these cores, with all that it started and starts, until the end."""
    keep(pid, cores)
    try:
        yield
    finally:
        keep(pid, _ALL)


def keep(pid: int, cores: list[int]) -> None:
    """Keep this process, and all that it started, to these cores."""
    if _CAN_PIN:
        own = psutil.Process(pid)
        for process in (own, *own.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.cpu_affinity(cores)
