"""The append: against COPY, and against the recorder of `eventsourcing`."""

import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import TypeVar

import psycopg

from bench import envelopes, peers
from bench.envelopes import Envelope
from bench.lines import Line, Rounds
from bench.server import Server, Store
from bench.statements import blocks
from progress.event_store import log

T = TypeVar("T")
U = TypeVar("U")
Batch = list[Envelope]

_ROUNDS = 11


def against_copy(server: Server) -> Iterator[Line]:
    """1,000 in a call, against COPY of the very rows into a table with the same indexes."""
    store = server.store()
    source, rounds = envelopes.endless(), Rounds()
    with closing(store.connect()) as ours, psycopg.connect(store.url, autocommit=True) as copying:
        ours.run(blocks("append")["copied"])
        ours.run(blocks("append")["not copied"])
        for number in range(_ROUNDS + 1):
            deliveries = [[envelopes.delivery(b)] for b in _batches(source, calls=10, size=1_000)]
            appended, copied = _alternating(
                (deliveries, functools.partial(log.append, ours)),
                # Read off the log when their turn comes: no part of the time.
                ((_formatted(copying) for _ in deliveries), functools.partial(_copy, copying)),
            )
            if number:  # the first warms up
                rounds.add("append", 10_000 / appended)
                rounds.add("COPY", 10_000 / copied)
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
        ("append, 100 in a call", 60, 100, 0, 1.4),
        ("append, single", 500, 1, 0, 2.0),
        ("append, 100 in a call, 1 % redelivered", 60, 100, 1, 0.9),
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
            deliveries = [[envelopes.delivery(batch)] for batch in batches]
            appended, recorded = _alternating(
                (deliveries, functools.partial(log.append, ours)),
                (stored, recorder.insert_events),
                block=calls,  # either runs warm, as it does at work
            )
            if number:
                rounds.add("append", calls * size / appended)
                rounds.add("recorder", calls * size / recorded)
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


def _alternating(
    ours: tuple[Iterable[T], Callable[[T], object]],
    theirs: tuple[Iterable[U], Callable[[U], object]],
    block: int = 1,
) -> tuple[float, float]:
    """Seconds of either's calls: a block of ours and a block of theirs in turn."""
    appended = recorded = 0.0
    (our_values, our_call), (their_values, their_call) = ours, theirs
    our_rest, their_rest = iter(our_values), iter(their_values)
    while our_block := list(itertools.islice(our_rest, block)):
        appended += sum(seconds(our_call, value) for value in our_block)
        recorded += sum(seconds(their_call, value) for value in itertools.islice(their_rest, block))
    return appended, recorded


def seconds(call: Callable[[T], object], value: T) -> float:
    """How long the call took."""
    begin = time.perf_counter()
    call(value)
    return time.perf_counter() - begin


def _formatted(connection: psycopg.Connection) -> bytes:
    """The rows that were appended since, as COPY takes them."""
    with connection.cursor().copy(blocks("append")["format"]) as out:
        return b"".join(bytes(part) for part in out)


def _copy(connection: psycopg.Connection, rows: bytes) -> None:
    with connection.cursor().copy(blocks("append")["copy"]) as into:
        into.write(rows)
