"""Requests to the functions, and a client for single requests."""

import base64
import functools
import itertools
import socket
import time
from collections.abc import Iterator
from http.client import HTTPResponse

import msgspec

from bench import envelopes
from progress.serve.ports import HOST
from tests.support import token_issuer

_TIMEOUT_S = 30.0
_PAUSE_S = 0.001
_TOKEN_S = 86_400


def encode_post(body: object, path: str = "/", *headers: str) -> bytes:
    """Return a POST request with a JSON body, for a keep-alive connection."""
    encoded = msgspec.json.encode(body)
    head = (
        f"POST {path} HTTP/1.1",
        f"Host: {HOST}",
        "Content-Type: application/json",
        f"Content-Length: {len(encoded)}",
        *headers,
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + encoded


def encode_push(data: bytes, message_id: str = "1") -> bytes:
    """Return Pub/Sub's push request of a message with this data."""
    message = {"data": base64.b64encode(data).decode(), "messageId": message_id}
    return encode_post({"message": message, "subscription": "projects/bench/subscriptions/push"})


def encode_pushes(events: int, seed: int) -> Iterator[bytes]:
    """Yield push requests, each of a message with `events` events."""
    source = envelopes.endless(seed)
    for number in itertools.count():
        batch = list(itertools.islice(source, events))
        data = msgspec.json.encode(batch if events > 1 else batch[0])
        yield encode_push(data, f"{seed}-{number}")


def encode_wake_up(shard: int) -> bytes:
    return encode_push(b'{"command":"wake","shard":%d}' % shard)


def encode_query(query: str, user: str, variables: object = None, *headers: str) -> bytes:
    body = {"query": query, "variables": variables}
    return encode_post(body, "/graphql", _bearer(user), *headers)


@functools.cache
def _bearer(user: str) -> str:
    """Return the Authorization header of this user, whose token `token_issuer` has signed."""
    expires = int(time.time()) + _TOKEN_S
    return f"Authorization: Bearer {token_issuer.token(user, exp=expires)}"


def fetch(port: int, request: bytes) -> bytes:
    """Return the body of a successful response; wait for a function that is starting.

    Raise RuntimeError if the request fails.
    """
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            wire = socket.create_connection((HOST, port), _TIMEOUT_S)
            break
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)
    with wire:
        wire.sendall(request)
        response = HTTPResponse(wire)
        response.begin()
        body = response.read()
    if response.status // 100 != 2 or b'"errors"' in body:
        raise RuntimeError(f"unexpected response: {response.status} {body!r}")
    return body
