"""RESP2, the language of Redis: commands as it reads them, and its replies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

_END, _LONGEST = b"\r\n", 65_536
_SHORT = 512
_SIZES = [b"$%d\r\n" % size for size in range(_SHORT)]  # formatted once: half of the time
_BULK, _INTEGER, _LINE, _ERROR, _ARRAY = b"$:+-*"

Command = Sequence[bytes | str | int]
Reply: TypeAlias = "bytes | int | list[Reply] | ErrorReply | None"


@dataclass(frozen=True)
class ErrorReply:
    """What Redis answers to a command that it does not carry out."""

    text: str


class Incomplete(Exception):
    """The rest of a reply is on its way."""


def encoded(commands: Sequence[Command]) -> bytes:
    """The commands as Redis reads them."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for argument in command:
            value = argument if type(argument) is bytes else str(argument).encode()
            size = len(value)
            parts += (_SIZES[size] if size < _SHORT else b"$%d\r\n" % size, value, _END)
    return b"".join(parts)


def named(commands: Sequence[Command]) -> str:
    """The operation that it is to carry out, as a span calls it."""
    return str(commands[0][0]) if len(commands) == 1 else "PIPELINE"


def read(data: bytes, at: int) -> tuple[Reply, int]:
    """The reply that begins there, and where the next one does; ValueError if it is none."""
    end = data.find(_END, at)
    if end < 0:
        if len(data) - at > _LONGEST:
            raise ValueError("a line without an end")
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
    return (line, at) if mark == _LINE else _rare(mark, line, data, at)


def _rare(mark: int, line: bytes, data: bytes, at: int) -> tuple[Reply, int]:
    if mark == _ERROR:
        return ErrorReply(line.decode(errors="replace")), at
    if mark != _ARRAY:
        raise ValueError(f"expected a reply - found {mark:#04x}")
    count = int(line)
    found: list[Reply] = []
    for _ in range(count):
        reply, at = read(data, at)
        found.append(reply)
    return (found if count >= 0 else None), at
