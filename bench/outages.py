"""The query function while its database is unavailable: the rejections and the recovery time."""

import http
import http.client
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

from bench import function_client, functions, logs
from bench.function_client import Issuer
from bench.lines import Line
from bench.load import HOST
from bench.server import Server
from tests.support.postgres_wire import Wire

_REQUESTS = 200
_INTERVAL_S = 0.02
_TIMEOUT_S = 30.0
_BODY = b'{"query": "{ streak { current longest } }"}'


def measure_outages(server: Server) -> Iterator[Line]:
    """Make the database refuse connections, then hang; measure rejections and recovery."""
    store = server.create_store()
    logs.fill(store, learners=20, sessions=1)
    with ExitStack() as stack:
        issuer = stack.enter_context(function_client.serve_issuer())
        wire = stack.enter_context(closing(Wire(f"{store.host}/.s.PGSQL.5432")))
        wire.url = f"postgresql://postgres@/{store.name}?host={wire.folder}"
        environment = {**issuer.environment, "RATE_LIMIT_PER_MINUTE": "1000000"}
        query = functions.run("query", DATABASE_URL=wire.url, **environment)
        client = _Client(stack.enter_context(query).port, issuer)
        for fault, what in (("refuses", "refuses connections"), ("hangs", "does not respond")):
            client.wait_for(http.HTTPStatus.OK)
            yield from _measure(client, wire, fault, what)
    server.drop(store)


class _Client:
    """A client that sends the same query again and again."""

    def __init__(self, port: int, issuer: Issuer) -> None:
        token = issuer.bearer("learner-1").partition(": ")[2]
        self._headers = {"Content-Type": "application/json", "Authorization": token}
        self._port = port

    def send(self, _: int = 0) -> tuple[int, float]:
        """Send the query; return the status of the response, and the duration in milliseconds."""
        began = time.perf_counter()
        with closing(http.client.HTTPConnection(HOST, self._port, timeout=_TIMEOUT_S)) as client:
            client.request("POST", "/graphql", _BODY, self._headers)
            response = client.getresponse()
            response.read()
        return response.status, 1_000 * (time.perf_counter() - began)

    def wait_for(self, status: int) -> float:
        """Send queries until a response has the status; return how many milliseconds that took."""
        began = time.perf_counter()
        while self.send()[0] != status:
            if time.perf_counter() - began > _TIMEOUT_S:
                raise RuntimeError(f"no response with {status} within {_TIMEOUT_S:.0f} s")
            time.sleep(_INTERVAL_S)
        return 1_000 * (time.perf_counter() - began)


def _measure(client: _Client, wire: Wire, fault: str, what: str) -> Iterator[Line]:
    setattr(wire, fault, True)
    if fault == "refuses":
        wire.cut()
    with ThreadPoolExecutor(3) as pool:  # three failures open the breaker
        list(pool.map(client.send, range(3)))
    milliseconds = []
    for _ in range(_REQUESTS):
        status, took = client.send()
        if status != http.HTTPStatus.SERVICE_UNAVAILABLE:
            raise RuntimeError(f"the breaker is not open: {status}")
        milliseconds.append(took)
        time.sleep(_INTERVAL_S)
    setattr(wire, fault, False)
    back = client.wait_for(http.HTTPStatus.OK)
    p95 = statistics.quantiles(milliseconds, n=20)[-1]
    median = f"median {statistics.median(milliseconds):.0f}"
    for line, value, text, bar in (
        ("95th percentile of rejections", p95, f"{p95:.0f} ms ({median})", 50),
        ("time until a query succeeds after the outage", back, f"{back:.0f} ms", 2_000),
    ):
        yield Line(f"the database {what}: {line}", text, "", value, bar, "ms", at_most=True)
