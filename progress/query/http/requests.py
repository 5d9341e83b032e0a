"""What was asked: GraphQL in the JSON of a POST or in an address, no longer than it may be."""

import asyncio
import functools
import hashlib
from collections.abc import Coroutine
from typing import Any, Literal, cast
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.types import Message

from progress.adapters.telemetry import tracing
from progress.errors import BadInput, TooLarge
from progress.query.execution.execute import Asked

Headers = dict[bytes, bytes]

_LONGEST = 100 * 1024  # bytes of a body
_LONGEST_VALUE = 500  # bytes of a header that are read
_SECONDS = 10  # that the body may take to come
_HEX = b"0123456789abcdef"


class _PersistedQuery(msgspec.Struct, frozen=True, rename="camel"):
    """A document by its hash, as Apollo Client and urql name it."""

    version: Literal[1]
    sha256_hash: str


class _Extensions(msgspec.Struct, frozen=True, rename="camel"):
    persisted_query: _PersistedQuery | None = None


class _Sent(msgspec.Struct, frozen=True, rename="camel"):
    """The members of a GraphQL request that mean something here."""

    query: str | None = None
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    extensions: _Extensions | None = None


_decode = msgspec.json.Decoder(_Sent).decode


def headers(request: Request) -> Headers:
    """The request's headers; of those that come twice, the last."""
    return dict(request.scope["headers"])


async def read(request: Request, given: Headers) -> tuple[Asked, str | None]:
    """The request, and the hash that its document is to be known by, or is already.

    The document is empty where only its hash was sent. BadInput for what is no request, TooLarge
    as soon as it is too long.
    """
    try:
        if request.scope["method"] == "POST":
            sent = _decode(await _body(request, given))
        else:
            sent = _in_address(request.scope["query_string"])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        raise BadInput(f"expected a GraphQL request in JSON: {fault}") from None
    named = sent.extensions and sent.extensions.persisted_query
    if named is None and sent.query is None:
        raise BadInput("expected a GraphQL request: its query is missing")
    text = sent.query or ""
    if named and text and sha256(text) != named.sha256_hash:
        raise BadInput("persistedQuery: the query has another sha256Hash than the one sent with it")
    return Asked(text, sent.variables, sent.operation_name), named.sha256_hash if named else None


def is_sha256(text: str) -> bool:
    """Whether it is written as one: a key that is none would be kept for nothing."""
    return len(text) == 64 and text.isascii() and not text.strip(_HEX.decode())


def sha256(text: str) -> str:
    """The hash of a document, as clients write it."""
    return hashlib.sha256(text.encode()).hexdigest()


def _in_address(query_string: bytes) -> _Sent:
    """The request that is in the parameters; an empty one counts as none."""
    given: dict[str, Any] = dict(parse_qsl(query_string.decode("latin-1")))
    for name in ("variables", "extensions"):
        if name in given:
            given[name] = msgspec.json.decode(given[name])
    return msgspec.convert(given, _Sent)


async def _body(request: Request, given: Headers) -> bytes:
    if _is_long(given.get(b"content-length", b"")):
        raise TooLarge(f"expected a body of at most {_LONGEST} bytes")
    message = _arrived(request)
    if message and not message.get("more_body", False):
        return await _received(request, message)
    try:
        async with asyncio.timeout(_SECONDS):
            return await _received(request, message)
    except TimeoutError:
        raise BadInput(f"expected the whole body within {_SECONDS} seconds") from None


def _is_long(length: bytes) -> bool:
    return length.isdigit() and (len(length) > 9 or int(length) > _LONGEST)


def _arrived(request: Request) -> Message | None:
    """The first message of the body if it has come already: then no timer is needed."""
    receiving = cast("Coroutine[Any, Any, Message]", request.receive())
    try:
        receiving.send(None)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return]
    receiving.close()
    return None


async def _received(request: Request, message: Message | None) -> bytes:
    """The body, of which the first message may be here."""
    parts, size, more = [], 0, True
    while more:
        message = message or await request.receive()
        if message["type"] == "http.disconnect":
            raise BadInput("the request broke off")
        part: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(part)
        if size > _LONGEST:
            raise TooLarge(f"expected a body of at most {_LONGEST} bytes")
        parts.append(part)
        message = None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def accepted(given: Headers) -> bytes:
    """The media types that are liked; no more of them than are worth remembering."""
    return given.get(b"accept", b"")[:_LONGEST_VALUE]


def is_json(given: Headers) -> bool:
    """Whether the body says that it is; a form can send none that does."""
    return _is_json(given.get(b"content-type", b"")[:_LONGEST_VALUE])


@functools.lru_cache(maxsize=256)
def _is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == b"application/json"


def parent(given: Headers) -> str | None:
    """The W3C traceparent of the request, sent as such or as Google's load balancers do."""
    if b"traceparent" not in given and b"x-cloud-trace-context" not in given:
        return None
    return tracing.traceparent_of_request(
        lambda name: given.get(name.encode(), b"")[:_LONGEST_VALUE].decode("latin-1")
    )
