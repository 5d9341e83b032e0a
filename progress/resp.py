"""RESP2, the language of Redis: commands as it reads them, and its replies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

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
            value = argument if isinstance(argument, bytes) else str(argument).encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(value), value))
    return b"".join(parts)


def read(data: bytes, at: int) -> tuple[Reply, int]:
    """The reply that begins there, and where the next one does; ValueError if it is none."""
    end = data.find(b"\r\n", at)
    if end < 0:
        if len(data) - at > 65_536:
            raise ValueError("a line without an end")
        raise Incomplete
    mark, line, at = data[at : at + 1], data[at + 1 : end], end + 2
    if mark == b"$":
        return _bulk(data, at, int(line))
    if mark == b":":
        return int(line), at
    if mark == b"+":
        return line, at
    if mark == b"*":
        return _array(data, at, int(line))
    if mark != b"-":
        _refuse(mark)
    return ErrorReply(line.decode(errors="replace")), at


def _bulk(data: bytes, at: int, length: int) -> tuple[Reply, int]:
    if length < 0:
        return None, at
    end = at + length
    if len(data) < end + 2:
        raise Incomplete
    if data[end : end + 2] != b"\r\n":
        _refuse(data[end : end + 2])
    return data[at:end], end + 2


def _array(data: bytes, at: int, count: int) -> tuple[Reply, int]:
    if count < 0:
        return None, at
    found: list[Reply] = []
    for _ in range(count):
        reply, at = read(data, at)
        found.append(reply)
    return found, at


def _refuse(found: bytes) -> NoReturn:
    raise ValueError(f"expected a reply - found {found!r}")
