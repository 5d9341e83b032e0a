"""Samples of a running soak test: lag, memory, disk, dead letters and the latency of queries."""

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from bench.functions import Function
from bench.local_stack import LocalStack
from bench.soak.background import Background
from bench.soak.queries import Queries
from bench.statements import blocks
from progress.adapters.postgres import database
from progress.errors import DatabaseUnavailable
from progress.local import readiness, stack
from progress.projections import gauges

INTERVAL_S = 10.0

_TIMEOUT_S = 60.0  # the limit for one sample, which waits while the database restarts


@dataclass(frozen=True)
class Sample:
    """The state of the stack at one time; `lag` counts events that are not folded."""

    at_s: float
    events: int
    lag: int
    lag_ms: float
    undelivered: int  # messages
    dead_letters: int
    database_mb: float
    files_mb: float  # exports and logs
    queries: int  # successful queries since the previous sample
    query_p95_ms: float
    kills: int
    memory_mb: dict[str, float]


class Sampler(Background):
    """A thread that appends a sample to `samples` every `INTERVAL_S` seconds."""

    def __init__(
        self,
        local: LocalStack,
        steady: dict[str, Function],
        queries: Queries,
        count_kills: Callable[[], int],
    ) -> None:
        super().__init__("samples")
        self.samples: list[Sample] = []
        self._stack, self._queries, self._count_kills = local, queries, count_kills
        self._families = {name: _list_family(one.process.pid) for name, one in steady.items()}
        self._families["supervisor"] = stack.pids(stack.running(local.folder))["supervisor"]
        self._began = time.monotonic()

    def stop(self) -> None:
        """Stop sampling, then take the last sample."""
        super().stop()
        self._take()

    def _run(self) -> None:
        due = self._began
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self._take()
            due += INTERVAL_S

    def _take(self) -> None:
        taken: list[tuple[gauges.Gauges, int, int, int]] = []

        def has_counted() -> bool:
            with contextlib.suppress(DatabaseUnavailable, *database.ERRORS):
                taken.append(self._count())
            return bool(taken)

        readiness.wait(has_counted, "a sample", seconds=_TIMEOUT_S)
        measured, events, undelivered, size = taken[0]
        milliseconds = self._queries.pop_milliseconds()
        self.samples.append(
            Sample(
                at_s=time.monotonic() - self._began,
                events=events,
                lag=measured.projection_lag,
                lag_ms=measured.projection_lag_ms,
                undelivered=undelivered,
                dead_letters=measured.dead_letters,
                database_mb=size / 1e6,
                files_mb=self._measure_files(),
                queries=len(milliseconds),
                query_p95_ms=statistics.quantiles(milliseconds, n=20)[-1]
                if len(milliseconds) > 1
                else 0.0,
                kills=self._count_kills(),
                memory_mb={name: _measure_memory(pids) for name, pids in self._families.items()},
            )
        )

    def _count(self) -> tuple[gauges.Gauges, int, int, int]:
        url = self._stack.addresses["database_url"]
        with contextlib.closing(database.connect(url, name="soak")) as connection:
            events, undelivered, size = connection.run(blocks("soak/soak")["counts"])[0]
            return gauges.measure(connection), events, undelivered, int(size)

    def _measure_files(self) -> float:
        folders = [self._stack.folder.logs, self._stack.folder.path / "exports"]
        files = [file for folder in folders if folder.exists() for file in folder.iterdir()]
        size = 0
        for file in files:
            with contextlib.suppress(FileNotFoundError):  # an export was deleted meanwhile
                size += file.stat().st_size
        return size / 1e6


def _list_family(pid: int) -> list[int]:
    own = psutil.Process(pid)
    return [pid, *(child.pid for child in own.children(recursive=True))]


def _measure_memory(pids: list[int]) -> float:
    """Return the resident memory of the processes in MB, or 0 if one of them has ended."""
    try:
        return float(sum(psutil.Process(pid).memory_info().rss for pid in pids) / 1e6)
    except psutil.NoSuchProcess:
        return 0.0
