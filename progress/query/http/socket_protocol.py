"""A socket's connection in uvicorn: frames within limits, pings, and an end in bounded time.

uvicorn pings each client, and closes a socket whose client does not answer.
"""

from typing import Any

from starlette.types import ASGIApp
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

from progress.query.http.stall_limit import StallLimit
from progress.query.http.turns import InTurns, MessageRate

_MAX_FRAGMENTS = 1_000  # of a message; the size limit does not count empty fragments
_MAX_CONTROL_FRAMES = 100  # between two pings of the server; clients send one or two
_MAX_BYTES = 64 << 10  # before `connection_init`, as of the head of a request
_TOO_MANY = 4429


class SocketProtocol(InTurns, StallLimit, WebSocketsSansIOProtocol):
    """A connection that calls `application`, because the framework's own routes serve only HTTP."""

    def __init__(self, application: ASGIApp, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.app = application
        self._bytes = self._control_frames = 0

    def data_received(self, data: bytes) -> None:
        """Parse the head at once, and what follows in turns."""
        if self.handshake_initiated:
            super().data_received(data)
        else:
            self.parse(data)

    def parse_part(self, most: int) -> int:
        """Parse a part, unless the caller has sent too many messages in this second."""
        rate = None if self.is_ended() else self._rate()
        if rate and (seconds := rate.pause(self.loop.time())):
            if not rate.is_exceeded():
                self.is_waiting = False
                self.loop.call_later(seconds, self.turns.add, self)
                return 0
            self._fail(_TOO_MANY, "over 100 messages a second for ten seconds")
        return super().parse_part(most)

    def parse(self, data: bytes) -> None:
        super().parse(data)
        self._bytes += len(data)
        if not self.handshake_initiated:  # a line of the head is too long for websockets
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()
        elif self._bytes > _MAX_BYTES and not self.scope["state"].get("has_init"):
            self._fail(CloseCode.POLICY_VIOLATION, f"over {_MAX_BYTES} bytes, no connection_init")

    def pause(self) -> None:
        self.read_paused = False  # uvicorn would read on once the application has received all
        super().pause()

    def resume(self) -> None:
        """Read on; if the application has not received all, uvicorn does so later."""
        self.read_paused = not (self.queue.empty() or self.close_sent)
        if self.read_paused:
            self.transport.pause_reading()
        else:
            super().resume()

    def _rate(self) -> MessageRate | None:
        """Return the rate of the caller, once the caller is known."""
        return self.scope["state"].get("rate")

    def _count_message(self) -> None:
        if rate := self._rate():
            rate.count()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) < _MAX_FRAGMENTS:
            super().handle_cont(event)
        else:
            self._fail(CloseCode.MESSAGE_TOO_BIG, f"over {_MAX_FRAGMENTS} fragments")

    def send_receive_event_to_app(self) -> None:
        """Pass a message on, unless it is text that is not UTF-8: uvicorn would log an error."""
        self._count_message()
        try:
            if self.curr_msg_data_type == "text":
                b"".join(self.frames).decode()
        except UnicodeDecodeError:
            self._fail(CloseCode.INVALID_DATA, "expected UTF-8")
        else:
            super().send_receive_event_to_app()

    def _fail(self, code: int, reason: str) -> None:
        """Close the socket; end the connection of a client that goes on after that."""
        if self.close_sent:
            self.transport.abort()
            return
        self.conn.fail(code, reason)
        self.handle_parser_exception()

    def handle_ping(self) -> None:
        """Answer a ping. A client that does not read gets no more answers."""
        output = b"".join(self.conn.data_to_send())
        if self.writable.is_set():
            self.transport.write(output)
        self._count_control_frame()

    def handle_pong(self, event: Frame) -> None:
        super().handle_pong(event)
        self._count_control_frame()

    def _count_control_frame(self) -> None:
        self._count_message()
        self._control_frames += 1
        if self._control_frames > _MAX_CONTROL_FRAMES:
            self._fail(CloseCode.POLICY_VIOLATION, f"over {_MAX_CONTROL_FRAMES} control frames")

    def send_keepalive_ping(self) -> None:
        self._control_frames = 0
        super().send_keepalive_ping()

    def shutdown(self) -> None:
        """Close the socket; end the connection even if its client does not read the rest."""
        super().shutdown()
        self.loop.call_later(self.stall_s, self.transport.abort)

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message; raise ClientDisconnected also after uvicorn has closed the socket."""
        await self.writable.wait()
        if self.close_sent:
            raise ClientDisconnected
        await super().send(message)
        self.handshake_complete |= self.close_sent  # uvicorn would log each refusal as an error
