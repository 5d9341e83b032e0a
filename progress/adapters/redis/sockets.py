"""A blocking connection to Redis.

redis-py is not used: its import takes 130 ms, which would be most of a function's start-up time.
"""

import select
import socket
import time
import weakref
from collections.abc import Sequence

from progress.adapters.redis import resp
from progress.adapters.redis.resp import Command, ErrorReply, Reply
from progress.adapters.redis.url import Address

_LOADING = "LOADING"  # while Redis loads its data, its error replies begin with this word


class RedisSocket:
    """A connection to Redis. A method that raises OSError closes the connection first."""

    def __init__(self, address: Address, *, seconds: float) -> None:
        self._handshake: Sequence[Command] = address.handshake
        self._socket = _open_socket(address, seconds)
        weakref.finalize(self, self._socket.close)

    @property
    def is_open(self) -> bool:
        """Return whether the idle connection is still open.

        If Redis closes the connection, the socket becomes readable.
        """
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def run(self, commands: Sequence[Command], *, seconds: float) -> list[Reply]:
        """Return the replies in order; raise OSError if they do not arrive in time."""
        handshake, self._handshake = self._handshake, ()
        try:
            replies = self._exchange([*handshake, *commands], time.monotonic() + seconds)
            _check_replies(replies, len(handshake))
        except (OSError, ValueError, RecursionError) as error:
            self.close()
            raise OSError(f"Redis is unavailable: {error}") from error
        return replies[len(handshake) :]

    def _exchange(self, commands: Sequence[Command], deadline: float) -> list[Reply]:
        self._socket.settimeout(_remaining(deadline))
        self._socket.sendall(resp.encode(commands))
        replies: list[Reply] = []
        data, at = b"", 0
        while len(replies) < len(commands):
            try:
                reply, at = resp.read(data, at)
            except resp.Incomplete:
                self._socket.settimeout(_remaining(deadline))
                more = self._socket.recv(65_536)
                if not more:
                    raise ConnectionResetError("the connection was closed") from None
                data, at = data[at:] + more, 0
            else:
                replies.append(reply)
        return replies


def _open_socket(address: Address, seconds: float) -> socket.socket:
    if address.path is not None:
        unix = socket.socket(socket.AF_UNIX)
        unix.settimeout(seconds)
        try:
            unix.connect(address.path)
        except OSError:
            unix.close()
            raise
        return unix
    tcp = socket.create_connection((address.host, address.port), seconds)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if address.tls:
        return address.tls.wrap_socket(tcp, server_hostname=address.host)
    return tcp


def _remaining(deadline: float) -> float:
    return max(0.001, deadline - time.monotonic())


def _check_replies(replies: Sequence[Reply], handshake_size: int) -> None:
    """Raise OSError if Redis rejects the handshake or is still loading its data."""
    for number, reply in enumerate(replies):
        if isinstance(reply, ErrorReply) and (
            number < handshake_size or reply.text.startswith(_LOADING)
        ):
            raise ConnectionRefusedError(reply.text)
