"""The database on which a claim is checked: the real folds and queries, and the oracle's rows."""

import contextlib
import functools
import random
from collections.abc import Coroutine, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from progress import files
from progress.adapters.postgres.database import Connection
from progress.projections import batch, schema
from progress.projections.projector import Projector
from progress.query.read_models.queries import Queries
from tests import oracle
from tests.mutants import broken_folds
from tests.mutants.broken_folds import Mutant
from tests.support import model_rows, stage
from tests.support.api import QueryClient
from tests.support.event_logs import TABLES, Disturbance, Envelope, Log, Published
from tests.support.postgres_servers import Server, url_of

_T = TypeVar("_T")


class Place:
    """A database, and the events that it has accepted."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._accepted: set[UUID] = set()
        self._open = contextlib.ExitStack()

    def close(self) -> None:
        """Close all connections."""
        self._open.close()

    @functools.cached_property
    def connection(self) -> Connection:
        return self.connect()

    def connect(self) -> Connection:
        """Return a new connection to the live read models."""
        return self._open.enter_context(contextlib.closing(stage.connect(self.url)))

    def append(self, events: Sequence[Envelope], connection: Connection | None = None) -> None:
        """Append the events as one pushed message."""
        stage.append(connection or self.connection, list(events))
        self._accepted |= _ids(events)

    def fold(self) -> None:
        """Fold all visible events with a new worker, and run the batch job."""
        projector = Projector(self.connect())
        projector.catch_up_all()
        batch.run(projector.connection)

    def deliver(self, events: Sequence[Envelope], now: datetime, seed: int | None) -> None:
        """Deliver a log and fold it; with a seed: in another order, partly twice, with crashes."""
        with contextlib.closing(stage.Stage(self.url)) as made:
            made.deliver(*(_in_order(events, now) if seed is None else _disturb(events, now, seed)))
        self._accepted |= _ids(events)

    @functools.cached_property
    def _client(self) -> QueryClient:
        url = url_of(self.url, "query")
        return self._open.enter_context(contextlib.closing(QueryClient(url)))

    @property
    def queries(self) -> Queries:
        """The typed queries, with the privileges of the query function."""
        return self._client.queries

    def ask(self, query: Coroutine[Any, Any, _T]) -> _T:
        """Run one of `queries`."""
        return self._client(query)

    def find_differences(self, now: datetime) -> list[str]:
        """Return a line for each lost event, failed fold, and difference from the oracle's rows."""
        stored = model_rows.read_events(self.connection)
        lost = self._accepted - {event.event_id for event in stored}
        failed = model_rows.read(self.connection, "failures")
        rows = model_rows.compute_rows(oracle.see(stored, now))
        return [
            *(f"event {event_id} was accepted and is not in the log" for event_id in sorted(lost)),
            *(f"a fold failed: {row['error']}" for row in failed),
            *model_rows.compare(model_rows.read_rows(self.connection), rows),
        ]


def _in_order(events: Sequence[Envelope], now: datetime) -> tuple[Log, Disturbance]:
    published = tuple(Published(one, (n,)) for n, one in enumerate(events))
    return Log(published, now), Disturbance(sizes=(1_000,), every=None, limit=1_000)


def _disturb(events: Sequence[Envelope], now: datetime, seed: int) -> tuple[Log, Disturbance]:
    draw = random.Random(seed)
    how = Disturbance(
        sizes=tuple(draw.choices((10, 50, 200), k=3)),
        every=draw.choice((1, 2, 3)),
        limit=draw.choice((7, 50, 1_000)),
        workers=draw.choice((1, 2)),
        crashes=tuple(draw.choices(TABLES, k=2)),
    )
    published = (
        Published(one, tuple(draw.choices(range(1_000), k=draw.choice((1, 1, 2)))))
        for one in events
    )
    return Log(tuple(published), now), how


def _ids(events: Sequence[Envelope]) -> set[UUID]:
    return {UUID(event["event_id"]) for event in events}


@contextlib.contextmanager
def open_place(server: Server, *, fault: Sequence[Mutant] = ()) -> Iterator[Place]:
    """Create a database in which the fault is planted, and drop it after the block."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(server.open_database())
        if fault:
            stack.enter_context(broken_folds.broken_sql(*fault))
            _plant(url, fault)
        yield stack.enter_context(contextlib.closing(Place(url)))


def _plant(url: str, fault: Sequence[Mutant]) -> None:
    """Replace the functions of the event store, and create the read models of the broken SQL."""
    with contextlib.closing(stage.connect(url)) as connection:
        for file in dict.fromkeys(mutant.file for mutant in fault):
            if "/functions/" in file:
                sql = (files.SQL / f"{file}.sql").read_text(encoding="utf-8")
                connection.execute_simple(sql)
        schema.create(connection)
