"""The CPU time of live folds, compared with bare upserts of the rows that the folds write."""

from collections.abc import Iterator
from contextlib import closing

from bench import logs
from bench.lines import Line, Rounds
from bench.server import Server, Store, read_cpu_microseconds
from bench.statements import blocks
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.projections import schema
from progress.projections.projector import SHARDS, Projector

_WINDOW = 1_000  # events
_ROUNDS = 7
_BARE = "progress_ba4e00000000"  # named as whatever is dropped is


def compare_with_folds(
    server: Server, learners: int = 300, rounds: int = _ROUNDS
) -> Iterator[Line]:
    """Compare PostgreSQL's CPU time for windows of all realtime folds with that for bare upserts.

    A bare upsert writes the rows that a window wrote, as they were after the window, into empty
    tables with the same indexes: one statement for each table, one transaction for each window.
    A learner answers an item 1.8 times a day; the real learner of the demo answers it 1.7 times.
    """
    store, found = server.create_store(), Rounds()
    logs.fill(store, learners=learners, sessions=8, fresh=4)
    with closing(store.connect()) as connection, closing(database.connect(store.url)) as bare:
        windows = _capture(connection, bare)
    for _ in range(rounds):
        for name in (schema.schema_name(), _BARE):
            _empty(store, name)
        with closing(store.connect()) as connection, closing(database.connect(store.url)) as bare:
            folds, upserts, events = _measure(connection, bare, windows // 2)
        found.add("folds", folds / events)
        found.add("upserts", upserts / events)
    server.drop(store)
    yield found.compare_costs(
        "PostgreSQL's CPU time per event for all live folds",
        *("folds", "upserts"),
        against="for bare upserts of the same rows:",
        bar=3,
        unit="µs",
    )


def _fold(projector: Projector) -> Iterator[int]:
    """Fold one window after the other, of each shard in turn; yield their numbers of events."""
    waiting = list(SHARDS)
    while waiting:
        for shard in list(waiting):
            if folded := projector.fold_window(shard, _WINDOW):
                yield folded
            else:
                waiting.remove(shard)


def _capture(connection: Connection, other: Connection) -> int:
    """Fold the log, and capture the rows that each window writes; return the windows' number."""
    sql = blocks("upserts")
    connection.run(sql["capturing"])
    after = other.run(sql["transaction"])[0][0]
    windows = 0
    for windows, _ in enumerate(_fold(Projector(connection)), start=1):
        other.run(sql["capture"], nth=windows, after=after)
        after = other.run(sql["transaction"])[0][0]
    schema.create(other, _BARE)
    other.run(sql["upserting"])
    return windows


def _empty(store: Store, name: str) -> None:
    with closing(database.connect(store.url)) as connection:
        schema.drop(connection, name)
        schema.create(connection, name)


def _measure(connection: Connection, bare: Connection, unmeasured: int) -> tuple[float, float, int]:
    """Fold and upsert each window; return the microseconds of both, and the number of events.

    Leave out the first windows, in which PostgreSQL plans the statements.
    """
    sql = blocks("upserts")
    pids = [one.run(sql["pid"])[0][0] for one in (connection, bare)]
    upsert = bare.prepare(sql["upsert"])
    folds = upserts = 0.0
    events = 0
    before = read_cpu_microseconds(pids[0])
    for nth, folded in enumerate(_fold(Projector(connection)), start=1):
        between = read_cpu_microseconds(pids[0])
        began = read_cpu_microseconds(pids[1])
        upsert.run(nth=nth)
        if nth > unmeasured:
            folds += between - before
            upserts += read_cpu_microseconds(pids[1]) - began
            events += folded
        before = read_cpu_microseconds(pids[0])
    return folds, upserts, events
