"""Admission: an instance works on at most 32 MiB of request bodies at a time.

A body that finds no room is discarded in small pieces and answered 429, so that Pub/Sub delivers
it again. Without that, the framework would read all of it into memory before it answers.
"""

import contextlib
import ctypes
import functools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, Self

from flask import Request
from flask.typing import ResponseReturnValue
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped] # it ships no types
from werkzeug.exceptions import ClientDisconnected

from progress.adapters import startup

_ROOM = 32 << 20
_MAX_BODY = 64 << 20  # a push is at most 14 MB: 10 MB, the limit of a message, in base64
_UNKNOWN = 16 << 20  # of a body whose length is not told
_KEPT, _DISCARDED = 1 << 20, 64 << 10  # bytes that are read at once
_LARGE = 1 << 20  # the memory of larger bodies is given back at once
_SECONDS = 15.0  # for a body to arrive

Work = Callable[[Request, bytearray, float], int]  # of a body; the time is its arrival's

_LIBC = ctypes.CDLL(None)
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8


class Admission:
    """Room for the bodies that are worked on; one that is larger than all of it gets it alone."""

    def __init__(self, room: int = _ROOM, seconds: float = _SECONDS) -> None:
        self._room = room
        self._seconds = seconds
        self._taken = 0
        self._mutex = threading.Lock()
        _keep_little()

    def admitting(self, work: Work) -> Callable[[Request], ResponseReturnValue]:
        """The function that lets requests in to `work`."""

        @functools.wraps(work)
        def answer(request: Request) -> ResponseReturnValue:
            status = self.admit(request, work)
            return "", status, {"Allow": "GET, POST"} if status == 405 else {}

        return answer

    def admit(self, request: Request, work: Work) -> int:
        """Return the status of `work`, or of the refusal of the body.

        429: there is no room for it. 413: it is over 64 MiB. 405: the method is neither POST nor
        GET, which a health check uses. ClientDisconnected (400): it does not arrive whole and in
        time, or its chunks are malformed.
        """
        arrived = time.monotonic()
        with _Share(self) as share:
            try:
                body = self._receive(request, share)
            except (OSError, ParseException) as error:
                raise ClientDisconnected from error
            if isinstance(body, int):
                return body
            if request.method == "GET":
                return startup.status(request.path)
            return work(request, body, arrived)

    def resize(self, old: int, new: int) -> bool:
        """Make a share larger or smaller; False if it would be too large beside the others."""
        with self._mutex:
            others = self._taken - old
            if new > old and others and others + new > self._room:
                return False
            self._taken = others + new
        return True

    def _receive(self, request: Request, share: "_Share") -> bytearray | int:
        """Return the body, or the status of its refusal once all of it is read and discarded."""
        length = request.content_length
        expected = length or 0
        if length is None and "Transfer-Encoding" in request.headers:
            expected = _UNKNOWN
        with _hung_up_after(self._seconds if expected > _DISCARDED else None, request):
            body = _refuse(request, expected) or _read(request.stream, expected, share)
            if isinstance(body, int):
                share.resize(0)
                while request.stream.read(_DISCARDED):
                    pass
            elif len(body) < (length or 0):
                raise ClientDisconnected
        return body


class _Share:
    """The room that one request has."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._size = 0

    def resize(self, size: int) -> bool:
        """False, and nothing changes, if there is no room."""
        if not self._admission.resize(self._size, size):
            return False
        self._size = size
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._size > _LARGE:
            _trim()
        self.resize(0)


def _refuse(request: Request, size: int) -> int | None:
    """Return the status that refuses the request before its body is read, or None."""
    if request.method not in ("GET", "POST"):
        return 405
    return 413 if size > _MAX_BODY else None


def _read(stream: IO[bytes], expected: int, share: _Share) -> bytearray | int:
    """Return the body, or 413 or 429 if it outgrows the limit or its share."""
    if not share.resize(expected):
        return 429
    body = bytearray()
    while piece := stream.read(_KEPT):
        body += piece
        if len(body) > _MAX_BODY:
            return 413
        if len(body) > expected and not share.resize(len(body)):
            return 429
    return body


@contextlib.contextmanager
def _hung_up_after(seconds: float | None, request: Request) -> Iterator[None]:
    """Whatever is still to be read after so many seconds is missing: the server waits for ever."""
    wire = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")
    if seconds is None or wire is None:
        yield
        return
    timer = threading.Timer(seconds, _hang_up, [wire])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _hang_up(wire: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may be closed
        wire.shutdown(socket.SHUT_RD)


def _trim() -> None:
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)


def _keep_little() -> None:
    """Have glibc give back what is freed: large blocks at once, and few arenas for all threads."""
    if hasattr(_LIBC, "mallopt"):
        _LIBC.mallopt(_M_MMAP_THRESHOLD, 128 << 10)
        _LIBC.mallopt(_M_ARENA_MAX, 2)
