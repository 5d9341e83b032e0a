"""The ingest function under load, compared with an empty function and with direct appends."""

import itertools
import time
from collections.abc import Iterator
from contextlib import closing

from bench import envelopes, function_client, functions, request_batch
from bench.functions import Function
from bench.lines import Line, Rounds, limit
from bench.request_batch import RequestBatch
from bench.server import Server, Store
from progress.event_store import log
from tests.support.fake_publisher import FakePublisher

_ROUNDS = 7
_AT_ONCE = 80
_SINGLE = 2_000  # messages
_HUNDRED = 100  # messages, and events per message

_seeds = itertools.count(1)


def measure_load(server: Server) -> Iterator[Line]:
    """Compare messages of one event with an empty function, and of 100 events with the append."""
    store = server.create_store()
    single, hundred = Rounds(), Rounds()
    with (
        closing(FakePublisher()) as publisher,
        functions.run(
            "ingest", DATABASE_URL=store.url, PUBSUB_EMULATOR_HOST=publisher.address
        ) as ours,
        functions.run("empty") as empty,
    ):
        for number in range(_ROUNDS + 1):
            seconds = (_push(ours, _SINGLE), _push(empty, _SINGLE), _push(ours, _HUNDRED, 100))
            if number:  # the first round is a warm-up
                single.add("ingest", _SINGLE / seconds[0])
                single.add("empty", _SINGLE / seconds[1])
                hundred.add("ingest", 100 * _HUNDRED / seconds[2])
                hundred.add("append", _append_rate(store))
        memory = ours.memory()
    server.drop(store)
    what = "ingest, one event per message, 80 concurrent requests"
    against = "an empty function:"
    yield single.compare_rates(what, "ingest", "empty", against=against, bar=0.4, of="requests")
    what = "ingest, 100 events per message, 80 concurrent requests"
    against = "append called directly with 100 events:"
    yield hundred.compare_rates(what, "ingest", "append", against=against, bar=0.4)
    yield limit("memory of ingest under load", memory, 200, "MB")


def _push(function: Function, messages: int, events: int = 1) -> float:
    """Return the seconds until the function has accepted all messages."""
    encoded = itertools.islice(function_client.encode_pushes(events, next(_seeds)), messages)
    return request_batch.send(RequestBatch(function.port, list(encoded), b"", _AT_ONCE))


def _append_rate(store: Store) -> float:
    """Return the events per second of appends with 100 events per call."""
    source = envelopes.endless(next(_seeds))
    deliveries = [envelopes.delivery(list(itertools.islice(source, 100))) for _ in range(_HUNDRED)]
    with closing(store.connect()) as connection:
        log.append(connection, deliveries[:1])
        begin = time.perf_counter()
        for delivery in deliveries[1:]:
            log.append(connection, [delivery])
        return 100 * (_HUNDRED - 1) / (time.perf_counter() - begin)
