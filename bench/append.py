"""The append: against COPY, and against the recorder of `eventsourcing`."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

import psycopg

from bench import envelopes, peers
from bench.envelopes import Envelope
from bench.lines import Line, Rounds
from bench.server import Server, Store
from bench.statements import blocks
from progress import eventlog
from progress.database import Connection

T = TypeVar("T")
Batch = list[Envelope]

_ROUNDS = 15


def against_copy(server: Server) -> Iterator[Line]:
    """1,000 in a call, against COPY of the very rows into a table with the same indexes."""
    store = server.store()
    source, rounds = envelopes.endless(), Rounds()
    with closing(store.connect()) as ours, psycopg.connect(store.url, autocommit=True) as copying:
        ours.run(blocks("append")["copied"])
        ours.run(blocks("append")["not copied"])
        for number in range(_ROUNDS + 1):
            batches = _batches(source, calls=10, size=1_000)
            appended = _appending(ours, batches)
            formatted = _formatted(copying)
            copied = _per_second(batches, formatted, lambda rows: _copy(copying, rows))
            if number:  # the first warms up
                rounds.add("append", appended)
                rounds.add("COPY", copied)
    server.drop(store)
    yield Line(
        "append, 1,000 in a call, of COPY of the same rows",
        rounds.rate("append"),
        f"COPY {rounds.rate('COPY')}",
        rounds.ratio("append", "COPY"),
        0.40,
    )


def against_recorder(server: Server) -> Iterator[Line]:
    """100 in a call, with and without redelivered ones, and single."""
    for what, calls, size, redelivered, bar in (
        ("append, 100 in a call", 30, 100, 0, 1.3),
        ("append, single", 150, 1, 0, 2.0),
        ("append, 100 in a call, 1 % redelivered", 30, 100, 1, 0.9),
    ):
        store = server.store()
        rounds = _with_recorder(store, calls, size, redelivered)
        server.drop(store)
        yield Line(
            what,
            rounds.rate("append"),
            f"eventsourcing {rounds.rate('recorder')}",
            rounds.ratio("append", "recorder"),
            bar,
        )


def _with_recorder(store: Store, calls: int, size: int, redelivered: int) -> Rounds:
    source, rounds, numbering = envelopes.endless(), Rounds(), peers.Numbering()
    recorder = peers.recorder(store)
    earlier: Batch = []
    with closing(store.connect()) as ours:
        for number in range(_ROUNDS + 1):
            batches = _batches(source, calls, size)
            stored = [numbering.stored(batch) for batch in batches]
            if earlier and redelivered:
                _redeliver(batches, earlier, redelivered)
            earlier = [event for batch in batches for event in batch]
            appended = _appending(ours, batches)
            recorded = _per_second(batches, stored, recorder.insert_events)
            if number:
                rounds.add("append", appended)
                rounds.add("recorder", recorded)
    recorder.datastore.close()
    return rounds


def _redeliver(batches: list[Batch], earlier: Batch, how_many: int) -> None:
    """Put events of the last round in the place of as many in each batch."""
    old = iter(earlier)
    for batch in batches:
        middle = len(batch) // 2
        batch[middle : middle + how_many] = itertools.islice(old, how_many)


def _batches(source: Iterator[Envelope], calls: int, size: int) -> list[Batch]:
    return [list(itertools.islice(source, size)) for _ in range(calls)]


def _appending(connection: Connection, batches: list[Batch]) -> float:
    deliveries = [[envelopes.delivery(batch)] for batch in batches]
    return _per_second(batches, deliveries, lambda d: eventlog.append(connection, d))


def _per_second(batches: Sequence[Batch], calls: Sequence[T], call: Callable[[T], object]) -> float:
    """Events a second, over all the calls."""
    begin = time.perf_counter()
    for each in calls:
        call(each)
    return sum(map(len, batches)) / (time.perf_counter() - begin)


def _formatted(connection: psycopg.Connection) -> list[bytes]:
    """The rows that were appended since, as COPY takes them, 1,000 to a piece."""
    with connection.cursor().copy(blocks("append")["format"]) as out:
        rows = b"".join(bytes(part) for part in out).splitlines(keepends=True)
    return [b"".join(rows[at : at + 1_000]) for at in range(0, len(rows), 1_000)]


def _copy(connection: psycopg.Connection, rows: bytes) -> None:
    with connection.cursor().copy(blocks("append")["copy"]) as into:
        into.write(rows)
