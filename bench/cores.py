"""Pin the measured server to one core, and its databases and clients to the other."""

import contextlib
import os
from collections.abc import Iterator

import psutil

# On systems without CPU affinity, nothing is pinned.
_CAN_PIN = hasattr(psutil.Process, "cpu_affinity")
_ALL = sorted(os.sched_getaffinity(0)) if _CAN_PIN else [0]
MEASURED, REST = _ALL[:1], _ALL[-1:]


@contextlib.contextmanager
def use(cores: list[int]) -> Iterator[None]:
    """Pin this thread, and each process that it starts inside the block, to these cores.

    Other running processes are not moved.
    """
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
def pin(pid: int, cores: list[int]) -> Iterator[None]:
    """Pin a process and its present and future children to these cores inside the block."""
    set_cores(pid, cores)
    try:
        yield
    finally:
        set_cores(pid, _ALL)


def set_cores(pid: int, cores: list[int]) -> None:
    """Pin a process and its present children to these cores."""
    if _CAN_PIN:
        own = psutil.Process(pid)
        for process in (own, *own.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.cpu_affinity(cores)
