"""A rebuild of a whole log, compared with the live folds and with a bare aggregation."""

import functools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from bench import logs
from bench.lines import Line, Rounds
from bench.live import WINDOW
from bench.server import Server, Store
from bench.statements import blocks
from progress.adapters.postgres import database, statements
from progress.projections import rebuild, schema
from progress.projections.projector import SHARDS, Projector

_ROUNDS = 3
_LEARNERS, _SESSIONS = 1_200, 20  # a million events


def compare_with_live(server: Server) -> Iterator[Line]:
    """Compare a rebuild with live folds (both on two connections) and with a bare GROUP BY."""
    store, rounds = server.create_store(), Rounds()
    events = logs.fill(store, learners=_LEARNERS, sessions=_SESSIONS)
    with closing(database.connect(store.url)) as connection:
        connection.run(blocks("rebuilds")["tables"])
    for _ in range(_ROUNDS):
        rounds.add("live", events / _time_live(store))
        rounds.add("bare", events / _time_bare(store))
        rounds.add("rebuild", events / _time_rebuild(store))
    server.drop(store)
    what = f"rebuild, two connections, {events:,} events"
    for theirs, against, bar in (
        ("live", "live, two connections:", 1.0),
        ("bare", "bare INSERT … SELECT … GROUP BY:", 0.25),
    ):
        yield rounds.compare_rates(what, "rebuild", theirs, against=against, bar=bar)


def _time_live(store: Store) -> float:
    """Fold the log in windows on two connections; return the seconds."""
    with closing(database.connect(store.url)) as connection:
        schema.drop(connection, schema.schema_name())
        schema.create(connection)
    connections = [store.connect(), store.connect()]
    projectors = [Projector(connection) for connection in connections]
    begin = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_fold_half, projectors, (0, 1)))
    seconds = time.perf_counter() - begin
    for connection in connections:
        connection.close()
    return seconds


def _fold_half(projector: Projector, half: int) -> None:
    """Fold half the shards; switch shards after each window, as if all shards received events."""
    waiting = list(SHARDS)[half::2]
    while waiting:
        waiting = [shard for shard in waiting if projector.fold_window(shard, WINDOW)]


def _time_bare(store: Store) -> float:
    with closing(database.connect(store.url)) as connection:
        # Use the same work_mem as a rebuild.
        connection.run(statements.blocks("projections/rebuild")["tune"])
        connection.run(blocks("rebuilds")["empty"])
        begin = time.perf_counter()
        for name in ("daily", "items"):
            connection.run(blocks("rebuilds")[name])
        return time.perf_counter() - begin


def _time_rebuild(store: Store) -> float:
    begin = time.perf_counter()
    rebuild.run(functools.partial(database.connect, store.url))
    return time.perf_counter() - begin
