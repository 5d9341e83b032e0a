"""Kill a random process, connection or job of the stack, or suspend a server, at an interval."""

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import psutil

from bench.local_stack import LocalStack
from bench.soak.background import Background
from bench.soak.plan import SoakPlan
from bench.statements import blocks
from progress.adapters.postgres import database
from progress.errors import ProgressError
from progress.files import ROOT
from progress.local import postgres, stack

_SERVERS = ("postgres", "pubsub", "valkey")
_OUTAGE_S = 2.0, 10.0
_BATCH = ROOT / "jobs" / "batch_aggregates" / "main.py"


class Kills(Background):
    """A thread that kills processes, connections and jobs, and suspends servers.

    `killed` counts these faults by kind.
    """

    def __init__(self, local: LocalStack, plan: SoakPlan) -> None:
        super().__init__("kills")
        self.killed: Counter[str] = Counter()
        self._stack, self._interval_s = local, plan.kill_interval_s
        self._chance = random.Random(plan.seed)
        processes = stack.running(local.folder).processes
        self._batch_environment = psutil.Process(processes["project"].pid).environ() | {
            "DATABASE_URL": postgres.url(
                local.folder.postgres, user="progress_batch_progress", database="progress"
            )
        }

    def _run(self) -> None:
        victims: dict[str, Callable[[], None]] = {
            **{name: self._killer(name) for name in ("ingest", "project", "query", "valkey")},
            "batch job": self._kill_batch,
            "all connections": self._end_connections,
            "backend of PostgreSQL": self._kill_backend,
            **{f"outage of {name}": self._suspender(name) for name in _SERVERS},
        }
        while not self._stop.wait(self._interval_s):
            name = self._chance.choice(sorted(victims))
            with contextlib.suppress(ProgressError, psutil.NoSuchProcess, ProcessLookupError):
                victims[name]()
                self.killed[name] += 1

    def _killer(self, part: str) -> Callable[[], None]:
        return lambda: self._kill(part)

    def _suspender(self, server: str) -> Callable[[], None]:
        return lambda: self._suspend(server)

    def _suspend(self, server: str) -> None:
        """Suspend all processes of a server: connections stay open, and nothing responds."""
        pids = stack.pids(stack.running(self._stack.folder))[server]
        try:
            _send(signal.SIGSTOP, pids)
            self._stop.wait(self._chance.uniform(*_OUTAGE_S))
        finally:
            _send(signal.SIGCONT, pids)

    def _kill(self, part: str) -> None:
        for pid in stack.pids(stack.running(self._stack.folder))[part]:
            os.kill(pid, signal.SIGKILL)

    def _kill_batch(self) -> None:
        """Start the batch job, and kill it at a random time."""
        process = subprocess.Popen(
            [sys.executable, str(_BATCH)],
            env=self._batch_environment,
            stdout=subprocess.DEVNULL,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self._chance.uniform(0.5, 5.0))
        process.kill()
        process.wait()

    def _end_connections(self) -> None:
        """End every connection to the database, including those of the steady instances."""
        url = self._stack.addresses["database_url"]
        with contextlib.closing(database.connect(url)) as connection:
            connection.run(blocks("soak/soak")["end connections"])

    def _kill_backend(self) -> None:
        """Kill a PostgreSQL backend of a function or job; the server then ends all backends."""
        url = self._stack.addresses["database_url"]
        with contextlib.closing(database.connect(url)) as connection:
            pids = connection.run(blocks("soak/soak")["backends"])
        if pids:
            os.kill(self._chance.choice(pids)[0], signal.SIGKILL)


def _send(number: signal.Signals, pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
