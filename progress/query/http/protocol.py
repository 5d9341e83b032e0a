"""GraphQL over HTTP: requests within the size limits, responses with their headers, and CORS."""

import asyncio
import functools
import hashlib
import re
import zlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from progress.adapters.telemetry import tracing
from progress.errors import (
    BadInput,
    InstanceFull,
    PersistedQueryNotSupported,
    RateLimited,
    RequestTooLarge,
    RequestTooSlow,
    SettingsError,
    Unauthenticated,
    Unavailable,
)
from progress.query.execution.execute import GraphQLRequest, GraphQLResponse
from progress.query.http.held_bodies import Resize

Headers = dict[bytes, bytes]

MAX_BODY = 100 * 1024  # Bytes; also of a socket's message.
_MAX_VALUE = 500  # Bytes; the rest of a longer header is ignored.
_BODY_TIMEOUT_S = 10
# If this process stalls, the timeout can end before the event loop reads a body that arrived in
# time. This additional timeout then gives the event loop time to read the body.
_STALL_GRACE_S = 0.1
# gzip in Accept-Encoding, unless its weight is zero (RFC 9110, section 12.5.3).
_GZIP = re.compile(rb"(?:^|,)\s*gzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))", re.IGNORECASE)


class Parameters(msgspec.Struct, frozen=True, rename="camel"):
    """The members of a GraphQL request that this API uses."""

    query: str | None = None
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    extensions: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(Parameters).decode


def headers(request: Request) -> Headers:
    """Return the request's headers. If a header is repeated, the last value counts."""
    return dict(request.scope["headers"])


def address(scope: Scope, trusted_proxies: int) -> str:
    """Return the client's address.

    Each trusted proxy has added an entry to `X-Forwarded-For`; the client may have sent the entries
    before these.
    """
    lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    entries = b",".join(lines).split(b",")
    if 0 < trusted_proxies <= len(entries) and (entry := entries[-trusted_proxies].strip()):
        return entry.decode("latin-1")
    return str((scope.get("client") or ("",))[0])


def accepts_gzip(headers: Headers) -> bool:
    return bool(_GZIP.search(headers.get(b"accept-encoding", b"")))


async def read(request: Request, headers: Headers, resize: Resize) -> GraphQLRequest:
    """Return the GraphQL request.

    Raise BadInput for a malformed request, RequestTooLarge once the body exceeds the limit, and
    PersistedQueryNotSupported if the request has only the hash of its document.
    """
    try:
        if request.scope["method"] == "POST":
            parameters = _decode(await read_body(request, headers, resize))
        else:
            parameters = _from_query_string(request.scope["query_string"])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadInput(f"expected a GraphQL request in JSON: {error}") from None
    return to_request(parameters)


def to_request(parameters: Parameters) -> GraphQLRequest:
    """Return what `read` returns; raise its errors about the document."""
    if not parameters.query and (parameters.extensions or {}).get("persistedQuery") is not None:
        raise PersistedQueryNotSupported
    if parameters.query is None:
        raise BadInput("expected a GraphQL request: its query is missing")
    return GraphQLRequest(parameters.query, parameters.variables, parameters.operation_name)


def _from_query_string(query_string: bytes) -> Parameters:
    """Return the parameters in a query string. An empty parameter counts as missing."""
    parameters: dict[str, Any] = dict(parse_qsl(query_string.decode("latin-1")))
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = msgspec.json.decode(parameters[name])
    return msgspec.convert(parameters, Parameters)


async def read_body(
    request: Request, headers: Headers, resize: Resize, most: int = MAX_BODY
) -> bytes:
    """Return the body; raise RequestTooLarge over `most` bytes, RequestTooSlow after 10 s."""
    length = headers.get(b"content-length", b"")
    if length.isdigit() and (len(length) > 9 or int(length) > most):
        raise RequestTooLarge(f"expected a body of at most {most} bytes")
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as limit:
            timer = loop.call_later(
                _BODY_TIMEOUT_S, lambda: limit.reschedule(loop.time() + _STALL_GRACE_S)
            )
            try:
                return await _collect(request, resize, most)
            finally:
                timer.cancel()
    except TimeoutError:
        why = f"expected the whole body within {_BODY_TIMEOUT_S} seconds"
        raise RequestTooSlow(why) from None


async def _collect(request: Request, resize: Resize, most: int) -> bytes:
    """Return the whole body.

    One block grows with it: parts would be between other memory, which the system never gets back.
    """
    body, more = bytearray(), True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise BadInput("the client disconnected before the end of the body")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > most:
            raise RequestTooLarge(f"expected a body of at most {most} bytes")
        resize(len(body))
    return bytes(body)


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


UNAVAILABLE = "temporarily unavailable: try again"
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
_OURS = (b"progress-error", b"1")
_GZIPPED = (b"content-encoding", b"gzip")
_GZIP_WBITS = 31  # 15 (zlib's largest window) + 16 (the gzip format).
_MIN_GZIP = 4_096  # Bytes; gzip makes a year of daily stats 80 % smaller.

# Only the browser may store a response, and it must revalidate the response before each use.
_REVALIDATED = ((b"cache-control", b"private, no-cache"), _VARY)
_NOT_STORED = ((b"cache-control", b"private, no-store"), _VARY)


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


def refuse(why: object, status: int, lines: Lines = ()) -> Response:
    """Return the reason in JSON; by its header, a client knows that no proxy answers."""
    return json({"error": str(why)}, status, (_OURS, *lines))


def to_post(answer: GraphQLResponse, media: str, headers: Headers) -> Response:
    """Return the response to a POST, gzipped if it is long and the client accepts gzip."""
    bad = not answer.executed and media == GRAPHQL
    text, lines = body(answer), _HEADERS[media]
    if len(text) >= _MIN_GZIP and accepts_gzip(headers):
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


def error_lines(error: Exception, headers: Headers) -> Lines:
    """Return the headers that tell the client what to do."""
    match error:
        case Unauthenticated():
            challenge = b'Bearer realm="progress"'
            if b"authorization" in headers:
                challenge += b', error="invalid_token"'
            return ((b"www-authenticate", challenge),)
        case RateLimited():
            is_full = isinstance(error, InstanceFull)  # the rest of the body is not read
            lines = ((b"connection", b"close"),) if is_full else ()
            if error.allowance:
                lines = ((b"progress-limit", error.allowance.encode()), *lines)
            return ((b"retry-after", b"%d" % error.seconds), *lines)
        case Unavailable():
            return ((b"retry-after", b"%d" % error.retry_after_s),)
    return ()


def error(
    status: int, why: object, headers: Headers, *, code: str = "BAD_USER_INPUT", lines: Lines = ()
) -> Response:
    return from_error(status, format_error(why, code), headers, lines)


def format_error(why: object, code: str) -> dict[str, Any]:
    return {"message": str(why), "extensions": {"code": code}}


def from_error(
    status: int, formatted: dict[str, Any], headers: Headers, lines: Lines = ()
) -> Response:
    """Return a formatted error as a response in the media type that the client prefers."""
    media = media_type(accept(headers)) or JSON
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


_ANY = "*"
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://([\w-]+(\.[\w-]+)*|\[[0-9a-f:.]+\])(:(?P<port>[1-9]\d{0,4}))?",
    re.ASCII,
)
# Origins that stand for every port, also the default port, which browsers omit.
_EVERY_PORT = {
    f"{origin.decode()}:*": origin for origin in (b"http://localhost", b"http://127.0.0.1")
}
_DEFAULT_PORTS, _MAX_PORT = {"http": "80", "https": "443"}, 65_535
_METHODS = (b"access-control-allow-methods", b"GET, HEAD, POST")
_READABLE = b"ETag, Progress-Error, Progress-Limit, Retry-After, WWW-Authenticate"
_EXPOSED = (b"access-control-expose-headers", _READABLE)
_MAX_AGE = (b"access-control-max-age", b"7200")
_VARY_ORIGIN = (b"vary", b"Origin")
_VARY_PREFLIGHT = (b"vary", b"Access-Control-Request-Headers")


class Cors:
    """The allowed origins of the setting CORS_ORIGINS, and the response headers for them.

    Only a local stack may allow every port of this machine. Elsewhere, a program of the visitor's
    machine could read what the visitor's browser may read.
    """

    def __init__(self, setting: str, *, is_local: bool = False) -> None:
        """Raise SettingsError for a malformed origin, or if only a local stack may allow it."""
        origins = [origin.strip() for origin in setting.split(",") if origin.strip()]
        for origin in origins:
            if origin in _EVERY_PORT:
                if not is_local:
                    why = f"CORS_ORIGINS: {origin} is for a local stack"
                    raise SettingsError(f"{why}: name each origin in a deployed function")
            elif origin != _ANY and not _is_origin(origin):
                expected = "expected origins such as https://app.example.com, separated by commas"
                raise SettingsError(f"CORS_ORIGINS: {expected}; found {origin!r}")
        self._any = _ANY in origins
        if self._any and len(origins) > 1:
            raise SettingsError("CORS_ORIGINS: expected * alone, or origins; found both")
        self._every_port = {_EVERY_PORT[origin] for origin in origins if origin in _EVERY_PORT}
        self._origins = {origin.encode() for origin in origins if origin not in _EVERY_PORT}
        self._allows_none = not origins

    def allows_socket(self, headers: Headers) -> bool:
        """Return whether this request may open a socket: browsers do not ask before they open one.

        A request without an origin is not a page's. A page of this host needs no permission.
        """
        origin = headers.get(b"origin")
        is_ours = origin is not None and origin.partition(b"://")[2] == headers.get(b"host")
        return origin is None or is_ours or bool(self._allow_origin(headers))

    def add_headers(self, headers: Headers, response: Response) -> None:
        """Let a page of an allowed origin read the response."""
        if self._allows_none:
            return
        if not self._any:
            response.raw_headers.append(_VARY_ORIGIN)
        if lines := self._allow_origin(headers):
            response.raw_headers += (*lines, _EXPOSED)

    def preflight(self, headers: Headers, allow: bytes) -> Response:
        """Return the response to OPTIONS. A page of an allowed origin may send any header.

        Allowing any header is safe, because a request needs a token, which browsers do not add
        automatically.
        """
        response = Reply(b"", 204, ((b"allow", allow),))
        if b"access-control-request-method" in headers and not self._allows_none:
            response.raw_headers += (_VARY_ORIGIN, _VARY_PREFLIGHT)
            if lines := self._allow_origin(headers):
                names = headers.get(b"access-control-request-headers", b"")
                allowed = (b"access-control-allow-headers", names)
                response.raw_headers += (*lines, _METHODS, allowed, _MAX_AGE)
        return response

    def _allow_origin(self, headers: Headers) -> tuple[tuple[bytes, bytes], ...]:
        origin = headers.get(b"origin")
        if origin is None or not (
            self._any or origin in self._origins or _without_port(origin) in self._every_port
        ):
            return ()
        if self._any:
            return ((b"access-control-allow-origin", b"*"),)
        credentials = (b"access-control-allow-credentials", b"true")
        return ((b"access-control-allow-origin", origin), credentials)


def _without_port(origin: bytes) -> bytes:
    return re.sub(rb":\d+\Z", b"", origin)


def _is_origin(text: str) -> bool:
    """Return whether a browser could send it: no default port, the web's hosts in lower case."""
    match = _ORIGIN.fullmatch(text)
    if match is None or int(match["port"] or 0) > _MAX_PORT:
        return False
    default = _DEFAULT_PORTS.get(match["scheme"])
    return default is None or (match["port"] != default and text == text.lower())
