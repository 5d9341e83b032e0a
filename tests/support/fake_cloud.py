"""Fakes for a release: `gcloud`, Cloud Monitoring and the query function of the new revisions.

The new revisions are called green.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar
from urllib.parse import parse_qs

from tests.support.release_world import CallRejected, World

KEY = "of-the-load-balancer"  # the load balancer routes a request with this key to green


@dataclass
class Cloud:
    """The running fakes."""

    world: World
    calls: list[list[str]] = field(default_factory=list)
    monitoring: Callable[[str, str], float | None] = lambda *_: None  # Arguments: query, revision.
    fails_query: Callable[[int], bool] = lambda _: False  # Argument: the number of the query.
    queries: list[str] = field(default_factory=list)
    ready_checks: int = 0  # requests for /ready so far
    ready: tuple[int, object] = (200, {"status": "ok"})
    unready: int = 0  # the number of requests for /ready that fail before the first success
    graphql: tuple[int, object] = (401, {"errors": [{"extensions": {"code": "UNAUTHENTICATED"}}]})

    def answer(self, words: list[str]) -> tuple[int, str]:
        """Return the exit code and output of a `gcloud` call."""
        self.calls.append(words)
        try:
            return 0, self.world.do(words)
        except (CallRejected, LookupError) as refused:
            return 1, f"ERROR: {refused}"


_Cloud = TypeVar("_Cloud", bound=Cloud)


class _Web(BaseHTTPRequestHandler):
    """HTTP fakes of Google's APIs, of the load balancer and of green's query function."""

    def do_GET(self) -> None:
        if not self.path.endswith("/ready"):
            self._respond(404, {})
            return
        self._cloud.ready_checks += 1
        if self._cloud.ready_checks <= self._cloud.unready:
            self._respond(503, {"status": "unavailable"})
        else:
            self._respond(*self._cloud.ready)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        if not self.path.startswith("/v1/projects/p/location/global/prometheus/api/v1/query"):
            self._respond(*self._cloud.graphql)
            return
        assert self.headers["authorization"] == "Bearer token"
        (query,) = parse_qs(body)["query"]
        self._cloud.queries.append(query)
        if self._cloud.fails_query(len(self._cloud.queries)):
            self._respond(503, {})
            return
        revision = re.findall(r'revision_name="([^"]+)"', query)[0]
        value = self._cloud.monitoring(query, revision)
        result = [] if value is None else [{"metric": {}, "value": [1.5, str(value)]}]
        self._respond(
            200, {"status": "success", "data": {"resultType": "vector", "result": result}}
        )

    @property
    def _cloud(self) -> Cloud:
        cloud: Cloud = self.server.cloud  # type: ignore[attr-defined]  # ours
        return cloud

    def _respond(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        if self.headers["x-progress-revision"] == KEY:
            self.send_header("x-progress-revision", "green")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@contextmanager
def running(kind: type[_Cloud]) -> Iterator[_Cloud]:
    """Serve the HTTP fakes of this kind during the block."""
    web = ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    web.daemon_threads = True
    cloud = kind(World.after_first_apply(f"http://127.0.0.1:{web.server_address[1]}"))
    vars(web)["cloud"] = cloud
    threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield cloud
    finally:
        web.shutdown()
        web.server_close()
