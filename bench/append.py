"""The append benchmark: a comparison with the recorder of `eventsourcing`."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import ParamSpec

from bench import envelopes, peers
from bench.envelopes import Envelope
from bench.lines import Line, Rounds
from bench.server import Server, Store
from progress.event_store import log

P = ParamSpec("P")
Batch = list[Envelope]

_ROUNDS = 11


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
