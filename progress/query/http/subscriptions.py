"""Subscriptions: their limits, their results, and their completion at shutdown.

A stream sends the results as Server-Sent Events, in the distinct-connections mode of "GraphQL over
SSE". A socket sends the results of several subscriptions, see `sockets`.
"""

import asyncio
import functools
import inspect
import signal
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FrameType
from typing import Any, NamedTuple

import msgspec
from graphql import ExecutionResult, Executor, create_source_event_stream
from graphql.execution import execute_subscription_event
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from progress.adapters import request_scope
from progress.auth import Caller
from progress.errors import Forbidden, InstanceUnavailable, RateLimited, Unavailable
from progress.query.execution import execute, traces
from progress.query.execution.documents import Document, Rejected
from progress.query.execution.execute import GraphQLRequest, GraphQLResponse, RequestLog
from progress.query.execution.executor import FieldExecutor
from progress.query.execution.fields import RequestedField
from progress.query.graphql.context import Context
from progress.query.http import protocol
from progress.query.http.protocol import Reply
from progress.query.live.hub import Subscription
from progress.query.live.milestone_feed import MilestoneFeed

EVENTS = "text/event-stream"

_Source = Subscription[Any] | MilestoneFeed

_GRACE_S = 2.0  # Time for the client to read the last event after the token has expired.
_HEARTBEAT = b":\n\n"  # An SSE comment. It keeps proxies connected and detects a lost client.
_COMPLETE = b"event: complete\ndata:\n\n"
_HEADERS = (
    (b"content-type", f"{EVENTS}; charset=utf-8".encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
)


@functools.lru_cache(maxsize=256)
def accepts(accept: bytes) -> bool:
    """Return whether an Accept header allows events. An empty header allows every media type."""
    media_types = {part.partition(b";")[0].strip() for part in accept.lower().split(b",")}
    return bool(media_types & {b"", EVENTS.encode(), b"text/*", b"*/*"})


def single(body: bytes) -> Response:
    """Return a response with one result and the `complete` event."""
    return Reply(_next_event(body) + _COMPLETE, 200, _HEADERS)


def _next_event(body: bytes) -> bytes:
    return b"event: next\ndata: " + body + b"\n\n"  # the JSON in `body` has no line breaks


class Place:
    """A subscription's place in the limit of its caller.

    The client leaves it by ending the subscription, even if the subscription is not open yet.
    """

    def __init__(self) -> None:
        self._count = ExitStack()
        self.is_left = False

    def take(self, count: AbstractContextManager[None]) -> None:
        """Enter `count`, which counts the subscription until the client leaves the place."""
        self._count.enter_context(count)

    def leave(self) -> None:
        """Count the subscription no longer; a second call does nothing."""
        self.is_left = True
        self._count.close()


class OpenSubscription(NamedTuple):
    """A subscription that a stream or a socket sends.

    `first` is its first result. `next_result` returns the next one; it leaves out a result that is
    equal to the one before it, except in a feed. It raises StopAsyncIteration after the last
    result, or immediately after `close`. Closing `resources` ends the subscription. A feed has no
    first result (`first` is empty).
    """

    first: bytes
    next_result: Callable[[], Awaitable[bytes]]
    close: Callable[[], None]
    resources: ExitStack


class EventStream(Response):
    """A stream of results.

    The stream waits for a result only when the client has read all earlier results, so that results
    do not accumulate. `resources` is closed at the end of the response.
    """

    def __init__(
        self,
        subscription: OpenSubscription,
        resources: ExitStack,
        *,
        expires_at: float,
        heartbeat: float,
    ) -> None:
        """`expires_at` is in seconds since 1970; `heartbeat` is in seconds."""
        self.status_code, self.background = 200, None
        self.raw_headers = [*_HEADERS]
        self._subscription, self._resources = subscription, resources
        self._expires_at, self._heartbeat = expires_at, heartbeat
        self._pending: asyncio.Future[bytes] | None = None  # the call of `next_result`

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send results until the last result is sent or the client disconnects.

        A client that does not read is cut off soon after its token has expired.
        """
        disconnect = asyncio.create_task(self._close_on_disconnect(receive))
        try:
            async with asyncio.timeout(self._expires_at + _GRACE_S - time.time()):
                await self._send(scope, send)
        except TimeoutError:
            if "abort" in scope.get("state", ()):
                scope["state"]["abort"]()
                await disconnect  # otherwise, uvicorn would report an incomplete response
        finally:
            disconnect.cancel()
            if self._pending:
                self._pending.cancel()
            self._subscription.close()
            self._resources.close()

    async def _send(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            await self._send_results(send)
        await send({"type": "http.response.body", "body": _COMPLETE})

    async def _close_on_disconnect(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._subscription.close()

    async def _send_results(self, send: Send) -> None:
        body = self._subscription.first
        while True:
            event = _next_event(body) if body else _HEARTBEAT
            await send({"type": "http.response.body", "body": event, "more_body": True})
            try:
                body = await self._wait_for_result()
            except (StopAsyncIteration, Unavailable):
                return

    async def _wait_for_result(self) -> bytes:
        """Return the next result, or empty bytes when a heartbeat is due."""
        # A heartbeat must not cancel `next_result`: the result that it is computing would be lost.
        self._pending = self._pending or asyncio.ensure_future(self._subscription.next_result())
        seconds = max(0, min(self._expires_at - time.time(), self._heartbeat))
        if (await asyncio.wait({self._pending}, timeout=seconds))[0]:
            done, self._pending = self._pending, None
            return done.result()
        if time.time() < self._expires_at:
            return b""
        raise StopAsyncIteration


_RETRY_AFTER_S = 5
_SHUTDOWN_TIMEOUT_S = 3.0  # how long the server waits for clients that do not read


class StreamLimits(msgspec.Struct, frozen=True):
    """Limits on the open subscriptions and sockets, and seconds.

    A stranger is a socket whose client has not sent a valid token yet.
    """

    per_caller: int = 30  # subscriptions in each process: of eight windows of the page, and more
    sockets_per_caller: int = 10  # in each process
    per_instance: int = 800  # an instance serves 1,000 concurrent requests: 100 remain for queries
    strangers: int = 100  # of each instance
    strangers_per_address: int = 10  # in each process
    heartbeat: float = 12.0  # between two heartbeats of a stream
    init: float = 5.0  # for the first message of a socket


class Streams:
    """The open subscriptions and sockets of this process, one of the instance's `workers`."""

    def __init__(self, limits: StreamLimits | None = None, workers: int = 1) -> None:
        self.limits = limits or StreamLimits()
        self._most = self.limits.per_instance // workers
        self._most_strangers = max(1, self.limits.strangers // workers)
        self._subscriptions: Counter[str] = Counter()  # by caller
        self._sockets: Counter[str] = Counter()
        self._strangers: Counter[str] = Counter()  # by address
        self._connections = 0  # streams, and sockets of callers
        self._open: set[_Source] = set()
        self._handles_signals = self.is_shutting_down = False

    async def open(
        self,
        request: GraphQLRequest,
        document: Document,
        context: Context,
        log: RequestLog,
        place: Place,
    ) -> OpenSubscription | GraphQLResponse:
        """Open and return the document's subscription, or return its errors.

        Return no error and no result if the client has left the place already. Raise RateLimited if
        the caller has too many open subscriptions.
        """
        if place.is_left:
            return GraphQLResponse(None, [], executed=False)
        try:
            prepared = document.prepare(request.variables, request.operation_name)
        except Rejected as rejected:
            return execute.reject(rejected)
        executor = prepared.executor.copy_for(context)
        with ExitStack() as resources:
            count = self._count(self._subscriptions, context.caller.user_id, "subscriptions")
            place.take(count)
            resources.callback(place.leave)
            subscription: Any = create_source_event_stream(executor)
            if inspect.isawaitable(subscription):
                subscription = await subscription
            if isinstance(subscription, ExecutionResult):
                return execute.to_response(subscription, log)
            resources.enter_context(self._close_on_shutdown(subscription))
            results = _Results(subscription, prepared.coerced, executor, context, log)
            is_feed = isinstance(subscription, MilestoneFeed)
            try:
                first = b"" if is_feed else await results.read_next()
            except StopAsyncIteration:
                raise InstanceUnavailable("this instance is shutting down: try again") from None
            return OpenSubscription(
                first, results.read_next, subscription.close, resources.pop_all()
            )

    def to_events(
        self, subscription: OpenSubscription, resources: ExitStack, expires_at: float
    ) -> Response:
        """Return a stream of the subscription, which closes the resources at its end."""
        resources.callback(subscription.resources.close)
        return EventStream(
            subscription, resources, expires_at=expires_at, heartbeat=self.limits.heartbeat
        )

    @contextmanager
    def count_connection(self) -> Iterator[None]:
        """Count a stream or a socket while it is open.

        Raise InstanceUnavailable if the process has too many.
        """
        if self.is_shutting_down or self._connections >= self._most:
            raise InstanceUnavailable("this instance accepts no more streams now: try again")
        self._connections += 1
        try:
            yield
        finally:
            self._connections -= 1

    def count_stranger(self, address: str) -> AbstractContextManager[None]:
        """Count a socket until its client has sent a valid token.

        Raise InstanceUnavailable if the process has too many, RateLimited if the address has.
        """
        if self.is_shutting_down or self._strangers.total() >= self._most_strangers:
            raise InstanceUnavailable("this instance accepts no more sockets now: try again")
        limit = self.limits.strangers_per_address
        return self._count(self._strangers, address, "sockets without a token", limit)

    def count_socket(self, caller: Caller) -> AbstractContextManager[None]:
        """Count a socket while it is open; raise RateLimited if the caller has too many."""
        return self._count(self._sockets, caller.user_id, "sockets", self.limits.sockets_per_caller)

    @contextmanager
    def _count(
        self, counter: Counter[str], key: str, what: str, limit: int | None = None
    ) -> Iterator[None]:
        limit = self.limits.per_caller if limit is None else limit
        if counter[key] >= limit:
            raise RateLimited(f"{limit} {what} are open: close one of them", _RETRY_AFTER_S)
        counter[key] += 1
        try:
            yield
        finally:
            counter[key] -= 1
            if not counter[key]:
                del counter[key]

    @contextmanager
    def _close_on_shutdown(self, subscription: _Source) -> Iterator[None]:
        """Close the subscription at the end of the block, or earlier if the process shuts down."""
        if not self._handles_signals:
            self._handle_signals()
            self._handles_signals = True
        self._open.add(subscription)
        try:
            yield
        finally:
            self._open.discard(subscription)
            subscription.close()

    def shut_down(self) -> None:
        """Complete every stream, so that its client reconnects to another instance."""
        self.is_shutting_down = True
        for subscription in list(self._open):
            subscription.close()

    def _handle_signals(self) -> None:
        """Let signals complete the streams; otherwise, the server would wait until they end."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._shut_down_before(signal.getsignal(number), loop))

    def _shut_down_before(
        self, handler: Any, loop: asyncio.AbstractEventLoop
    ) -> Callable[..., None]:
        """Return a signal handler that completes the streams, then calls the server's handler."""

        def handle(number: int, frame: FrameType | None) -> None:
            if not (self.is_shutting_down or loop.is_closed()):
                loop.call_soon_threadsafe(self.shut_down)
                loop.call_soon_threadsafe(loop.call_later, _SHUTDOWN_TIMEOUT_S, self._force)
            if callable(handler):
                handler(number, frame)

        return handle

    def _force(self) -> None:
        """Send a second signal, so that the server stops waiting for clients that do not read."""
        if self._open:
            signal.raise_signal(signal.SIGINT)


class _Results:
    """The results of a subscription. Each leaves the traces of its reader before it is sent."""

    def __init__(
        self,
        subscription: _Source,
        coerced: Sequence[RequestedField],
        executor: FieldExecutor,
        context: Context,
        log: RequestLog,
    ) -> None:
        self._subscription, self._coerced, self._context = subscription, coerced, context
        self._executor, self._log = executor, log
        self._is_feed = isinstance(subscription, MilestoneFeed)
        self._last: tuple[bytes, str | None] = b"", None

    async def read_next(self) -> bytes:
        """Return the next result as JSON; if the caller may no longer read the data, an error.

        Leave out a result that is equal to the one before it, except in a feed, and if a learner's
        tasks have changed. Raise Unavailable if the traces cannot be written.
        """
        with request_scope.begin(request_scope.TIMEOUT_S, self._context.caller.user_id):
            while True:
                state: object
                try:
                    state = await anext(self._subscription)
                except Forbidden as error:
                    self._subscription.close()  # ends the stream after this error
                    state = error
                with request_scope.begin(request_scope.TIMEOUT_S):  # the wait may have been long
                    result = await execute_state(self._executor, state)
                    response = execute.to_response(result, self._log)
                    body = protocol.body(response)
                    sent = body, getattr(self._subscription, "tasks", None)
                    if sent != self._last or self._is_feed:
                        if response.has_data:
                            await traces.write(self._coerced, self._context, result)
                        self._last = sent
                        return body


async def execute_state(executor: Executor[Any], state: object) -> ExecutionResult:
    """Return the result of a state; the executor reports an exception as the error."""
    result = execute_subscription_event(executor.build_per_event_executor(state))
    return result if isinstance(result, ExecutionResult) else await result
