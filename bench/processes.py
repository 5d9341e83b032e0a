"""Pin processes to cores, and run work in a new process.

The measured server runs on one core, and its databases and clients on the other.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import ParamSpec, TypeVar

import psutil

P = ParamSpec("P")
T = TypeVar("T")

# On systems without CPU affinity, nothing is pinned.
_CAN_PIN = hasattr(psutil.Process, "cpu_affinity")
_ALL = sorted(os.sched_getaffinity(0)) if _CAN_PIN else [0]
MEASURED, REST = _ALL[:1], _ALL[-1:]


@contextlib.contextmanager
def use_cores(cores: list[int]) -> Iterator[None]:
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
    _set_cores(pid, cores)
    try:
        yield
    finally:
        _set_cores(pid, _ALL)


def _set_cores(pid: int, cores: list[int]) -> None:
    for process in list_family(pid) if _CAN_PIN else ():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.cpu_affinity(cores)


def list_family(pid: int) -> list[psutil.Process]:
    own = psutil.Process(pid)
    return [own, *own.children(recursive=True)]


def run_alone(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the function in a new process; return its result."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *args, **kwargs).result()
