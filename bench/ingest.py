"""The ingest function under load, compared with an empty function and with direct appends."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from bench import envelopes, function_client, functions, request_batch
from bench.functions import Function
from bench.lines import Line, Rounds, limit
from bench.request_batch import RequestBatch
from bench.server import Server, Store
from progress.event_store import log
from tests.support import token_issuer
from tests.support.fake_publisher import FakePublisher

Encode = Callable[[int, int], Iterator[bytes]]

_ROUNDS = 7
_AT_ONCE = 80
_SINGLE = 2_000  # messages
_HUNDRED = 100  # messages, and events per message

_seeds = itertools.count(1)


def measure_load(server: Server) -> Iterator[Line]:
    """Compare messages of one event with an empty function, and of 100 events with the append."""
    store = server.create_store()
    single, hundred, posts = Rounds(), Rounds(), {1: Rounds(), 100: Rounds()}
    with (
        closing(FakePublisher()) as publisher,
        token_issuer.serve() as issuer,
        functions.run(
            "ingest", **issuer.environment(store.url), PUBSUB_EMULATOR_HOST=publisher.address
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
            for events, rounds in posts.items():
                requests = _SINGLE if events == 1 else _HUNDRED
                seconds_of_posts = _send(ours, function_client.encode_posts, requests, events)
                if number:
                    rounds.add("pushes", requests / seconds[0 if events == 1 else 2])
                    rounds.add("posts", requests / seconds_of_posts)
        memory = ours.memory()
    server.drop(store)
    what = "ingest, one event per message, 80 concurrent requests"
    against = "an empty function:"
    yield single.compare_rates(what, "ingest", "empty", against=against, bar=0.4, of="requests")
    what = "ingest, 100 events per message, 80 concurrent requests"
    against = "append called directly with 100 events:"
    yield hundred.compare_rates(what, "ingest", "append", against=against, bar=0.4)
    for events, rounds in posts.items():
        what = f"posts, {events} events per request, 80 concurrent requests"
        yield rounds.compare_rates(
            what, "posts", "pushes", against="pushes:", bar=0.8, of="requests"
        )
    yield limit("memory of ingest under load", memory, 200, "MB")


def _push(function: Function, messages: int, events: int = 1) -> float:
    return _send(function, function_client.encode_pushes, messages, events)


def _send(function: Function, encode: Encode, requests: int, events: int) -> float:
    """Return the seconds until the function has accepted all requests."""
    encoded = itertools.islice(encode(events, next(_seeds)), requests)
    return request_batch.send(RequestBatch(function.port, list(encoded), b"", _AT_ONCE)).all


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
