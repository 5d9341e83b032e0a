"""A connection to Redis for a thread that waits for the replies.

redis-py does more, and takes a function 130 ms to import: most of its start.
"""

import select
import socket
import time
import weakref
from collections.abc import Sequence

from progress.adapters.redis import resp
from progress.adapters.redis.resp import Command, ErrorReply, Reply
from progress.adapters.redis.url import Address

_LOADING = "LOADING"  # it has just been started, and answers nothing else yet


class RedisSocket:
    """One connection; of no use any more once it has raised OSError."""

    def __init__(self, at: Address, *, seconds: float) -> None:
        self._greeting: Sequence[Command] = at.greeting
        self._wire = _opened(at, seconds)
        weakref.finalize(self, self._wire.close)

    @property
    def is_open(self) -> bool:
        """Whether Redis has not closed it; where nothing is asked, nothing else is to be read."""
        poll = select.poll()
        poll.register(self._wire, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """End it."""
        self._wire.close()

    def ask(self, commands: Sequence[Command], *, seconds: float) -> list[Reply]:
        """The replies in their order, within that time; OSError where they do not come."""
        greeting, self._greeting = self._greeting, ()
        try:
            replies = self._replies([*greeting, *commands], time.monotonic() + seconds)
            _check(replies, len(greeting))
        except (OSError, ValueError, RecursionError) as fault:
            self.close()
            raise OSError(f"Redis does not answer: {fault}") from fault
        return replies[len(greeting) :]

    def _replies(self, commands: Sequence[Command], deadline: float) -> list[Reply]:
        self._wire.settimeout(_left(deadline))
        self._wire.sendall(resp.encoded(commands))
        replies: list[Reply] = []
        data, at = b"", 0
        while len(replies) < len(commands):
            try:
                reply, at = resp.read(data, at)
            except resp.Incomplete:
                self._wire.settimeout(_left(deadline))
                more = self._wire.recv(65_536)
                if not more:
                    raise ConnectionResetError("the connection was closed") from None
                data, at = data[at:] + more, 0
            else:
                replies.append(reply)
        return replies


def _opened(at: Address, seconds: float) -> socket.socket:
    if at.path is not None:
        wire = socket.socket(socket.AF_UNIX)
        wire.settimeout(seconds)
        try:
            wire.connect(at.path)
        except OSError:
            wire.close()
            raise
        return wire
    wire = socket.create_connection((at.host, at.port), seconds)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if at.tls:
        return at.tls.wrap_socket(wire, server_hostname=at.host)
    return wire


def _left(deadline: float) -> float:
    return max(0.001, deadline - time.monotonic())


def _check(replies: Sequence[Reply], greetings: int) -> None:
    """OSError where Redis does not take us in, or takes nothing in yet."""
    for number, reply in enumerate(replies):
        if isinstance(reply, ErrorReply) and (
            number < greetings or reply.text.startswith(_LOADING)
        ):
            raise ConnectionRefusedError(reply.text)
