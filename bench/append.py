"""The append benchmark: a comparison with COPY and with the recorder of `eventsourcing`."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import ParamSpec

import psycopg

from bench import envelopes, peers
from bench.envelopes import Envelope
from bench.lines import Line, Rounds
from bench.server import Server, Store
from bench.statements import blocks
from progress.event_store import log

P = ParamSpec("P")
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
            append_seconds = copy_seconds = 0.0
            for batch in _batches(source, calls=10, size=1_000):
                append_seconds += measure_call(log.append, ours, [envelopes.delivery(batch)])
                copy_seconds += measure_call(_copy, copying, _format_rows(copying))
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
            # Each side makes its calls in a row. This keeps caches warm, as in production.
            append_seconds = sum(measure_call(log.append, ours, one) for one in deliveries)
            recorder_seconds = sum(
                measure_call(recorder.insert_events, events) for events in stored_events
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


def measure_call(call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> float:
    """Return the duration of the call in seconds."""
    begin = time.perf_counter()
    call(*args, **kwargs)
    return time.perf_counter() - begin


def _format_rows(connection: psycopg.Connection) -> bytes:
    """Return the rows that were appended after the last COPY, in COPY's format."""
    with connection.cursor().copy(blocks("append")["format"]) as out:
        return b"".join(bytes(part) for part in out)


def _copy(connection: psycopg.Connection, rows: bytes) -> None:
    with connection.cursor().copy(blocks("append")["copy"]) as into:
        into.write(rows)
