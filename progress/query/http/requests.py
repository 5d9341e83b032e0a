"""GraphQL requests, read from a JSON body or a query string within the size limits."""

import asyncio
import functools
import hashlib
import re
from collections.abc import Coroutine
from typing import Any, Literal, cast
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.types import Message

from progress.adapters.telemetry import tracing
from progress.errors import BadInput, RequestTooLarge
from progress.query.execution.execute import GraphQLRequest

Headers = dict[bytes, bytes]

_MAX_BODY = 100 * 1024  # Bytes.
_MAX_VALUE = 500  # Bytes; the rest of a longer header is ignored.
_BODY_TIMEOUT_S = 10
# If this process stalls, the timeout can end before the event loop reads a body that arrived in
# time. This additional timeout then gives the event loop time to read the body.
_STALL_GRACE_S = 0.1
_HEX = b"0123456789abcdef"
# gzip in Accept-Encoding, unless its weight is zero (RFC 9110, section 12.5.3).
_GZIP = re.compile(rb"(?:^|,)\s*gzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))", re.IGNORECASE)


class _PersistedQuery(msgspec.Struct, frozen=True, rename="camel"):
    """The hash of a document, as Apollo Client and urql send it."""

    version: Literal[1]
    sha256_hash: str


class _Extensions(msgspec.Struct, frozen=True, rename="camel"):
    persisted_query: _PersistedQuery | None = None


class _Parameters(msgspec.Struct, frozen=True, rename="camel"):
    """The members of a GraphQL request that this API uses."""

    query: str | None = None
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    extensions: _Extensions | None = None


_decode = msgspec.json.Decoder(_Parameters).decode


def headers(request: Request) -> Headers:
    """Return the request's headers. If a header is repeated, the last value counts."""
    return dict(request.scope["headers"])


def accepts_gzip(headers: Headers) -> bool:
    """Return whether the client accepts a gzipped response."""
    return bool(_GZIP.search(headers.get(b"accept-encoding", b"")))


async def read(request: Request, headers: Headers) -> tuple[GraphQLRequest, str | None]:
    """Return the GraphQL request, and the hash of its document if the client sent one.

    The document is empty if only its hash was sent. Raise BadInput for a malformed request, and
    RequestTooLarge once the body exceeds the limit.
    """
    try:
        if request.scope["method"] == "POST":
            parameters = _decode(await _body(request, headers))
        else:
            parameters = _from_query_string(request.scope["query_string"])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadInput(f"expected a GraphQL request in JSON: {error}") from None
    persisted = parameters.extensions and parameters.extensions.persisted_query
    if persisted is None and parameters.query is None:
        raise BadInput("expected a GraphQL request: its query is missing")
    text = parameters.query or ""
    if persisted and text and sha256(text) != persisted.sha256_hash:
        raise BadInput(
            "persistedQuery: sha256Hash is not the hash of the query that was sent with it"
        )
    graphql_request = GraphQLRequest(text, parameters.variables, parameters.operation_name)
    return graphql_request, persisted.sha256_hash if persisted else None


def is_sha256(text: str) -> bool:
    """Return whether the text has the form of a SHA-256: 64 lower-case hexadecimal digits."""
    return len(text) == 64 and text.isascii() and not text.strip(_HEX.decode())


def sha256(text: str) -> str:
    """Return the SHA-256 of a document in hexadecimal digits, as clients send it."""
    return hashlib.sha256(text.encode()).hexdigest()


def _from_query_string(query_string: bytes) -> _Parameters:
    """Return the parameters in a query string. An empty parameter counts as missing."""
    parameters: dict[str, Any] = dict(parse_qsl(query_string.decode("latin-1")))
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = msgspec.json.decode(parameters[name])
    return msgspec.convert(parameters, _Parameters)


async def _body(request: Request, headers: Headers) -> bytes:
    if _is_too_large(headers.get(b"content-length", b"")):
        raise RequestTooLarge(f"expected a body of at most {_MAX_BODY} bytes")
    message = _poll_message(request)
    if message and not message.get("more_body", False):
        return await _collect(request, message)
    reading = asyncio.create_task(_collect(request, message))
    try:
        for timeout in (_BODY_TIMEOUT_S, _STALL_GRACE_S):
            done, _ = await asyncio.wait({reading}, timeout=timeout)
            if done:
                return reading.result()
    finally:
        reading.cancel()
    raise BadInput(f"expected the whole body within {_BODY_TIMEOUT_S} seconds")


def _is_too_large(length: bytes) -> bool:
    return length.isdigit() and (len(length) > 9 or int(length) > _MAX_BODY)


def _poll_message(request: Request) -> Message | None:
    """Return the body's first message, or None if it has not arrived yet.

    The caller polls first, because it needs no timer if the whole body has arrived.
    """
    receive = cast("Coroutine[Any, Any, Message]", request.receive())
    try:
        receive.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    receive.close()
    return None


async def _collect(request: Request, message: Message | None) -> bytes:
    """Return the whole body; `message` is the body's first message, or None before it arrives."""
    parts, size, more = [], 0, True
    while more:
        message = message or await request.receive()
        if message["type"] == "http.disconnect":
            raise BadInput("the client disconnected before the end of the body")
        part: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(part)
        if size > _MAX_BODY:
            raise RequestTooLarge(f"expected a body of at most {_MAX_BODY} bytes")
        parts.append(part)
        message = None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def accept(headers: Headers) -> bytes:
    """Return the Accept header, truncated to a length that is suitable for a cache key."""
    return headers.get(b"accept", b"")[:_MAX_VALUE]


def is_json(headers: Headers) -> bool:
    """Return whether the Content-Type is JSON. An HTML form cannot send this Content-Type."""
    return _is_json(headers.get(b"content-type", b"")[:_MAX_VALUE])


@functools.lru_cache(maxsize=256)
def _is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == b"application/json"


def traceparent(headers: Headers) -> str | None:
    """Return the W3C traceparent, from the header of that name or from X-Cloud-Trace-Context."""
    if b"traceparent" not in headers and b"x-cloud-trace-context" not in headers:
        return None
    return tracing.traceparent_of_request(
        lambda name: headers.get(name.encode(), b"")[:_MAX_VALUE].decode("latin-1")
    )
