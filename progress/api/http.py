"""The query API over HTTP: routes, callers, media types and statuses of GraphQL over HTTP."""

import re
import secrets
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response

from progress import auth, reading
from progress.api import execution
from progress.api.context import Context
from progress.api.execution import Answer, Asked
from progress.api.page import Page, graphiql
from progress.errors import BadInput, Unauthenticated, Unavailable
from progress.settings import Settings

_JSON = "application/json"
_GRAPHQL = "application/graphql-response+json"
_MEDIA_TYPES = {_GRAPHQL: _GRAPHQL, _JSON: _JSON, "application/*": _JSON, "*/*": _JSON}
_WEIGHT = re.compile(r"[01](\.\d{0,3})?")
_TRACE = re.compile(r"(?:00-)?([0-9a-f]{32})[-/]")


class QueryApi:
    """What `functions/query` answers."""

    def __init__(self, settings: Settings) -> None:
        """SettingsError where tokens could not be trusted."""
        self._tokens = auth.Tokens(auth.issuer(settings))
        asked_for = settings.graphql_introspection
        self._open = settings.environment == "development" if asked_for is None else asked_for
        self._page = Page(settings.auth_sign_in_url)

    async def answer(self, request: Request) -> Response:
        """The response to any request."""
        match request.url.path:
            case "/graphql":
                return await self._graphql(request)
            case "/health":
                return _response({"status": "ok"})
            case "/ready":
                return await _ready()
        found = self._page.answer(request)
        return found or _response({"error": "there is nothing here: ask /graphql"}, 404)

    async def _graphql(self, request: Request) -> Response:
        if self._open and request.method == "GET" and _is_browser(request):
            return graphiql()
        if refused := _not_taken(request):
            return refused
        try:
            return await self._executed(request)
        except Unauthenticated as fault:
            return _unauthenticated(fault, request)
        except Unavailable as fault:
            return _refused(503, fault, "UNAVAILABLE", {"Retry-After": "5"})
        except BadInput as fault:
            return _refused(400, fault)

    async def _executed(self, request: Request) -> Response:
        caller = await self._tokens.caller(request.headers.get("authorization"))
        asked = await _asked(request)
        if request.method == "GET" and not execution.is_query(asked, introspection=self._open):
            return _refused(405, "expected POST: it is no query", headers={"Allow": "POST"})
        answer = await execution.answered(
            asked,
            Context(caller, datetime.now(UTC)),
            introspection=self._open,
            trace=_trace(request),
        )
        media = _media_type(request)
        bad = media == _GRAPHQL and not answer.executed
        return Response(_body(answer), 400 if bad else 200, media_type=f"{media}; charset=utf-8")


def _body(answer: Answer) -> bytes:
    entries = []
    if answer.errors:
        entries.append(b'"errors":' + orjson.dumps(answer.errors))
    if answer.data is not None:
        entries.append(b'"data":' + answer.data)
    if answer.extensions:
        entries.append(b'"extensions":' + orjson.dumps(answer.extensions))
    return b"{" + b",".join(entries) + b"}"


async def _ready() -> Response:
    try:
        found = await reading.rows("models/checkpoints", "ready")
    except Unavailable as fault:
        return _response({"status": "unavailable", "database": str(fault)}, 503)
    ready: bool = found[0]["ready"]
    return _response({"status": "ok" if ready else "unavailable"}, 200 if ready else 503)


def _not_taken(request: Request) -> Response | None:
    """The refusal of a request by its method and its media types alone."""
    if request.method not in ("GET", "POST"):
        return _refused(405, "expected GET or POST", headers={"Allow": "GET, POST"})
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method == "POST" and sent != _JSON:
        return _refused(415, f"expected Content-Type: {_JSON}")
    if not _media_type(request):
        return _refused(406, f"expected Accept: {_GRAPHQL} or {_JSON}")
    return None


async def _asked(request: Request) -> Asked:
    try:
        if request.method == "POST":
            return msgspec.json.decode(await request.body(), type=Asked)
        given: dict[str, Any] = dict(request.query_params)
        for name in ("variables", "extensions"):
            if name in given:
                given[name] = msgspec.json.decode(given[name])
        return msgspec.convert(given, Asked)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        raise BadInput(f"expected a GraphQL request in JSON: {fault}") from None


def _media_type(request: Request) -> str:
    """The one of ours that the request likes best, of equals the first; empty if none."""
    best, liking = "", 0.0
    for part in request.headers.get("accept", _JSON).lower().split(","):
        name, *parameters = [piece.strip() for piece in part.split(";")]
        weights = [p.removeprefix("q=") for p in parameters if p.startswith("q=")]
        weight = float(weights[0]) if weights and _WEIGHT.fullmatch(weights[0]) else 1.0
        if name in _MEDIA_TYPES and weight > liking:
            best, liking = _MEDIA_TYPES[name], weight
    return best


def _is_browser(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and not request.query_params


def _trace(request: Request) -> str:
    """The W3C traceparent of the request; of a trace that begins here if it has none."""
    for header in ("traceparent", "x-cloud-trace-context"):
        if found := _TRACE.match(request.headers.get(header, "")):
            return f"00-{found[1]}-{secrets.token_hex(8)}-01"
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def _unauthenticated(fault: Unauthenticated, request: Request) -> Response:
    challenge = 'Bearer realm="progress"'
    if "authorization" in request.headers:
        challenge += ', error="invalid_token"'
    return _refused(401, fault, fault.code, {"WWW-Authenticate": challenge})


def _refused(
    status: int,
    why: object,
    code: str = "BAD_USER_INPUT",
    headers: dict[str, str] | None = None,
) -> Response:
    """A response to what was not even read as GraphQL, in GraphQL's shape."""
    body = {"errors": [{"message": str(why), "extensions": {"code": code}}]}
    return _response(body, status, headers=headers)


def _response(
    body: object, status: int = 200, *, media: str = _JSON, headers: dict[str, str] | None = None
) -> Response:
    content_type = {"Content-Type": f"{media}; charset=utf-8"}
    return Response(msgspec.json.encode(body), status, content_type | (headers or {}))
