"""The engines that distribute a rebuild's buckets: processes of this machine, or tasks of a job."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection as sentinels

from progress.adapters.postgres.database import Connection
from progress.adapters.telemetry import logs
from progress.errors import RebuildEnded
from progress.recovery import archive_loads, buckets
from progress.recovery.archive_loads import Rebuild
from progress.recovery.archive_rebuild import Source

_ATTEMPTS = 3  # if a process is killed, the next attempt uses new processes
_POLL_INTERVAL_S = 0.5
_BEGIN_TIMEOUT_S = 600.0  # a task waits at most this long for the first task to begin the rebuild


def run_processes(
    source: Source, rebuild: Rebuild, on_loaded: Callable[[], None], *, workers: int
) -> None:
    """Load every bucket, in `workers` parallel processes of this machine.

    If a process is killed, new processes load the buckets that are left. Give up after three
    attempts, even if buckets are left. Raise the errors that `buckets.process` raises.
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
            pool.submit(buckets.process, *source, bucket, rebuild.version): bucket
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


def run_first_task(
    source: Source, rebuild: Rebuild, on_loaded: Callable[[], None], *, count: int
) -> None:
    """Load the first task's buckets, then the buckets that the other tasks have not loaded.

    `count` is the number of tasks. If another task is folding a bucket, wait for that task, and
    load the bucket only if that task dies.
    """
    own = range(0, rebuild.buckets, count)
    others = sorted(set(range(rebuild.buckets)).difference(own), reverse=True)
    with archive_loads.connect(source.database) as session:
        for bucket in (*own, *others):
            _process_alone(session, source, bucket, rebuild.version)
            on_loaded()


def run_other_task(source: Source, *, execution: str, index: int, count: int) -> None:
    """Load the buckets of this task, once the first task has begun the rebuild.

    If the first task is started again, this task starts over. If no rebuild begins within ten
    minutes, this task assumes that the first task has failed, and ends.
    """
    while rebuild := _await_rebuild(source, execution):
        try:
            with archive_loads.connect(source.database) as session:
                for bucket in range(index, rebuild.buckets, count):
                    _process_alone(session, source, bucket, rebuild.version)
        except RebuildEnded:
            with archive_loads.connect(source.database) as connection:
                if archive_loads.has_swapped(connection, rebuild.version):
                    return
        else:
            return


def _process_alone(session: Connection, source: Source, bucket: int, version: int) -> None:
    """Wait until no other task works on the bucket; then load it unless it is already loaded."""
    with archive_loads.hold_bucket(session, bucket):
        if archive_loads.open_bucket(session, bucket, version):
            buckets.process(*source, bucket, version)


def _await_rebuild(source: Source, execution: str) -> Rebuild | None:
    deadline = time.monotonic() + _BEGIN_TIMEOUT_S
    with archive_loads.connect(source.database) as connection:
        while time.monotonic() < deadline:
            if rebuild := archive_loads.find(connection, execution):
                return rebuild
            time.sleep(_POLL_INTERVAL_S)
    return None
