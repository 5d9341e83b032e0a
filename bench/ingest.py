"""The ingest function under load, and under bursts of large bodies."""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection

import msgspec

from bench import envelopes, function_client, functions, request_batch
from bench.functions import Function
from bench.lines import Line, Rounds, limit
from bench.request_batch import RequestBatch
from bench.server import Server, Store
from progress.event_store import log
from progress.local.ports import HOST
from tests.support.fake_publisher import FakePublisher

_ROUNDS = 7
_AT_ONCE = 80
_SINGLE = 2_000  # messages
_HUNDRED = 100  # messages, and events per message
_BURSTS = ((16, 9_600_000), (100, 5_000_000))  # concurrent bodies, and the bytes per body
_PAUSE_S = 1.0  # before a rejected message is sent again

_seeds = itertools.count(1)


def measure_load(server: Server) -> Iterator[Line]:
    """Compare messages of one event with an empty function, and of 100 events with the append."""
    store = server.create_store()
    single, hundred = Rounds(), Rounds()
    with run_ingest(store) as ours, functions.run("empty") as empty:
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


@contextmanager
def run_ingest(store: Store) -> Iterator[Function]:
    """Run `ingest` during the block, with a publisher service that only stores the wake-ups."""
    with ExitStack() as stack:
        commands = stack.enter_context(closing(FakePublisher())).address
        environment = {"DATABASE_URL": store.url, "PUBSUB_EMULATOR_HOST": commands}
        yield stack.enter_context(functions.run("ingest", **environment))


def _push(function: Function, messages: int, events: int = 1) -> float:
    """Return the seconds until the function has accepted all messages."""
    pushes = itertools.islice(function_client.encode_pushes(events, next(_seeds)), messages)
    return request_batch.send(RequestBatch(function.port, list(pushes), b"", _AT_ONCE)).all


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


def measure_large_bodies(server: Server) -> Iterator[Line]:
    """Send large bodies concurrently, each again until it is accepted; measure the memory."""
    for bodies, size in _BURSTS:
        store = server.create_store()
        with run_ingest(store) as ingest:
            events, rejections = _push_all(ingest, bodies, size)
            peak, at_end = ingest.peak_memory(), ingest.memory()
        with closing(store.connect()) as connection:
            ((recorded,),) = connection.run("SELECT count(*) FROM event_store.events")
        server.drop(store)
        if recorded != events:
            raise RuntimeError(f"{events} events were accepted, but {recorded} are recorded")
        yield limit(
            f"memory of ingest under {bodies} bodies of {size / 1e6:.1f} MB at the same time",
            *(peak, 400, "MB"),
            shown=f"{peak:.0f} MB, {at_end:.0f} MB afterwards",
            against=f"{rejections} × 429, all {events:,} events recorded",
        )


def _push_all(ingest: Function, bodies: int, size: int) -> tuple[int, int]:
    """Push the bodies; return the numbers of accepted events and of rejected deliveries."""
    source = envelopes.endless(next(_seeds))
    many = size * 3 // 4 // len(msgspec.json.encode(list(itertools.islice(source, 420)))) * 420
    pushes = []
    for number in range(bodies):
        data = msgspec.json.encode(list(itertools.islice(source, many)))
        request = function_client.encode_push(data, f"large-{number}")
        pushes.append(request.partition(b"\r\n\r\n")[2])
    with ThreadPoolExecutor(bodies) as pool:
        rejections = sum(pool.map(lambda body: _deliver(ingest.port, body), pushes))
    return bodies * many, rejections


def _deliver(port: int, body: bytes) -> int:
    """Deliver the body until it is accepted; return the number of rejections."""
    for rejections in itertools.count():
        with closing(HTTPConnection(HOST, port, timeout=120)) as connection:
            connection.request("POST", "/", body)
            status = connection.getresponse().status
        if status == 204:
            return rejections
        if status not in (429, 503):
            raise RuntimeError(f"unexpected status {status}")
        time.sleep(_PAUSE_S)
    raise AssertionError
