"""The engine that loads a rebuild's buckets in processes of this machine."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection as sentinels

from progress.adapters.telemetry import logs
from progress.recovery import rebuild_units
from progress.recovery.archive_loads import Rebuild
from progress.recovery.archive_rebuild import Source

_ATTEMPTS = 3  # if a process is killed, the next attempt uses new processes


def run_processes(
    source: Source, rebuild: Rebuild, on_loaded: Callable[[], None], *, workers: int
) -> None:
    """Load every bucket, in `workers` parallel processes of this machine.

    If a process is killed, new processes load the buckets that are left. Give up after three
    attempts, even if buckets are left. Raise the errors that `rebuild_units.process` raises.
    """
    left = set(range(rebuild.buckets))
    for _ in range(_ATTEMPTS):
        try:
            _run_pool(source, rebuild, workers, left, on_loaded)
        except BrokenProcessPool:
            logs.write("WARNING", f"a process was killed; {len(left)} buckets are left")


def _run_pool(
    source: Source, rebuild: Rebuild, workers: int, left: set[int], on_loaded: Callable[[], None]
) -> None:
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawning, _end_with_parent) as pool:
        running: dict[Future[int], int] = {
            pool.submit(rebuild_units.process, *source, bucket, rebuild.version): bucket
            for bucket in sorted(left)
        }
        try:
            for done in as_completed(running):
                done.result()
                left.remove(running[done])
                on_loaded()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """End this process when its parent is killed. At Ctrl-C, end it without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's handler would print a traceback
    parent = multiprocessing.parent_process()
    if parent:
        threading.Thread(target=_await_end, args=(parent.sentinel,), daemon=True).start()


def _await_end(sentinel: int) -> None:
    sentinels.wait([sentinel])
    os._exit(1)
