"""The query API over HTTP: its routes, and the handling of a GraphQL request."""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from graphql import GraphQLError, OperationType
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from progress import auth
from progress.adapters import request_scope, startup
from progress.adapters.telemetry import logs, tracing
from progress.adapters.telemetry.spans import Span
from progress.auth import Caller
from progress.errors import Forbidden, RequestRejected, Unavailable
from progress.operations.export_files import MEDIA_TYPES
from progress.query.cache.responses import ResponseCache
from progress.query.execution import documents, execute
from progress.query.execution.execute import GraphQLRequest, GraphQLResponse, RequestLog
from progress.query.graphql.context import Context
from progress.query.graphql.downloads import PATH, Downloads
from progress.query.graphql.learner_mutations import EventRecorder
from progress.query.graphql.outside import Outside
from progress.query.graphql.subscriptions import build_sources
from progress.query.graphql.task_mutations import TaskRecorder
from progress.query.http import health, protocol, subscriptions
from progress.query.http.developer_files import DeveloperFiles
from progress.query.http.events_endpoint import EventsEndpoint
from progress.query.http.held_bodies import HeldBodies
from progress.query.http.protocol import Cors, Headers, Parameters
from progress.query.http.sockets import Sockets
from progress.query.http.static_page import StaticPage
from progress.query.http.subscriptions import OpenSubscription, Place, StreamLimits, Streams
from progress.query.http.turns import DocumentTurns
from progress.query.live.hub import LiveQueries
from progress.query.own_events import OwnEvents
from progress.query.rate_limits import RateLimiter
from progress.query.read_models.accesses import AccessTrace
from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import Reader
from progress.settings import Settings

if TYPE_CHECKING:
    from progress.adapters.redis.async_client import Client

_Handler = Callable[[Request, Headers, RequestLog], Awaitable[Response]]

_ALLOWED_METHODS = ("POST", "GET", "HEAD")
_LOGGED = {"/graphql": "query", "/graphql/stream": "stream"}  # paths whose requests are logged
_POSTS = "/events"
_ROUTES = {*_LOGGED, _POSTS, "/health", "/ready", startup.PATH}
# A span records a method that is not in this set as `_OTHER`.
_KNOWN_METHODS = {*_ALLOWED_METHODS, "OPTIONS", "PUT", "DELETE", "PATCH"}
_ALLOW_POST = ((b"allow", b"POST"),)
_ALLOW = b"GET, HEAD, OPTIONS, POST"
_ALLOW_AT = {"/health": b"GET, HEAD, OPTIONS", _POSTS: b"OPTIONS, POST"}
_POSTS_ONLY = GraphQLResponse(b"null", [protocol.format_error(auth.POSTS_ONLY, "FORBIDDEN")])
_EXPORT_HEADERS = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}


class QueryApi:
    """The application of `functions/query`, which owns all state and passes it to each request."""

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        limits: StreamLimits | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Raise SettingsError if the issuer's settings or an allowed origin is invalid."""
        reader.note_reads()
        self._queries, self._trace = Queries(reader), AccessTrace(reader)
        self._authenticator = auth.Authenticator(auth.load_issuer(settings))
        self._cors = Cors(settings.cors_origins, is_local=settings.is_local())
        url = settings.redis_url
        self._redis = _open_redis(url) if url else None
        self._limiter = RateLimiter(self._redis, settings.rate_limit_per_minute)
        self._cache = ResponseCache(self._redis, self._limiter, reader)
        self._readiness = health.Readiness(reader, self._redis)
        self._streams = Streams(limits, settings.workers)
        self.serve_socket = Sockets(
            self._authenticator,
            self._cors,
            self._streams,
            self._answer_on_socket,
            trusted_proxies=settings.trusted_proxies,
        ).serve
        self._live_queries = LiveQueries(build_sources(reader))
        self._downloads = Downloads(settings)
        self._outside = Outside(settings)
        self._bodies, self._turns = HeldBodies(), DocumentTurns()
        own = OwnEvents(reader, settings.database_pool_size)
        posts = EventsEndpoint(
            settings, self._redis, self._authenticator, self._bodies, own=own, clock=clock
        )
        self._handlers: dict[str, _Handler] = {
            "/graphql": self._execute,
            "/graphql/stream": self._stream,
            "/health": health.say_time,
            _POSTS: posts.answer,
        }
        self._events = EventRecorder(own, self._redis, self._cache.versions)
        self._tasks = TaskRecorder(own, self._redis, self._events)
        self._page = StaticPage(settings)
        introspection = settings.graphql_introspection
        is_development = settings.environment == "development"
        self._introspection = is_development if introspection is None else introspection
        self._developer_files = DeveloperFiles(has_graphiql=self._introspection)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.answer(Request(scope, receive))
        await response(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        """Return the response to any request.

        An unexpected error is masked and logged; the response contains the trace id.
        """
        headers = protocol.headers(request)
        name = _LOGGED.get(request.scope["path"])
        with (
            request_scope.begin(request_scope.TIMEOUT_S),
            tracing.start_span(name or "page", protocol.traceparent(headers), "server") as span,
        ):
            log = RequestLog(name or "page", tracing.current_traceparent() or "")
            response = await self._respond(request, headers, log)
            _set_attributes(span, request, response)
            if name and request.scope["method"] != "OPTIONS":
                log.write(response.status_code)
                span.set_attribute("progress.operation", log.operation)
                if log.has_failed:
                    span.record_error("")
        return response

    async def _respond(self, request: Request, headers: Headers, log: RequestLog) -> Response:
        path = request.scope["path"]
        handler = self._handlers.get(path)
        try:
            if handler is None:
                return await self._open(request)
            if request.scope["method"] == "OPTIONS":
                return self._cors.preflight(headers, _ALLOW_AT.get(path, _ALLOW))
            response = await handler(request, headers, log)
        except Exception as error:  # noqa: BLE001 - any error becomes a response
            response = _explain(error, path, headers, log)
        self._cors.add_headers(headers, response)
        return response

    async def _open(self, request: Request) -> Response:
        if request.scope["path"] in ("/ready", startup.PATH):
            return await health.probe(request, self._readiness)
        return (
            self._page.answer(request)
            or self._developer_files.answer(request)
            or _open_export(request, self._downloads)
            or protocol.refuse("there is nothing at this path: use /graphql", 404)
        )

    async def _execute(self, request: Request, headers: Headers, log: RequestLog) -> Response:
        if self._introspection and request.method == "GET" and _is_browser(request):
            return self._developer_files.graphiql(request)
        if rejection := _reject_by_headers(request, headers):
            return rejection
        caller, graphql_request = await self._read(request, headers)
        is_post = request.scope["method"] == "POST"
        if not is_post:
            document = documents.read(graphql_request.query, introspection=self._introspection)
            if not document.is_query(graphql_request.operation_name):
                why = "expected POST: the operation is not a query"
                return protocol.error(405, why, headers, lines=_ALLOW_POST)
        context = self._context(caller)
        answer = await self._run(graphql_request, context, headers, log)
        media_type = protocol.media_type(protocol.accept(headers))
        if is_post:
            return protocol.to_post(answer, media_type, headers)
        return protocol.to_get(answer, media_type, headers)

    async def _stream(self, request: Request, headers: Headers, log: RequestLog) -> Response:
        """Run one operation and return its results as Server-Sent Events."""
        if rejection := _reject_by_headers(request, headers, events=True):
            return rejection
        caller, graphql_request = await self._read(request, headers)
        document = documents.read(graphql_request.query, introspection=self._introspection)
        is_mutation = document.kind(graphql_request.operation_name) is OperationType.MUTATION
        if is_mutation and request.scope["method"] != "POST":
            why = "expected POST: the operation is a mutation"
            return protocol.error(405, why, headers, lines=_ALLOW_POST)
        context = self._context(caller, self._live_queries)
        with ExitStack() as resources:
            resources.enter_context(self._streams.count_connection())
            answer = await self._subscribe(graphql_request, context, headers, log, place=Place())
            if isinstance(answer, OpenSubscription):
                return self._streams.to_events(answer, resources.pop_all(), caller.expires_at)
        return subscriptions.single(protocol.body(answer))

    async def _answer_on_socket(
        self, caller: Caller, parameters: Parameters, headers: Headers, place: Place
    ) -> GraphQLResponse | OpenSubscription:
        """Run one operation of a socket, opened with `headers`; return its errors, too."""
        with (
            request_scope.begin(request_scope.TIMEOUT_S, caller.user_id),
            tracing.start_span("query", protocol.traceparent(headers), "server") as span,
        ):
            log = RequestLog("query", tracing.current_traceparent() or "")
            context = self._context(caller, self._live_queries)
            status = 200
            try:
                graphql_request = await self._admit(caller, protocol.to_request(parameters))
                # The headers are not for this operation: browsers open a socket with `no-cache`.
                answer = await self._subscribe(graphql_request, context, {}, log, place=place)
            except Exception as error:  # noqa: BLE001 - any error is told
                status, formatted = _format(error, log)
                answer = GraphQLResponse(None, [formatted], executed=False)
            log.write(status)
            span.set_attribute("progress.operation", log.operation)
            if log.has_failed:
                span.record_error("")
        return answer

    async def _subscribe(
        self,
        graphql_request: GraphQLRequest,
        context: Context,
        headers: Headers,
        log: RequestLog,
        *,
        place: Place,
    ) -> GraphQLResponse | OpenSubscription:
        """Open a subscription, or run a query or mutation."""
        if context.caller.role == "publisher":
            return _POSTS_ONLY
        document = documents.read(graphql_request.query, introspection=self._introspection)
        kind = document.kind(graphql_request.operation_name)
        if document.errors or kind is not OperationType.SUBSCRIPTION:
            return await self._run(graphql_request, context, headers, log)
        log.operation = "stream"
        if not graphql_request.is_counted:
            await self._limiter.count(context.caller.user_id, context.at)
        return await self._streams.open(graphql_request, document, context, log, place)

    def _context(self, caller: Caller, live_queries: LiveQueries | None = None) -> Context:
        now = datetime.now(UTC)
        return Context(
            *(caller, self._queries, now, self._trace, live_queries),
            downloads=self._downloads,
            outside=self._outside,
            events=self._events,
            tasks=self._tasks,
        )

    async def _run(
        self, graphql_request: GraphQLRequest, context: Context, headers: Headers, log: RequestLog
    ) -> GraphQLResponse:
        if context.caller.role == "publisher":
            return _POSTS_ONLY
        return await execute.run(
            graphql_request,
            context,
            cache=self._cache,
            introspection=self._introspection,
            bypass=b"no-cache" in headers.get(b"cache-control", b"").lower(),
            log=log,
        )

    async def _read(self, request: Request, headers: Headers) -> tuple[Caller, GraphQLRequest]:
        """Return the caller, and the request as `_admit` returns it."""
        authorization = headers.get(b"authorization", b"").decode("latin-1")
        caller = await self._authenticator.authenticate(authorization)
        request_scope.current().caller = caller.user_id
        async with self._bodies.hold(caller.user_id) as resize:
            graphql_request = await protocol.read(request, headers, resize)
        return caller, await self._admit(caller, graphql_request)

    async def _admit(self, caller: Caller, graphql_request: GraphQLRequest) -> GraphQLRequest:
        """Return the request; count it, and mark it as counted, if its document is not cached.

        Parsing and validating take longer than executing, so the rate limit is applied first, and
        the event loop does other work between two documents.
        """
        if documents.lookup(graphql_request.query, introspection=self._introspection):
            return graphql_request
        await self._limiter.count(caller.user_id, datetime.now(UTC))
        await self._turns.wait(caller.user_id)
        return msgspec.structs.replace(graphql_request, is_counted=True)


def _open_redis(url: str) -> "Client":
    from progress.adapters.redis.async_client import Client

    return Client(url)


def _explain(error: Exception, path: str, headers: Headers, log: RequestLog) -> Response:
    status, formatted = _format(error, log, path)
    lines = protocol.error_lines(error, headers)
    if path == _POSTS:
        return protocol.refuse(formatted["message"], status, lines)
    return protocol.from_error(status, formatted, headers, lines)


def _format(error: Exception, log: RequestLog, path: str = "") -> tuple[int, dict[str, Any]]:
    """Return the status and the formatted error; one that nobody expects is masked and logged."""
    if isinstance(error, RequestRejected):
        is_forbidden = isinstance(error, Forbidden) and path == _POSTS
        return 403 if is_forbidden else error.status, protocol.format_error(error, error.code)
    if not isinstance(error, Unavailable):
        return 500, execute.format_error(GraphQLError("", original_error=error), log)
    if path == _POSTS:
        logs.write("WARNING", f"not recorded: {error}", operation="post", outcome="error")
    else:
        logs.write("WARNING", f"not answered: {error}")
    return 503, protocol.format_error(protocol.UNAVAILABLE, "UNAVAILABLE")


def _set_attributes(span: Span, request: Request, response: Response) -> None:
    method, path = request.scope["method"], request.scope["path"]
    span.set_attribute("http.request.method", method if method in _KNOWN_METHODS else "_OTHER")
    span.set_attribute("http.response.status_code", response.status_code)
    if path in _ROUTES:
        span.set_attribute("http.route", path)


def _reject_by_headers(
    request: Request, headers: Headers, *, events: bool = False
) -> Response | None:
    """Return a rejection if the method or a media type is not supported."""
    method = request.scope["method"]
    if method not in _ALLOWED_METHODS or (events and method == "HEAD"):
        allow = ((b"allow", _ALLOW),)
        return protocol.error(405, "expected GET or POST", headers, lines=allow)
    if method == "POST" and not protocol.is_json(headers):
        return protocol.error(415, f"expected Content-Type: {protocol.JSON}", headers)
    accept = protocol.accept(headers)
    if events and not subscriptions.accepts(accept):
        return protocol.error(406, f"expected Accept: {subscriptions.EVENTS}", headers)
    if not events and not protocol.media_type(accept):
        expected = f"expected Accept: {protocol.GRAPHQL} or {protocol.JSON}"
        return protocol.error(406, expected, headers)
    return None


def _is_browser(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and not request.query_params


def _open_export(request: Request, downloads: Downloads) -> Response | None:
    """Return the file, or 404 for an invalid or expired link; None for another path or method."""
    if not request.url.path.startswith(PATH) or request.method not in ("GET", "HEAD"):
        return None
    file = downloads.open(request.url.path, datetime.now(UTC))
    target = Path(downloads.location) / file.object if file else None
    if file is None or target is None or not target.is_file():
        return protocol.refuse("this link has expired: request another", 404)
    media_type = MEDIA_TYPES[target.suffix.lstrip(".")]
    return FileResponse(target, filename=file.file, media_type=media_type, headers=_EXPORT_HEADERS)
