"""GraphQL over WebSocket: the sub-protocol `graphql-transport-ws` of npm `graphql-ws`.

A socket runs queries, mutations and subscriptions. Each has an id, which the client chooses.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any
from weakref import WeakValueDictionary

import msgspec
import orjson
from starlette.types import Receive, Scope, Send

from progress.auth import Authenticator, Caller
from progress.errors import RateLimited, Unauthenticated, Unavailable
from progress.query.execution.execute import GraphQLResponse
from progress.query.http import protocol
from progress.query.http.protocol import Cors, Headers, Parameters
from progress.query.http.subscriptions import OpenSubscription, Place, Streams
from progress.query.http.turns import MessageRate

_PATH = "/graphql"
_PROTOCOL = "graphql-transport-ws"
_CLOSE_TIMEOUT_S = 2.0
# Operations that a socket runs at a time; the server reads no more before one ends. There must be
# more than subscriptions of a caller, which end only when the client's message is read.
_MAX_OPERATIONS = 40
_MAX_REASON = 123  # Bytes; the longest reason of a close frame.

_BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _BAD_PROTOCOL = 4400, 4401, 4403, 4406
_INIT_TIMEOUT, _ID_IN_USE, _TOO_MANY = 4408, 4409, 4429
_TRY_AGAIN_LATER = 1013

# Runs one operation of a caller, with the headers of the socket's request.
Run = Callable[[Caller, Parameters, Headers, Place], Awaitable[GraphQLResponse | OpenSubscription]]


class _Init(msgspec.Struct, tag_field="type", tag="connection_init", frozen=True):
    payload: dict[str, Any] | None = None


class _Ping(msgspec.Struct, tag_field="type", tag="ping", frozen=True):
    payload: dict[str, Any] | None = None


class _Pong(msgspec.Struct, tag_field="type", tag="pong", frozen=True):
    pass


class _Subscribe(msgspec.Struct, tag_field="type", tag="subscribe", frozen=True):
    id: str
    payload: Parameters


class _Complete(msgspec.Struct, tag_field="type", tag="complete", frozen=True):
    id: str


_Message = _Init | _Ping | _Pong | _Subscribe | _Complete
_decode = msgspec.json.Decoder(_Message).decode


class _Operation:
    """A query, mutation or subscription; it is in `_Socket._operations` until it ends."""

    def __init__(self, message: _Subscribe) -> None:
        self.id, self.parameters, self.place = message.id, message.payload, Place()
        self.subscription: OpenSubscription | None = None

    def end(self) -> None:
        """End a subscription. A query or mutation still runs to its end."""
        self.place.leave()
        if self.subscription:
            self.subscription.resources.close()


class _Closed(Exception):
    """The client has closed the socket (`code` is None), or the server must close it."""

    def __init__(self, code: int | None = None, reason: str = "") -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Sockets:
    def __init__(
        self,
        authenticator: Authenticator,
        cors: Cors,
        streams: Streams,
        run: Run,
        *,
        trusted_proxies: int = 0,
    ) -> None:
        self.authenticator, self.streams, self.run = authenticator, streams, run
        self._cors, self._trusted_proxies = cors, trusted_proxies
        self.rates: WeakValueDictionary[str, MessageRate] = WeakValueDictionary()  # by caller

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve an upgraded connection until it ends: this is an ASGI application."""
        headers: Headers = dict(scope["headers"])
        if scope["path"] != _PATH:
            await _reject(send, 404)
            return
        if not self._cors.allows_socket(headers):
            await _reject(send, 403)
            return
        with ExitStack() as resources:
            try:
                address = protocol.address(scope, self._trusted_proxies)
                resources.enter_context(self.streams.count_stranger(address))
            except Unavailable:
                await _reject(send, 503)
                return
            except RateLimited:
                await _reject(send, 429)
                return
            await receive()  # the request to open the socket
            await _Socket(self, scope, receive, send, resources).serve()


async def _reject(send: Send, status: int) -> None:
    await send({"type": "websocket.http.response.start", "status": status, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b""})


class _Socket:
    """An open socket. `resources` counts it: first as a stranger's, then as a caller's.

    `resources` is closed by the caller, after the socket's end.
    """

    def __init__(
        self, sockets: Sockets, scope: Scope, receive: Receive, send: Send, resources: ExitStack
    ) -> None:
        self._sockets, self._scope, self._resources = sockets, scope, resources
        self._receive, self._send_event = receive, send
        self._headers: Headers = dict(scope["headers"])
        self._operations: dict[str, _Operation] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Accept the socket, and serve it until the client or an error closes it."""
        subprotocol = _PROTOCOL if _PROTOCOL in self._scope["subprotocols"] else None
        try:
            await self._send_event({"type": "websocket.accept", "subprotocol": subprotocol})
            if subprotocol is None:
                raise _Closed(_BAD_PROTOCOL, f"expected the sub-protocol {_PROTOCOL}")
            await self._run_until_expiry(await self._authenticate(await self._receive_init()))
        except _Closed as closed:
            await self._close(closed)
        except OSError:
            pass  # the client has disconnected
        finally:
            for id_ in list(self._operations):
                self._end(id_)
            if self._tasks:  # queries and mutations, which have deadlines
                await asyncio.wait(self._tasks)

    async def _receive_init(self) -> _Init:
        try:
            async with asyncio.timeout(self._sockets.streams.limits.init):
                while not isinstance(message := await self._next(), _Init):
                    if isinstance(message, _Subscribe):
                        raise _Closed(_UNAUTHORIZED, "expected connection_init before subscribe")
                    await self._answer_ping(message)
        except TimeoutError:
            raise _Closed(_INIT_TIMEOUT, "expected connection_init") from None
        self._scope["state"]["has_init"] = True  # from here on, SocketProtocol admits more bytes
        return message

    async def _authenticate(self, init: _Init) -> Caller:
        """Return the caller, who has one socket more."""
        members = {name.lower(): value for name, value in (init.payload or {}).items()}
        header = self._headers.get(b"authorization", b"").decode("latin-1")
        authorization = str(members.get("authorization", header))
        try:
            caller = await self._sockets.authenticator.authenticate(authorization)
            self._resources.close()
            self._resources.enter_context(self._sockets.streams.count_connection())
            self._resources.enter_context(self._sockets.streams.count_socket(caller))
        except Unauthenticated as error:
            raise _Closed(_FORBIDDEN, str(error)) from None
        except RateLimited as error:
            raise _Closed(_TOO_MANY, str(error)) from None
        except Unavailable:
            raise _Closed(_TRY_AGAIN_LATER, protocol.UNAVAILABLE) from None
        rate = MessageRate(asyncio.get_running_loop().time())
        self._scope["state"]["rate"] = self._sockets.rates.setdefault(caller.user_id, rate)
        await self._send(b'{"type":"connection_ack"}')
        return caller

    async def _run_until_expiry(self, caller: Caller) -> None:
        try:
            async with asyncio.timeout(caller.expires_at - time.time()):
                while True:
                    await self._handle(await self._next(), caller)
        except TimeoutError:
            raise _Closed(_FORBIDDEN, "the token has expired: connect with a new one") from None

    async def _handle(self, message: _Message, caller: Caller) -> None:
        match message:
            case _Init():
                raise _Closed(_TOO_MANY, "expected one connection_init")
            case _Subscribe(id=id_) if id_ in self._operations:
                raise _Closed(_ID_IN_USE, f"Subscriber for {id_} already exists")
            case _Subscribe(id=id_):
                while len(self._tasks) >= _MAX_OPERATIONS:
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                operation = self._operations[id_] = _Operation(message)
                task = asyncio.create_task(self._run(operation, caller))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case _Complete():
                self._end(message.id)
            case _:
                await self._answer_ping(message)

    def _end(self, id_: str) -> None:
        """Send nothing more about an operation."""
        if operation := self._operations.pop(id_, None):
            operation.end()

    async def _run(self, operation: _Operation, caller: Caller) -> None:
        answer = await self._sockets.run(
            caller, operation.parameters, self._headers, operation.place
        )
        with contextlib.suppress(OSError):  # the client has disconnected
            if isinstance(answer, OpenSubscription):
                with answer.resources:
                    operation.subscription = answer
                    await self._send_results(operation, answer)
            elif answer.executed:
                await self._send_last(operation, b"next", protocol.body(answer))
            elif not self._sockets.streams.is_shutting_down:  # else, the client connects again
                await self._send_last(operation, b"error", orjson.dumps(answer.errors))

    async def _send_results(self, operation: _Operation, subscription: OpenSubscription) -> None:
        body = subscription.first
        try:
            while self._is_open(operation):
                if body:
                    await self._send_about(operation, b"next", body)
                body = await subscription.next_result()
        except StopAsyncIteration:
            operation.end()  # first, because the client may replace a subscription that it sees end
            if not self._sockets.streams.is_shutting_down:  # else, the client connects again
                await self._send_last(operation)
        except Unavailable:
            await self._close(_Closed(_TRY_AGAIN_LATER, protocol.UNAVAILABLE))

    def _is_open(self, operation: _Operation) -> bool:
        return self._operations.get(operation.id) is operation

    async def _send_last(self, operation: _Operation, kind: bytes = b"", body: bytes = b"") -> None:
        """Send the last message about an operation, unless the client has completed it."""
        if not self._is_open(operation):
            return
        del self._operations[operation.id]
        if kind:
            await self._send_about(operation, kind, body)
        if kind != b"error":
            await self._send_about(operation, b"complete")

    async def _send_about(self, operation: _Operation, kind: bytes, payload: bytes = b"") -> None:
        member = b',"payload":' + payload if payload else b""
        id_ = orjson.dumps(operation.id)
        await self._send(b'{"id":' + id_ + b',"type":"' + kind + b'"' + member + b"}")

    async def _answer_ping(self, message: _Message) -> None:
        if isinstance(message, _Ping):
            payload = b',"payload":' + orjson.dumps(message.payload) if message.payload else b""
            await self._send(b'{"type":"pong"' + payload + b"}")

    async def _next(self) -> _Message:
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            raise _Closed
        if "text" not in event:
            raise _Closed(_BAD_REQUEST, "expected a text message")
        try:
            message: _Message = _decode(event["text"])
        except (msgspec.DecodeError, RecursionError) as error:
            raise _Closed(_BAD_REQUEST, f"expected a message of {_PROTOCOL}: {error}") from None
        return message

    async def _send(self, message: bytes) -> None:
        await self._send_event({"type": "websocket.send", "text": message.decode()})

    async def _close(self, closed: _Closed) -> None:
        """Close the socket, unless the client has; if the client does not read, disconnect."""
        if closed.code is None:
            return
        reason = closed.reason.encode()[:_MAX_REASON].decode(errors="ignore")
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                event = {"type": "websocket.close", "code": closed.code, "reason": reason}
                await self._send_event(event)
        except TimeoutError:
            self._scope["state"]["abort"]()
        except OSError:
            pass  # the client has disconnected
