"""A client for the functions, and a token issuer that the query function trusts."""

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

from bench.load import HOST, content_length, encode_post
from progress.local import development_key

_TIMEOUT_S = 30.0  # seconds
_PAUSE = 0.001


def fetch_first(port: int, request: bytes) -> bytes:
    """Return the first response of a starting function. Raise RuntimeError if the request fails."""
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((HOST, port), _TIMEOUT_S) as wire:
                wire.sendall(request)
                received = wire.recv(65_536)
        except ConnectionRefusedError:
            time.sleep(_PAUSE)
            continue
        if not received.startswith(b"HTTP/1.1 2") or b'"errors"' in received:
            raise RuntimeError(f"unexpected response: {received!r}")
        return received
    raise RuntimeError(f"the function did not respond within {_TIMEOUT_S:.0f} s")


def fetch(port: int, request: bytes) -> bytes:
    """Return the body of a successful response."""
    received = b""
    with socket.create_connection((HOST, port), _TIMEOUT_S) as wire:
        wire.sendall(request)
        head, end, body = received.partition(b"\r\n\r\n")
        while not end or len(body) < content_length(head):
            received += wire.recv(65_536)
            head, end, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 2") or b'"errors"' in body:
        raise RuntimeError(f"unexpected response: {received!r}")
    return body


def encode_query(query: str, variables: object = None, *headers: str) -> bytes:
    """Return a GraphQL request."""
    body = {"query": query} if variables is None else {"query": query, "variables": variables}
    return encode_post(body, "/graphql", *headers)


def encode_wake_up(shard: int) -> bytes:
    """Return the push request of a shard's wake-up."""
    data = base64.b64encode(b'{"command":"wake","shard":%d}' % shard).decode()
    return encode_post({"message": {"data": data, "messageId": "1"}, "subscription": "bench"})


@dataclass(frozen=True)
class Issuer:
    """A token issuer. The settings in `environment` make a query function trust this issuer."""

    environment: dict[str, str]
    _key: Path
    _tokens: dict[str, str] = field(default_factory=dict)

    def encode_query(self, query: str, user: str, variables: object = None, *headers: str) -> bytes:
        """Return a GraphQL request with this learner's token."""
        return encode_query(query, variables, self.bearer(user), *headers)

    def bearer(self, user: str, *roles: str) -> str:
        """Return the Authorization header of this user."""
        key = " ".join((user, *roles))
        if key not in self._tokens:
            self._tokens[key] = development_key.token(self._key, user, list(roles))
        return f"Authorization: Bearer {self._tokens[key]}"


@contextlib.contextmanager
def serve_issuer() -> Iterator[Issuer]:
    """Serve an issuer's public keys inside the block."""
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder) / "key.pem"
        development_key.ensure(key)
        keys = development_key.jwks(key)

        class Keys(http.server.BaseHTTPRequestHandler):
            """A handler that returns the public keys."""

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(keys)

            def log_message(self, *_args: object) -> None:
                """Log nothing."""

        with http.server.ThreadingHTTPServer((HOST, 0), Keys) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            environment = {
                "ENVIRONMENT": "development",
                "AUTH_ISSUER": development_key.ISSUER,
                "AUTH_AUDIENCE": development_key.AUDIENCE,
                "AUTH_JWKS_URL": f"http://{HOST}:{server.server_port}/jwks.json",
            }
            yield Issuer(environment, key)
            server.shutdown()
