"""What is asked of functions, and the identity that the query function trusts."""

import base64
import contextlib
import http.server
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import HOST, length, post
from progress.local import devkeys

_PATIENCE = 30.0  # seconds
_PAUSE = 0.001


def first_answer(port: int, request: bytes) -> bytes:
    """The answer of a function that may only just have been started; RuntimeError if it refused."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((HOST, port), _PATIENCE) as wire:
                wire.sendall(request)
                received = wire.recv(65_536)
        except ConnectionRefusedError:
            time.sleep(_PAUSE)
            continue
        if not received.startswith(b"HTTP/1.1 2") or b'"errors"' in received:
            raise RuntimeError(f"answered: {received!r}")
        return received
    raise RuntimeError("the function did not answer")


def answer(port: int, request: bytes) -> bytes:
    """The body of a good answer."""
    received = b""
    with socket.create_connection((HOST, port), _PATIENCE) as wire:
        wire.sendall(request)
        head, end, body = received.partition(b"\r\n\r\n")
        while not end or len(body) < length(head):
            received += wire.recv(65_536)
            head, end, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 2") or b'"errors"' in body:
        raise RuntimeError(f"answered: {received!r}")
    return body


def question(query: str, variables: object = None, *headers: str) -> bytes:
    """A GraphQL request."""
    asked = {"query": query} if variables is None else {"query": query, "variables": variables}
    return post(asked, "/graphql", *headers)


def wake_up(shard: int) -> bytes:
    """The push of a command to project a shard."""
    data = base64.b64encode(b'{"command":"wake","shard":%d}' % shard).decode()
    return post({"message": {"data": data, "messageId": "1"}, "subscription": "bench"})


@dataclass(frozen=True)
class Issuer:
    """Signs tokens; `environment` tells a query function to trust them."""

    environment: dict[str, str]
    _key: Path
    _tokens: dict[str, str] = field(default_factory=dict)

    def question(self, query: str, user: str, variables: object = None, *headers: str) -> bytes:
        """A GraphQL request of this learner."""
        return question(query, variables, self.bearer(user), *headers)

    def bearer(self, user: str, *roles: str) -> str:
        """The header that says who asks."""
        who = " ".join((user, *roles))
        if who not in self._tokens:
            self._tokens[who] = devkeys.token(self._key, user, list(roles))
        return f"Authorization: Bearer {self._tokens[who]}"


@contextlib.contextmanager
def issuer() -> Iterator[Issuer]:
    """An issuer whose keys can be fetched, until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder) / "key.pem"
        devkeys.ensure(key)
        keys = devkeys.jwks(key)

        class Keys(http.server.BaseHTTPRequestHandler):
            """Hands the public keys out."""

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(keys)

            def log_message(self, *_args: object) -> None:
                """Says nothing."""

        with http.server.ThreadingHTTPServer((HOST, 0), Keys) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield Issuer(
                {
                    "ENVIRONMENT": "development",
                    "AUTH_ISSUER": devkeys.ISSUER,
                    "AUTH_AUDIENCE": devkeys.AUDIENCE,
                    "AUTH_JWKS_URL": f"http://{HOST}:{server.server_port}/jwks.json",
                },
                key,
            )
            server.shutdown()
