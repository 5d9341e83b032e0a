"""RESP2, the protocol of Redis: encode commands and read replies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

_END, _MAX_LINE_BYTES = b"\r\n", 65_536
_SHORT = 512
_SIZES = [
    b"$%d\r\n" % size for size in range(_SHORT)
]  # computed once, because formatting them would take 50 % of the time of `encode`
_BULK, _INTEGER, _LINE, _ERROR, _ARRAY = b"$:+-*"

Command = Sequence[bytes | str | int]
Reply: TypeAlias = "bytes | int | list[Reply] | ErrorReply | None"


@dataclass(frozen=True)
class ErrorReply:
    """Redis's reply to a command that failed."""

    text: str


class Incomplete(Exception):
    """The rest of a reply has not arrived yet."""


def encode(commands: Sequence[Command]) -> bytes:
    """Encode the commands for Redis."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for argument in command:
            value = argument if type(argument) is bytes else str(argument).encode()
            size = len(value)
            parts += (_SIZES[size] if size < _SHORT else b"$%d\r\n" % size, value, _END)
    return b"".join(parts)


def operation_name(commands: Sequence[Command]) -> str:
    """Return the value of the span attribute `db.operation.name`."""
    return str(commands[0][0]) if len(commands) == 1 else "PIPELINE"


def read(data: bytes, at: int) -> tuple[Reply, int]:
    """Return the reply at `at` and the position after it.

    Raise Incomplete if the end of the reply is missing, and ValueError if the reply is invalid.
    """
    end = data.find(_END, at)
    if end < 0:
        if len(data) - at > _MAX_LINE_BYTES:
            raise ValueError("expected an end of line - found none")
        raise Incomplete
    mark, line, at = data[at], data[at + 1 : end], end + 2
    if mark == _BULK:
        end = at + int(line)
        if end < at:
            return None, at
        if len(data) < end + 2:
            raise Incomplete
        if data[end : end + 2] != _END:
            raise ValueError(f"expected an end of line - found {data[end : end + 2]!r}")
        return data[at:end], end + 2
    if mark == _INTEGER:
        return int(line), at
    return (line, at) if mark == _LINE else _read_rare(mark, line, data, at)


def _read_rare(mark: int, line: bytes, data: bytes, at: int) -> tuple[Reply, int]:
    if mark == _ERROR:
        return ErrorReply(line.decode(errors="replace")), at
    if mark != _ARRAY:
        raise ValueError(f"expected a reply - found {mark:#04x}")
    count = int(line)
    replies: list[Reply] = []
    for _ in range(count):
        reply, at = read(data, at)
        replies.append(reply)
    return (replies if count >= 0 else None), at
