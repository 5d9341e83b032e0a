"""Open sockets to the query function, and speak `graphql-transport-ws`."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from progress.serve import ports
from tests.support import token_issuer

Message = dict[str, Any]
Closed = tuple[int, str]  # the close frame's code and reason

TIMEOUT_S = 60  # the longest wait for one message
PROTOCOL = "graphql-transport-ws"


class Socket:
    def __init__(
        self,
        port: int,
        user: str | None = "ann",
        *,
        token: str | None = None,
        path: str = "/graphql",
        protocol: str | None = PROTOCOL,
        origin: str | None = None,
        headers: dict[str, str] | None = None,
        **claims: Any,
    ) -> None:
        """Open a socket. Authenticate as `user`, or with `token`; do not if both are None."""
        self._resources = ExitStack()
        self.connection: ClientConnection = self._resources.enter_context(
            connect(
                f"ws://{ports.HOST}:{port}{path}",
                open_timeout=TIMEOUT_S,
                subprotocols=[Subprotocol(protocol)] if protocol else None,
                origin=Origin(origin) if origin else None,
                additional_headers=headers,
                max_size=None,
            )
        )
        if user is not None or token is not None:
            self.init(token or token_issuer.token(user or "", **claims))

    def init(self, token: str) -> None:
        """Authenticate; this does not wait for the acknowledgement."""
        self.send("connection_init", payload={"Authorization": f"Bearer {token}"})

    def send(self, type_: str, **members: Any) -> None:
        self.connection.send(json.dumps({"type": type_, **members}))

    def subscribe(self, id_: str, query: str, /, **variables: Any) -> None:
        self.send("subscribe", id=id_, payload={"query": query, "variables": variables})

    def receive(self) -> Message:
        message: Message = json.loads(self.connection.recv(TIMEOUT_S))
        return self.receive() if message == {"type": "connection_ack"} else message

    def next_value(self, id_: str) -> Any:
        message = self.receive()
        assert (message["id"], message["type"]) == (id_, "next")
        assert "errors" not in message["payload"], message
        (value,) = message["payload"]["data"].values()
        return value

    def next_code(self, id_: str) -> str:
        message = self.receive()
        assert (message["id"], message["type"]) == (id_, "error")
        (error,) = message["payload"]
        code: str = error["extensions"]["code"]
        return code

    def read_to_end(self) -> Closed:
        try:
            while True:
                self.connection.recv(TIMEOUT_S)
        except ConnectionClosed as closed:
            frame = closed.rcvd
            return (frame.code, frame.reason) if frame else (1006, "")

    def close(self) -> None:
        self._resources.close()


OpenSocket = Callable[..., Socket]


@pytest.fixture
def open_socket() -> Iterator[OpenSocket]:
    with ExitStack() as opened:
        yield lambda *args, **options: opened.enter_context(closing(Socket(*args, **options)))


class RawSocket:
    """A socket whose client reads nothing, and answers no ping, by itself."""

    def __init__(self, port: int, user: str = "ann") -> None:
        self.connection = socket.socket()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.connection.settimeout(TIMEOUT_S)
        self.connection.connect((ports.HOST, port))
        self.connection.sendall(upgrade(f"{ports.HOST}:{port}"))
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += self.connection.recv(1)
        assert received.startswith(b"HTTP/1.1 101 "), received
        authorization = {"Authorization": f"Bearer {token_issuer.token(user)}"}
        self.send({"type": "connection_init", "payload": authorization})

    def send(self, message: Message) -> None:
        self.connection.sendall(frame(json.dumps(message).encode()))

    def close(self) -> None:
        self.connection.close()


def upgrade(host: str) -> bytes:
    head = (
        f"GET /graphql HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n"
    )
    return head.encode()


def frame(data: bytes, opcode: int = 1, *, final: bool = True, length: int | None = None) -> bytes:
    """Return a client's frame with a mask of zeros.

    The frame may say another length than that of its data.
    """
    size = len(data) if length is None else length
    first = bytes([opcode | (0x80 if final else 0)])
    if size < 126:
        return first + bytes([0x80 | size]) + bytes(4) + data
    if size < 1 << 16:
        return first + b"\xfe" + size.to_bytes(2, "big") + bytes(4) + data
    return first + b"\xff" + size.to_bytes(8, "big") + bytes(4) + data
