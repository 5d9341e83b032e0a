"""The query API over HTTP: its routes, and the way of a GraphQL request through it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
from graphql import OperationType
from starlette.requests import Request
from starlette.responses import Response

from progress.adapters import request_scope, startup
from progress.adapters.telemetry import logs, tracing
from progress.adapters.telemetry.spans import Span
from progress.errors import Refused, Unavailable
from progress.query import auth
from progress.query.auth import Caller
from progress.query.cache.cache import Cache
from progress.query.execution import access_log, documents, execute
from progress.query.execution.errors import Unforeseen
from progress.query.execution.execute import Answer, Asked
from progress.query.graphql import subscriptions
from progress.query.graphql.context import Context
from progress.query.http import requests, responses, sse
from progress.query.http.cors import Origins
from progress.query.http.persisted_queries import Documents
from progress.query.http.requests import Headers
from progress.query.http.static_page import Page, graphiql
from progress.query.http.subscriptions import Limits, Streams
from progress.query.live.hub import Changes, Pace
from progress.query.read_models import reader
from progress.settings import Settings

_Answering = Callable[[Request, Headers, str], Awaitable[Response]]

_READING = ("GET", "HEAD")
_TAKEN = ("POST", *_READING)
_COUNTED = {"/graphql": "query", "/graphql/stream": "stream"}  # each has a line in the log
_ROUTES = {*_COUNTED, "/health", "/ready", startup.PATH}
_METHODS = {*_TAKEN, "OPTIONS", "PUT", "DELETE", "PATCH"}  # what the framework lets through
_POST = ((b"allow", b"POST"),)
_ALLOW = b"GET, HEAD, OPTIONS, POST"


class QueryApi:
    """What `functions/query` answers."""

    def __init__(
        self, settings: Settings, limits: Limits | None = None, pace: Pace | None = None
    ) -> None:
        """SettingsError where tokens could not be trusted, or an origin is none."""
        self._tokens = auth.Tokens(auth.issuer(settings))
        self._origins = Origins(settings.cors_origins)
        self._cache = Cache(settings.redis_url, per_minute=settings.rate_limit_per_minute)
        self._persisted = Documents(self._cache)
        self._streams = Streams(limits)
        self._changes = Changes(subscriptions.sources(), settings.redis_url, pace)
        self._page = Page(settings.auth_sign_in_url)
        asked_for = settings.graphql_introspection
        self._open = settings.environment == "development" if asked_for is None else asked_for

    async def answer(self, request: Request) -> Response:
        """The response to any request, whatever happens.

        What nobody foresaw is masked and logged, and told by its trace.
        """
        given = requests.headers(request)
        name = _COUNTED.get(request.scope["path"])
        with (
            request_scope.begin(request_scope.TIMEOUT_S),
            tracing.start_span(name or "page", requests.parent(given), "server") as span,
        ):
            account = access_log.opened(name) if name else None
            response = await self._answer(request, given, tracing.current_traceparent() or "")
            _tell(span, request, response)
            if account is not None and request.scope["method"] != "OPTIONS":
                account.close(response.status_code)
                span.set_attribute("progress.operation", account.operation)
                if account.is_our_fault:
                    span.record_error("")
        return response

    async def _answer(self, request: Request, given: Headers, trace: str) -> Response:
        with Unforeseen(trace) as unforeseen:
            return await self._routed(request, given, trace)
        response = responses.faulty(500, unforeseen.told, given)
        self._origins.tell(given, response)
        return response

    async def _routed(self, request: Request, given: Headers, trace: str) -> Response:
        match request.scope["path"]:
            case "/graphql":
                return await self._shared(request, given, trace, self._executed)
            case "/graphql/stream":
                return await self._shared(request, given, trace, self._streamed)
            case "/health" | "/ready" | startup.PATH:
                return await self._probed(request)
        nothing = {"error": "there is nothing here: ask /graphql"}
        return self._page.answer(request) or responses.json(nothing, 404)

    async def _probed(self, request: Request) -> Response:
        """Answer whoever asks how the instance does."""
        if request.scope["method"] not in _READING:
            return _only_read(request)
        match request.scope["path"]:
            case "/ready":
                return await self._ready()
            case startup.PATH:
                return await _started()
        return responses.json({"status": "ok"})

    async def _ready(self) -> Response:
        """Whether the instance can answer; without the cache it can."""
        try:
            found = await reader.rows("projections/checkpoints", "ready")
            database = "ok" if found[0]["ready"] else "its read models are not there yet"
        except Unavailable:
            database = "away"
        is_ready = database == "ok"
        told = {"status": "ok" if is_ready else "unavailable", "database": database}
        cache = await self._cache.state()
        return responses.json({**told, "cache": cache}, 200 if is_ready else 503)

    async def _shared(
        self, request: Request, given: Headers, trace: str, answer: _Answering
    ) -> Response:
        """A response, or a refusal, that pages of other origins may read too."""
        if request.scope["method"] == "OPTIONS":
            return self._origins.preflight(given, _ALLOW)
        try:
            response = await answer(request, given, trace)
        except Refused as fault:
            response = responses.refused(fault, given)
        except Unavailable as fault:
            logs.write("WARNING", f"not answered: {fault}")
            response = responses.unavailable(given)
        self._origins.tell(given, response)
        return response

    async def _executed(self, request: Request, given: Headers, trace: str) -> Response:
        """One operation, answered at once."""
        if self._open and request.method == "GET" and _is_browser(request):
            return graphiql()
        if not_taken := _not_taken(request, given):
            return not_taken
        caller, asked, sha256 = await self._read(request, given)
        posted = request.scope["method"] == "POST"
        if not posted and not execute.is_query(asked, introspection=self._open):
            return responses.error(405, "expected POST: it is no query", given, lines=_POST)
        answer = await self._answered(asked, Context(caller, datetime.now(UTC)), given, trace)
        if sha256 is not None and answer.executed:
            await self._persisted.keep(sha256, asked.query)
        media = responses.media_type(requests.accepted(given))
        if posted:
            return responses.answered(answer, media, given)
        return responses.got(answer, media, given)

    async def _streamed(self, request: Request, given: Headers, trace: str) -> Response:
        """One operation, answered by events."""
        if not_taken := _not_taken(request, given, events=True):
            return not_taken
        caller, asked, sha256 = await self._read(request, given)
        document = documents.read(asked.query, introspection=self._open)
        kind = document.kind(asked.operation_name)
        if kind is OperationType.MUTATION and request.scope["method"] != "POST":
            return responses.error(405, "expected POST: it is a mutation", given, lines=_POST)
        if sha256 is not None and not document.errors:
            await self._persisted.keep(sha256, asked.query)
        context = Context(caller, datetime.now(UTC), self._changes)
        if document.tree and kind is OperationType.SUBSCRIPTION:
            if not asked.is_counted:
                await self._cache.ask(caller.user_id, (), at=context.at)
            return await self._streams.answer(asked, document.tree, context, trace)
        answer = await self._answered(asked, context, given, trace)
        return sse.single(responses.body(answer))

    async def _answered(self, asked: Asked, context: Context, given: Headers, trace: str) -> Answer:
        return await execute.answered(
            asked,
            context,
            cache=self._cache,
            introspection=self._open,
            fresh=b"no-cache" in given.get(b"cache-control", b"").lower(),
            trace=trace,
        )

    async def _read(self, request: Request, given: Headers) -> tuple[Caller, Asked, str | None]:
        """Who asks, what, and the hash by which the document is to be known."""
        caller = await self._tokens.caller(given.get(b"authorization", b"").decode("latin-1"))
        asked, sha256 = await requests.read(request, given)
        if sha256 is not None and not asked.query:
            text = await self._persisted.found(sha256)
            asked = msgspec.structs.replace(asked, query=text)
        if not documents.known(asked.query, introspection=self._open):
            # To read a document costs more than to answer it: first it is counted.
            await self._cache.ask(caller.user_id, (), at=datetime.now(UTC))
            asked = msgspec.structs.replace(asked, is_counted=True)
        return caller, asked, sha256


def _tell(span: Span, request: Request, response: Response) -> None:
    method, path = request.scope["method"], request.scope["path"]
    span.set_attribute("http.request.method", method if method in _METHODS else "_OTHER")
    span.set_attribute("http.response.status_code", response.status_code)
    if path in _ROUTES:
        span.set_attribute("http.route", path)


async def _started() -> Response:
    """The start-up probe, which tries to connect in a thread."""
    passes = await asyncio.to_thread(startup.probe().passes)
    return responses.json({"status": "ok" if passes else "unavailable"}, 200 if passes else 503)


def _only_read(request: Request) -> Response:
    allow = ((b"allow", b"GET, HEAD, OPTIONS"),)
    if request.scope["method"] == "OPTIONS":
        return responses.Reply(b"", 204, allow)
    return responses.json({"error": "expected GET"}, 405, allow)


def _not_taken(request: Request, given: Headers, *, events: bool = False) -> Response | None:
    """The refusal of a request by its method and its media types alone."""
    method = request.scope["method"]
    if method not in _TAKEN or (events and method == "HEAD"):
        allow = ((b"allow", _ALLOW),)
        return responses.error(405, "expected GET or POST", given, lines=allow)
    if method == "POST" and not requests.is_json(given):
        return responses.error(415, f"expected Content-Type: {responses.JSON}", given)
    accept = requests.accepted(given)
    if events and not sse.is_liked(accept):
        return responses.error(406, f"expected Accept: {sse.EVENTS}", given)
    if not events and not responses.media_type(accept):
        expected = f"expected Accept: {responses.GRAPHQL} or {responses.JSON}"
        return responses.error(406, expected, given)
    return None


def _is_browser(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and not request.query_params
