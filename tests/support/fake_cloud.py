"""Fakes for a release: `gcloud` as a program, Cloud Monitoring, green's query function.

The program hands each call to the world of the test; how that stood after each is noted.
"""

import json
import os
import re
import shlex
import signal
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from tests.support.release_world import CallRejected, World

KEY = "of-the-load-balancer"  # that leads to green

PROGRAM = """#!/bin/bash
exec 3<>"/dev/tcp/127.0.0.1/$FAKE_GCLOUD_PORT" || exit 70
printf '%s\\0' "$PPID" "$#" "$@" >&3
read -r code <&3
if [ "$code" = 0 ]; then cat <&3; else cat <&3 >&2; fi
exit "$code"
"""


@dataclass
class Cloud:
    """The fakes while they run. A fault comes at the call of its number, counted from 0."""

    world: World
    port: int
    faults: dict[int, str] = field(default_factory=dict)
    calls: list[list[str]] = field(default_factory=list)
    stood: list[World] = field(default_factory=list)
    monitoring: Callable[[str, str], float | None] = lambda *_: None  # question, revision
    falters: Callable[[int], bool] = lambda _: False  # whether Monitoring does at this question
    asked: list[str] = field(default_factory=list)
    smokes: int = 0  # how often green was asked whether it is ready
    ready: tuple[int, object] = (200, {"status": "ok"})
    unready: int = 0  # how often green is asked before it is ready
    graphql: tuple[int, object] = (401, {"errors": [{"extensions": {"code": "UNAUTHENTICATED"}}]})
    address: str = ""  # of what is asked over HTTP
    permissions: list[str] = field(default_factory=lambda: ["billing.budgets.create"])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wrong(self) -> list[str]:
        """What was wrong after a call, with the call."""
        stood = zip(self.calls, self.stood, strict=True)
        return [
            f"{what} after {shlex.join(call)}" for call, world in stood for what in world.wrong()
        ]

    def forget(self) -> None:
        """The calls so far; the world stays as it is."""
        self.calls.clear()
        self.stood.clear()
        self.asked.clear()
        self.faults.clear()

    def answer(self, words: list[str], befall: Callable[[str], None]) -> tuple[int, str]:
        """Exit code and output of a call; a fault's name is handed on before a call fails by it."""
        with self.lock:
            fault = self.faults.get(len(self.calls), "")
            self.calls.append(words)
            try:
                given = "" if fault in _WITHOUT_EFFECT else self.world.do(words)
            except (CallRejected, LookupError) as refused:
                return 1, f"ERROR: {refused}"
            finally:
                self.stood.append(self.world.copied())
        if fault in {"", "lost"}:
            return 0, given
        befall(fault)
        return 1, "ERROR: Service Unavailable"


SIGNALS = {
    "term": signal.SIGTERM,
    "int, too late": signal.SIGINT,
    "kill": signal.SIGKILL,
    "kill, too late": signal.SIGKILL,
}
_DEAF = 1.0  # seconds after which a signal has interrupted nothing
_WITHOUT_EFFECT = ("fail", "term", "kill", "lost")


class _Calls(socketserver.StreamRequestHandler):
    """A call of the program."""

    def handle(self) -> None:
        parent, count = int(self._word()), int(self._word())
        cloud: Cloud = self.server.cloud  # type: ignore[attr-defined]  # ours

        def befall(fault: str) -> None:
            if fault in SIGNALS:
                os.kill(parent, SIGNALS[fault])
                self._wait_for_the_end()

        answer = cloud.answer([self._word() for _ in range(count)], befall)
        self.wfile.write(f"{answer[0]}\n{answer[1]}".encode())

    def _wait_for_the_end(self) -> None:
        """Of the program; or until its parent is known to be deaf."""
        self.connection.settimeout(_DEAF)
        with suppress(TimeoutError):
            self.rfile.read(1)

    def _word(self) -> str:
        word = bytearray()
        while (letter := self.rfile.read(1)) not in (b"\0", b""):
            word += letter
        return word.decode()


class _Web(BaseHTTPRequestHandler):
    """Cloud Monitoring, and green's query function."""

    def do_GET(self) -> None:
        self._cloud.smokes += 1
        if self._cloud.smokes <= self._cloud.unready:
            self._tell(503, {"status": "unavailable"})
        else:
            self._tell(*self._cloud.ready)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        if self.path.endswith(":testIamPermissions"):
            assert self.headers["authorization"] == "Bearer token"
            asked = json.loads(body)["permissions"]
            held = [each for each in asked if each in self._cloud.permissions]
            self._tell(200, {"permissions": held} if held else {})
            return
        if not self.path.startswith("/v1/projects/p/location/global/prometheus/api/v1/query"):
            self._tell(*self._cloud.graphql)
            return
        assert self.headers["authorization"] == "Bearer token"
        (question,) = parse_qs(body)["query"]
        self._cloud.asked.append(question)
        if self._cloud.falters(len(self._cloud.asked)):
            self._tell(503, {})
            return
        revision = re.findall(r'revision_name="([^"]+)"', question)[0]
        value = self._cloud.monitoring(question, revision)
        result = [] if value is None else [{"metric": {}, "value": [1.5, str(value)]}]
        self._tell(200, {"status": "success", "data": {"resultType": "vector", "result": result}})

    @property
    def _cloud(self) -> Cloud:
        cloud: Cloud = self.server.cloud  # type: ignore[attr-defined]  # ours
        return cloud

    def _tell(self, status: int, body: object) -> None:
        written = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(written)))
        if self.headers["x-progress-revision"] == KEY:
            self.send_header("x-progress-revision", "green")
        self.end_headers()
        self.wfile.write(written)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


class _CallServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def running(folder: Path) -> Iterator[Cloud]:
    """The fakes, with the program in the folder."""
    program = folder / "gcloud"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    calls = _CallServer(("127.0.0.1", 0), _Calls)
    web = ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    web.daemon_threads = True
    address = f"http://127.0.0.1:{web.server_address[1]}"
    cloud = Cloud(World.applied(address), int(calls.server_address[1]), address=address)
    for server in (calls, web):
        vars(server)["cloud"] = cloud
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield cloud
    finally:
        for server in (calls, web):
            server.shutdown()
            server.server_close()
