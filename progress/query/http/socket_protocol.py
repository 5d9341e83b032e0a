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

_MAX_FRAGMENTS = 1_000  # of a message; the size limit does not count empty fragments


class SocketProtocol(StallLimit, WebSocketsSansIOProtocol):
    """A connection that calls `application`, because the framework's own routes serve only HTTP."""

    def __init__(self, application: ASGIApp, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.app = application

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated:  # a line of the head is too long for websockets
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) < _MAX_FRAGMENTS:
            super().handle_cont(event)
        else:
            self._fail(CloseCode.MESSAGE_TOO_BIG, f"over {_MAX_FRAGMENTS} fragments")

    def send_receive_event_to_app(self) -> None:
        """Pass a message on, unless it is text that is not UTF-8: uvicorn would log an error."""
        try:
            if self.curr_msg_data_type == "text":
                b"".join(self.frames).decode()
        except UnicodeDecodeError:
            self._fail(CloseCode.INVALID_DATA, "expected UTF-8")
        else:
            super().send_receive_event_to_app()

    def _fail(self, code: CloseCode, reason: str) -> None:
        if not self.close_sent:
            self.conn.fail(code, reason)
            self.handle_parser_exception()

    def handle_ping(self) -> None:
        """Answer a ping. A client that does not read gets no more answers."""
        output = b"".join(self.conn.data_to_send())
        if self.writable.is_set():
            self.transport.write(output)

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
