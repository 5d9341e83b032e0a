"""Fakes for a release: `gcloud`, Cloud Monitoring and the query function of the new revisions.

The new revisions are called green. The fake `gcloud` passes each call to the test's `World`.
"""

import json
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs

from tests.support.release_world import CallRejected, World

KEY = "of-the-load-balancer"  # the load balancer routes a request with this key to green

PROGRAM = """#!/bin/bash
exec 3<>"/dev/tcp/127.0.0.1/$FAKE_GCLOUD_PORT" || exit 70
printf '%s\\0' "$#" "$@" >&3
read -r code <&3
if [ "$code" = 0 ]; then cat <&3; else cat <&3 >&2; fi
exit "$code"
"""


@dataclass
class Cloud:
    """The running fakes."""

    world: World
    port: int
    folder: Path  # has the fake program `gcloud`
    calls: list[list[str]] = field(default_factory=list)
    monitoring: Callable[[str, str], float | None] = lambda *_: None  # Arguments: query, revision.
    fails_query: Callable[[int], bool] = lambda _: False  # Argument: the number of the query.
    queries: list[str] = field(default_factory=list)
    ready_checks: int = 0  # requests for /ready so far
    ready: tuple[int, object] = (200, {"status": "ok"})
    unready: int = 0  # the number of requests for /ready that fail before the first success
    graphql: tuple[int, object] = (401, {"errors": [{"extensions": {"code": "UNAUTHENTICATED"}}]})
    address: str = ""  # the URL of the HTTP fakes
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, words: list[str]) -> tuple[int, str]:
        """Return the exit code and output of a `gcloud` call."""
        with self.lock:
            self.calls.append(words)
            try:
                return 0, self.world.do(words)
            except (CallRejected, LookupError) as refused:
                return 1, f"ERROR: {refused}"


_Cloud = TypeVar("_Cloud", bound=Cloud)


class _Calls(socketserver.StreamRequestHandler):
    """A handler of one call of the fake `gcloud` program."""

    def handle(self) -> None:
        count = self._word()
        if not count.isdigit():
            return  # a client of the server that had this port before connects again
        cloud: Cloud = self.server.cloud  # type: ignore[attr-defined]  # ours
        code, output = cloud.answer([self._word() for _ in range(int(count))])
        self.wfile.write(f"{code}\n{output}".encode())

    def _word(self) -> str:
        word = bytearray()
        while (letter := self.rfile.read(1)) not in (b"\0", b""):
            word += letter
        return word.decode()


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


class _CallServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def running(folder: Path, kind: type[_Cloud]) -> Iterator[_Cloud]:
    """Run the fakes of this kind during the block; write the fake `gcloud` into the folder."""
    program = folder / "gcloud"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    calls = _CallServer(("127.0.0.1", 0), _Calls)
    web = ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    web.daemon_threads = True
    address = f"http://127.0.0.1:{web.server_address[1]}"
    world, port = World.after_first_apply(address), int(calls.server_address[1])
    cloud = kind(world, port, folder, address=address)
    for server in (calls, web):
        vars(server)["cloud"] = cloud
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield cloud
    finally:
        for server in (calls, web):
            server.shutdown()
            server.server_close()
