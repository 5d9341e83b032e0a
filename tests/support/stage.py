"""Deliver generated logs to a database: with duplicates, in any order, with killed workers."""

import contextlib
import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime

import pytest

from progress.adapters.postgres import database
from progress.errors import ProgressError
from progress.event_store import envelope, events
from progress.projections import batch, schema, snapshots
from progress.projections.projector import SHARDS, Projector
from progress.projections.snapshots import Policy
from tests import oracle
from tests.oracle.events import DESCRIPTIONS, NEWEST, PREFERENCES
from tests.support import model_rows
from tests.support.event_logs import Disturbance, Envelope, Log
from tests.support.pushes import record_push

_CONSTANT_TABLES = ("zone_rules", "erasure_key", "milestone_definitions", "read_models")


class Worker:
    """A worker with its own connection; it folds like the project function and the batch job."""

    def __init__(self, url: str):
        self.connection = connect(url)
        self.pid: int = self.connection.run("SELECT pg_backend_pid()")[0][0]
        self._projector = Projector(self.connection)

    def run(self, first: int, how: Disturbance) -> None:
        """Fold the shards that are behind, beginning at `first`; then run each batch task."""
        for shard in sorted(
            self._projector.find_shards_behind(), key=lambda s: (s - first) % len(SHARDS)
        ):
            self._projector.catch_up(shard, limit=how.limit)
        for task in range(how.tasks):
            batch.fold(self.connection, list(SHARDS)[task :: how.tasks])


class Stage:
    """A database with workers; a test empties the database before each generated event log."""

    def __init__(self, url: str):
        self._url = url
        self.admin = connect(url)
        # `_locker` holds locks in an open transaction. `admin` polls pg_stat_activity outside of
        # transactions, because this view does not change within a transaction.
        self._locker = connect(url)
        # Only tests may disable this trigger. Without the trigger, `sweep` can delete the events of
        # the previous log.
        self.admin.run("ALTER TABLE event_store.events DISABLE TRIGGER append_only")
        self._sweep = "\n".join(self._list_reset_statements())
        self._workers: dict[int, Worker] = {}
        self._pool = ThreadPoolExecutor()

    def close(self) -> None:
        self._pool.shutdown()
        for connection in (
            self.admin,
            self._locker,
            *(w.connection for w in self._workers.values()),
        ):
            connection.close()

    def _list_reset_statements(self) -> Iterator[str]:
        """Yield the statements that empty every table and restore the models' initial rows."""
        for table in model_rows.read(self.admin, "tables"):
            if table["tablename"] not in _CONSTANT_TABLES:
                yield table["emptied"]
                if table["is_model"]:
                    self.admin.run(table["save"])
                    yield table["restored"]

    def sweep(self) -> None:
        self.admin.run(self._sweep)

    def deliver(self, log: Log, how: Disturbance) -> None:
        """Deliver the log with the faults in `how`; at the end, fold all remaining events."""
        crashes = deque(how.crashes)
        for number, chunk in enumerate(chunks(log, how), start=1):
            with undeclared():
                append(self.admin, chunk)
            if how.every and number % how.every == 0:
                self._project(how, crashes)
        self._project(how, crashes)
        self._worker(0).run(0, how)

    def take_snapshots(self, policy: Policy) -> int:
        return snapshots.take(self._worker(0).connection, policy)

    def differences(self, now: datetime) -> list[str]:
        """Return the errors of failed folds, and how the rows differ from the oracle's rows."""
        failed = [f"{row['error']}" for row in model_rows.read(self.admin, "failures")]
        world = oracle.see(model_rows.read_events(self.admin), now)
        return failed + model_rows.compare(
            model_rows.read_rows(self.admin), model_rows.compute_rows(world)
        )

    def _worker(self, number: int) -> Worker:
        if number not in self._workers:
            self._workers[number] = Worker(self._url)
        return self._workers[number]

    def _project(self, how: Disturbance, crashes: deque[str]) -> None:
        workers = [self._worker(n) for n in range(how.workers)]
        if crashes:
            self._crash(crashes.popleft(), how)
        else:
            running = [self._pool.submit(w.run, 5 * n, how) for n, w in enumerate(workers)]
            for future in running:
                future.result()

    def _crash(self, table: str, how: Disturbance) -> None:
        """Lock `table` and run a worker; kill the worker when it waits for the lock or is done."""
        worker = self._workers.pop(0)
        self._locker.run("BEGIN")
        try:
            self._locker.run(f"LOCK TABLE {table} IN SHARE MODE")
            running = self._pool.submit(worker.run, 0, how)
            model_rows.kill_at_lock(self.admin, worker.pid, running)
            with suppress(ProgressError, *database.ERRORS):
                running.result()
        finally:
            self._locker.run("ROLLBACK")
            database.close(worker.connection)


def connect(url: str) -> database.Connection:
    connection = database.connect(url, name="stage")
    connection.run("SET synchronous_commit = off")
    schema.set_search_path(connection)
    return connection


def chunks(log: Log, how: Disturbance) -> Iterator[list[Envelope]]:
    waiting = deque(log.delivered)
    for size in itertools.cycle(how.sizes):
        if not waiting:
            return
        yield [waiting.popleft() for _ in range(min(size, len(waiting)))]


def append(connection: database.Connection, envelopes: list[Envelope]) -> None:
    record_push(connection, envelopes, publish_time="2024-01-01T00:00:00Z")


class ItemPublishedBefore(events.ItemEvent, frozen=True, kw_only=True):
    """ItemPublished, as it was declared before the field `language` was added."""

    domains: list[events.Domain] | None = None
    cefr_level: events.Level | None = None
    headword: str | None = None


class PreferencesBefore(events.LearnerEvent, frozen=True, kw_only=True):
    """The preference events, as they were declared before the field `display_name` was added."""

    timezone: str | None = None
    day_start_hour: events.Hour | None = None
    email: str | None = None


@contextlib.contextmanager
def undeclared(*others: str) -> Iterator[None]:
    """Treat the newest event types and fields, and `others`, as undeclared during the block."""
    types = events.EVENT_TYPES.items()
    before = {name: declared for name, declared in types if name not in (*NEWEST, *others)}
    before |= dict.fromkeys(DESCRIPTIONS, ItemPublishedBefore)
    before |= dict.fromkeys(PREFERENCES, PreferencesBefore)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "EVENT_TYPES", before)
        patch.setattr(envelope, "LATER_IDS", ())
        yield
