"""Push bursts of large bodies; measure ingest's memory; check that accepted events are recorded."""

import itertools
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPException

import msgspec

from bench import envelopes, functions, publisher
from bench.functions import Function
from bench.lines import Line, Rounds
from bench.server import Server, Store
from progress.event_store import log

_BURSTS = ((16, 9_600_000), (100, 5_000_000))  # concurrent bodies, and the bytes per body
_EVENTS, _ROUNDS = 29_000, 3
_PAUSE = 1.0  # seconds before a rejected message is sent again


def measure_large_bodies(server: Server) -> Iterator[Line]:
    """Send the bodies concurrently, and send each body again until it is accepted."""
    yield _measure_conflict(server)
    for bodies, size in _BURSTS:
        store = server.create_store()
        with publisher.run() as commands:
            environment = {"DATABASE_URL": store.url, "PUBSUB_EMULATOR_HOST": commands}
            with functions.run("ingest", **environment) as ingest:
                events, refusals = _push_all(ingest, bodies, size)
                peak, at_end = ingest.peak_memory(), ingest.memory()
        recorded = _count_events(store)
        server.drop(store)
        if recorded != events:
            raise RuntimeError(f"{events} events were accepted, but {recorded} are recorded")
        yield Line(
            f"memory of ingest under {bodies} bodies of {size / 1e6:.1f} MB at the same time",
            f"{peak:.0f} MB, {at_end:.0f} MB afterwards",
            f"{refusals} × 429, all {events:,} events recorded",
            peak, 400, "MB", at_most=True,
        )  # fmt: skip


def _measure_conflict(server: Server) -> Line:
    """Compare appends of a large message with and without a conflict (two events with one ID)."""
    store, source, rounds = server.create_store(), envelopes.endless(), Rounds()
    with closing(store.connect()) as connection:
        for _ in range(_ROUNDS):
            plain, odd = (list(itertools.islice(source, _EVENTS)) for _ in range(2))
            odd.append({**odd[0], "occurred_at": "2025-02-02T00:00:00Z"})
            for name, events in (("plain", plain), ("odd", odd)):
                delivery = envelopes.delivery(events)
                begin = time.perf_counter()
                log.append(connection, [delivery])
                rounds.add(name, time.perf_counter() - begin)
    server.drop(store)
    return Line(
        f"a message of {_EVENTS:,} events, one of them a conflict",
        f"{rounds.median('odd'):.2f} s", f"without it: {rounds.median('plain'):.2f} s",
        rounds.ratio("odd", "plain"), 5, at_most=True,
    )  # fmt: skip


def _push_all(ingest: Function, bodies: int, size: int) -> tuple[int, int]:
    """Push the bodies; return the numbers of accepted events and of rejected deliveries."""
    source = envelopes.endless()
    many = size * 3 // 4 // len(msgspec.json.encode(list(itertools.islice(source, 420)))) * 420
    pushes = [
        _encode_push(number, list(itertools.islice(source, many))) for number in range(bodies)
    ]
    with ThreadPoolExecutor(bodies) as pool:
        refusals = sum(pool.map(lambda body: _deliver(ingest.port, body), pushes))
    return bodies * many, refusals


def _encode_push(number: int, events: list[envelopes.Envelope]) -> bytes:
    data = b64encode(msgspec.json.encode(events)).decode()
    return msgspec.json.encode({"message": {"data": data, "messageId": f"large-{number}"}})


def _deliver(port: int, body: bytes) -> int:
    """Deliver the body until it is accepted; return the number of rejections."""
    for refusals in itertools.count():
        with closing(HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
            try:
                connection.request("POST", "/", body)
                status = connection.getresponse().status
            except (OSError, HTTPException) as error:
                raise RuntimeError("a connection broke") from error
        if status == 204:
            return refusals
        if status not in (429, 503):
            raise RuntimeError(f"unexpected status {status}")
        time.sleep(_PAUSE)
    raise AssertionError


def _count_events(store: Store) -> int:
    with closing(store.connect()) as connection:
        number: int = connection.run("SELECT count(*) FROM event_store.events")[0][0]
    return number
