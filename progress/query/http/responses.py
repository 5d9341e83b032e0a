"""Answers over HTTP: their media types, statuses and headers; bodies are joined as bytes."""

import functools
import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.responses import Response

from progress.errors import (
    PersistedQueryNotFound,
    RateLimited,
    Refused,
    TooLarge,
    Unauthenticated,
)
from progress.query.execution.execute import Answer
from progress.query.http import requests
from progress.query.http.requests import Headers

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"

Lines = Sequence[tuple[bytes, bytes]]

_MEDIA_TYPES = {GRAPHQL: GRAPHQL, JSON: JSON, "application/*": JSON, "*/*": JSON}
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_HEADERS: dict[str, Lines] = {
    media: ((b"content-type", f"{media}; charset=utf-8".encode()), _NO_SNIFFING)
    for media in (JSON, GRAPHQL)
}
_VARY = (b"vary", b"Accept, Authorization, Accept-Encoding")
_PACKED = (b"content-encoding", b"gzip")
_GZIP = 31  # zlib's window, with gzip's head and foot
_LONG = 4_096  # bytes from which a body is packed: a year's days shrink to a fifth
# May be kept by the browser alone, and is asked about each time: an answer is never an old one.
_REVALIDATED = ((b"cache-control", b"private, no-cache"), _VARY)
_NOT_KEPT = ((b"cache-control", b"private, no-store"), _VARY)

_STATUSES: dict[type[Exception], int] = {
    PersistedQueryNotFound: 200,  # nothing went wrong: the client sends the document next
    TooLarge: 413,
    Unauthenticated: 401,
    RateLimited: 429,
}


class Reply(Response):
    """A response whose headers are bytes already: starlette's own encodes them each time."""

    def __init__(self, body: bytes, status: int, lines: Lines) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [*lines]
        if status not in (204, 304):
            self.raw_headers.append((b"content-length", b"%d" % len(body)))


def json(body: object, status: int = 200, lines: Lines = ()) -> Response:
    """A response that is not GraphQL's."""
    return Reply(orjson.dumps(body), status, (*_HEADERS[JSON], *_NOT_KEPT[:1], *lines))


def answered(answer: Answer, media: str, given: Headers) -> Response:
    """The response to a POST; packed where it is long and the client can unpack it."""
    bad = not answer.executed and media == GRAPHQL
    text, lines = body(answer), _HEADERS[media]
    if len(text) >= _LONG and b"gzip" in given.get(b"accept-encoding", b""):
        packer = zlib.compressobj(1, wbits=_GZIP)
        text, lines = packer.compress(text) + packer.flush(), (*lines, _PACKED)
    return Reply(text, 400 if bad else 200, lines)


def got(answer: Answer, media: str, given: Headers) -> Response:
    """The response to a GET."""
    response = answered(answer, media, given)
    if answer.errors or answer.data is None:
        response.raw_headers += _NOT_KEPT
        return response
    # Weak: what the extensions tell may be another when the data is the same.
    tag = b'W/"%s"' % hashlib.blake2b(answer.data, digest_size=16).hexdigest().encode()
    lines = ((b"etag", tag), *_REVALIDATED)
    known = given.get(b"if-none-match")
    if known and _is_among(tag, known):
        return Reply(b"", 304, lines)
    response.raw_headers += lines
    return response


def _is_among(tag: bytes, known: bytes) -> bool:
    opaque = tag.removeprefix(b"W/")
    tags = [each.strip().removeprefix(b"W/") for each in known.split(b",")]
    return opaque in tags or tags == [b"*"]


def body(answer: Answer) -> bytes:
    """A response as JSON."""
    entries = []
    if answer.errors:
        entries.append(b'"errors":' + orjson.dumps(answer.errors))
    if answer.data is not None:
        entries.append(b'"data":' + answer.data)
    if answer.extensions:
        entries.append(b'"extensions":' + orjson.dumps(answer.extensions))
    return b"{" + b",".join(entries) + b"}"


def refused(fault: Refused, given: Headers) -> Response:
    """The response to what was refused before it was executed."""
    lines: Lines = ()
    match fault:
        case Unauthenticated():
            challenge = b'Bearer realm="progress"'
            if b"authorization" in given:
                challenge += b', error="invalid_token"'
            lines = ((b"www-authenticate", challenge),)
        case RateLimited():
            lines = ((b"retry-after", b"%d" % fault.seconds),)
    return error(_STATUSES.get(type(fault), 400), fault, given, code=fault.code, lines=lines)


def unavailable(given: Headers) -> Response:
    """The response where something that is needed does not answer."""
    why = "unavailable for the moment: try again"
    return error(503, why, given, code="UNAVAILABLE", lines=((b"retry-after", b"5"),))


def error(
    status: int, why: object, given: Headers, *, code: str = "BAD_USER_INPUT", lines: Lines = ()
) -> Response:
    """An error of the request, in GraphQL's shape."""
    told = {"message": str(why), "extensions": {"code": code}}
    return faulty(status, told, given, lines)


def faulty(status: int, told: dict[str, Any], given: Headers, lines: Lines = ()) -> Response:
    """A response that is one error, of the media type that is liked."""
    media = media_type(requests.accepted(given)) or JSON
    lines = (*_HEADERS[media], *_NOT_KEPT, *lines)
    return Reply(orjson.dumps({"errors": [told]}), status, lines)


@functools.lru_cache(maxsize=256)
def media_type(accept: bytes) -> str:
    """The one of ours that an Accept header likes best, of equals the first; empty if none."""
    best, liking = "", 0.0
    for part in (accept or JSON.encode()).decode("latin-1").lower().split(","):
        name, *parameters = [piece.strip() for piece in part.split(";")]
        weight = _weight(next((p[2:] for p in parameters if p.startswith("q=")), "1"))
        if name in _MEDIA_TYPES and weight > liking:
            best, liking = _MEDIA_TYPES[name], weight
    return best


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 1.0
    return weight if 0 <= weight <= 1 else 1.0
