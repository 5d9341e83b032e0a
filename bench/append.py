"""The append benchmark: a comparison with COPY and with the recorder of `eventsourcing`."""

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


def compare_with_copy(server: Server) -> Iterator[Line]:
    """Compare appends of 1,000 events with a COPY of the same rows.

    COPY writes to a table that has the columns and the indexes of the log's table.
    """
    store = server.create_store()
    source, rounds = envelopes.endless(), Rounds()
    with closing(store.connect()) as ours, psycopg.connect(store.url, autocommit=True) as copying:
        ours.run(blocks("append")["create copy"])
        ours.run(blocks("append")["create view"])
        for number in range(_ROUNDS + 1):
            deliveries = [[envelopes.delivery(b)] for b in _batches(source, calls=10, size=1_000)]
            append_seconds, copy_seconds = _alternate(
                (deliveries, functools.partial(log.append, ours)),
                # The rows are read before each COPY, outside the measured time.
                ((_format_rows(copying) for _ in deliveries), functools.partial(_copy, copying)),
            )
            if number:  # the first round is a warm-up
                rounds.add("append", 10_000 / append_seconds)
                rounds.add("COPY", 10_000 / copy_seconds)
    server.drop(store)
    what = "append of 1,000 events per call, compared with COPY of the same rows"
    yield rounds.compare_rates(what, "append", "COPY", against="COPY", bar=0.40)


def compare_with_recorder(server: Server) -> Iterator[Line]:
    """Compare appends with those of the recorder of `eventsourcing`.

    A call appends 100 new events, one new event, or 100 events of which one is redelivered. The
    recorder gets only new events.
    """
    for what, calls, size, redelivered, bar in (
        ("append, 100 in a call", 60, 100, 0, 1.3),
        ("append, single", 500, 1, 0, 2.0),
        ("append, 100 in a call, 1 % redelivered", 60, 100, 1, 0.9),
    ):
        store = server.create_store()
        rounds = _with_recorder(store, calls, size, redelivered)
        server.drop(store)
        yield rounds.compare_rates(what, "append", "recorder", against="eventsourcing", bar=bar)


def _with_recorder(store: Store, calls: int, size: int, redelivered: int) -> Rounds:
    source, rounds, numbering = envelopes.endless(), Rounds(), peers.Numbering()
    recorder = peers.recorder(store)
    earlier: Batch = []
    with closing(store.connect()) as ours:
        for number in range(_ROUNDS + 1):
            batches = _batches(source, calls, size)
            stored_events = [numbering.number(batch) for batch in batches]
            if earlier and redelivered:
                _redeliver(batches, earlier, redelivered)
            earlier = [event for batch in batches for event in batch]
            deliveries = [[envelopes.delivery(batch)] for batch in batches]
            append_seconds, recorder_seconds = _alternate(
                (deliveries, functools.partial(log.append, ours)),
                (stored_events, recorder.insert_events),
                # Each side makes its calls in a row. This keeps caches warm, as in production.
                block=calls,
            )
            if number:
                rounds.add("append", calls * size / append_seconds)
                rounds.add("recorder", calls * size / recorder_seconds)
    recorder.datastore.close()
    return rounds


def _redeliver(batches: list[Batch], earlier: Batch, how_many: int) -> None:
    """Replace `how_many` events in each batch with events of the previous round."""
    old = iter(earlier)
    for batch in batches:
        middle = len(batch) // 2
        batch[middle : middle + how_many] = itertools.islice(old, how_many)


def _batches(source: Iterator[Envelope], calls: int, size: int) -> list[Batch]:
    return [list(itertools.islice(source, size)) for _ in range(calls)]


def _alternate(
    ours: tuple[Iterable[T], Callable[[T], object]],
    theirs: tuple[Iterable[U], Callable[[U], object]],
    block: int = 1,
) -> tuple[float, float]:
    """Call two functions in alternating blocks; return each function's total time in seconds.

    `ours` and `theirs` each contain the values and the function that is called with each value.
    `block` is the number of calls in a block.
    """
    append_seconds = recorder_seconds = 0.0
    (our_values, our_call), (their_values, their_call) = ours, theirs
    our_rest, their_rest = iter(our_values), iter(their_values)
    while our_block := list(itertools.islice(our_rest, block)):
        append_seconds += sum(measure_call(our_call, value) for value in our_block)
        recorder_seconds += sum(
            measure_call(their_call, value) for value in itertools.islice(their_rest, block)
        )
    return append_seconds, recorder_seconds


def measure_call(call: Callable[[T], object], value: T) -> float:
    """Return the duration of the call in seconds."""
    begin = time.perf_counter()
    call(value)
    return time.perf_counter() - begin


def _format_rows(connection: psycopg.Connection) -> bytes:
    """Return the rows that were appended after the last COPY, in COPY's format."""
    with connection.cursor().copy(blocks("append")["format"]) as out:
        return b"".join(bytes(part) for part in out)


def _copy(connection: psycopg.Connection, rows: bytes) -> None:
    with connection.cursor().copy(blocks("append")["copy"]) as into:
        into.write(rows)
