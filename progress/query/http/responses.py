"""HTTP responses with results and errors: media types, statuses, headers and JSON bodies."""

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
    RequestRejected,
    RequestTooLarge,
    Unauthenticated,
    Unavailable,
)
from progress.query.execution.execute import GraphQLResponse
from progress.query.http import requests
from progress.query.http.requests import Headers

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"

Lines = Sequence[tuple[bytes, bytes]]  # header lines

_MEDIA_TYPES = {GRAPHQL: GRAPHQL, JSON: JSON, "application/*": JSON, "*/*": JSON}
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_HEADERS: dict[str, Lines] = {
    media: ((b"content-type", f"{media}; charset=utf-8".encode()), _NO_SNIFFING)
    for media in (JSON, GRAPHQL)
}
_VARY = (b"vary", b"Accept, Authorization, Accept-Encoding")
_GZIPPED = (b"content-encoding", b"gzip")
_GZIP_WBITS = 31  # 15 (zlib's largest window) + 16 (the gzip format).
_MIN_GZIP = 4_096  # Bytes; gzip makes a year of daily stats 80 % smaller.

# Only the browser may store a response, and it must revalidate the response before each use.
_REVALIDATED = ((b"cache-control", b"private, no-cache"), _VARY)
_NOT_STORED = ((b"cache-control", b"private, no-store"), _VARY)

_STATUSES: dict[type[Exception], int] = {
    PersistedQueryNotFound: 200,  # APQ requires this status; the client then sends the document
    RequestTooLarge: 413,
    Unauthenticated: 401,
    RateLimited: 429,
}


class Reply(Response):
    """A response with headers as bytes, because encoding them for each response takes time."""

    def __init__(self, body: bytes, status: int, lines: Lines) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [*lines]
        if status not in (204, 304):
            self.raw_headers.append((b"content-length", b"%d" % len(body)))


def json(body: object, status: int = 200, lines: Lines = ()) -> Response:
    """Return a JSON response that is not in the GraphQL format."""
    return Reply(orjson.dumps(body), status, (*_HEADERS[JSON], *_NOT_STORED[:1], *lines))


def to_post(answer: GraphQLResponse, media: str, headers: Headers) -> Response:
    """Return the response to a POST, gzipped if it is long and the client accepts gzip."""
    bad = not answer.executed and media == GRAPHQL
    text, lines = body(answer), _HEADERS[media]
    if len(text) >= _MIN_GZIP and requests.accepts_gzip(headers):
        compressor = zlib.compressobj(1, wbits=_GZIP_WBITS)
        text, lines = compressor.compress(text) + compressor.flush(), (*lines, _GZIPPED)
    return Reply(text, 400 if bad else 200, lines)


def to_get(answer: GraphQLResponse, media: str, headers: Headers) -> Response:
    """Return the response to a GET, with an ETag over the data."""
    response = to_post(answer, media, headers)
    if answer.errors or answer.data is None:
        response.raw_headers += _NOT_STORED
        return response
    # A weak ETag, because the extensions may differ while the data is the same.
    tag = b'W/"%s"' % hashlib.blake2b(answer.data, digest_size=16).hexdigest().encode()
    lines = ((b"etag", tag), *_REVALIDATED)
    condition = headers.get(b"if-none-match")
    if condition and _matches(tag, condition):
        return Reply(b"", 304, lines)
    response.raw_headers += lines
    return response


def _matches(tag: bytes, condition: bytes) -> bool:
    opaque = tag.removeprefix(b"W/")
    tags = [entry.strip().removeprefix(b"W/") for entry in condition.split(b",")]
    return opaque in tags or tags == [b"*"]


def body(answer: GraphQLResponse) -> bytes:
    """Return a GraphQL response as JSON; its `data` is already encoded."""
    entries = []
    if answer.errors:
        entries.append(b'"errors":' + orjson.dumps(answer.errors))
    if answer.data is not None:
        entries.append(b'"data":' + answer.data)
    if answer.extensions:
        entries.append(b'"extensions":' + orjson.dumps(answer.extensions))
    return b"{" + b",".join(entries) + b"}"


def reject(rejection: RequestRejected, headers: Headers) -> Response:
    """Return the response to a request that was rejected before execution."""
    lines: Lines = ()
    match rejection:
        case Unauthenticated():
            challenge = b'Bearer realm="progress"'
            if b"authorization" in headers:
                challenge += b', error="invalid_token"'
            lines = ((b"www-authenticate", challenge),)
        case RateLimited():
            lines = ((b"retry-after", b"%d" % rejection.seconds),)
    status = _STATUSES.get(type(rejection), 400)
    return error(status, rejection, headers, code=rejection.code, lines=lines)


def unavailable(cause: Unavailable, headers: Headers) -> Response:
    """Return the response that reports an unavailable dependency."""
    why = "temporarily unavailable: try again"
    lines = ((b"retry-after", b"%d" % cause.retry_after_s),)
    return error(503, why, headers, code="UNAVAILABLE", lines=lines)


def error(
    status: int, why: object, headers: Headers, *, code: str = "BAD_USER_INPUT", lines: Lines = ()
) -> Response:
    """Return a response that reports one error in the GraphQL format."""
    formatted = {"message": str(why), "extensions": {"code": code}}
    return from_error(status, formatted, headers, lines)


def from_error(
    status: int, formatted: dict[str, Any], headers: Headers, lines: Lines = ()
) -> Response:
    """Return a formatted error as a response in the media type that the client prefers."""
    media = media_type(requests.accept(headers)) or JSON
    lines = (*_HEADERS[media], *_NOT_STORED, *lines)
    return Reply(orjson.dumps({"errors": [formatted]}), status, lines)


@functools.lru_cache(maxsize=256)
def media_type(accept: bytes) -> str:
    """Return the supported media type that an Accept header prefers; "" if none is supported."""
    best, best_weight = "", 0.0
    for part in (accept or JSON.encode()).decode("latin-1").lower().split(","):
        name, *parameters = [text.strip() for text in part.split(";")]
        weight = _weight(next((p[2:] for p in parameters if p.startswith("q=")), "1"))
        if name in _MEDIA_TYPES and weight > best_weight:
            best, best_weight = _MEDIA_TYPES[name], weight
    return best


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 1.0
    return weight if 0 <= weight <= 1 else 1.0
