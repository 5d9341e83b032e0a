"""Admission control: an instance holds at most 32 MiB of request bodies, or one larger body.

A body beyond this limit is discarded in small pieces and rejected with 429, so that Pub/Sub
redelivers it. Without the limit, the framework would read every body into memory first.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import IO, Self, TypeVar

from flask import Request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped] # it ships no types
from werkzeug.exceptions import ClientDisconnected, ServiceUnavailable

from progress.adapters import request_deadlines, startup
from progress.adapters.pubsub import push_request
from progress.adapters.request_deadlines import BodyDeadline

_CAPACITY = 32 << 20
_MAX_BODY = 64 << 20  # The largest push has 14 MB: a message of 10 MB in base64.
_UNKNOWN_SIZE = 16 << 20  # Reserved for a body without a Content-Length.
_READ_SIZE, _DISCARD_SIZE = 1 << 20, 64 << 10  # Bytes per read.
_LARGE_BYTES, _LARGE_AT_ONCE = 1_000_000, 2  # of bodies that are decoded at a time
_TURN_S = 10.0  # for which another one waits
_BROKEN = (OSError, ParseException, ClientDisconnected)  # of a body that does not arrive whole

_T = TypeVar("_T")
Handler = Callable[[Request, bytearray, float], _T]  # takes the body and its arrival time


class Admission:
    """The memory for request bodies.

    A body larger than this memory is admitted only if no other request has reserved memory.
    """

    def __init__(
        self, capacity: int = _CAPACITY, timeout_s: float = request_deadlines.BODY_TIMEOUT_S
    ) -> None:
        self._capacity = capacity
        self._body_deadline = BodyDeadline(timeout_s)
        self._reserved = 0
        self._mutex = threading.Lock()
        self._decoding = threading.Condition()
        self._senders: set[str] = set()  # of the large bodies that are being decoded

    def admit(
        self, request: Request, handler: Handler[_T], most: int = _MAX_BODY, sender: str = ""
    ) -> _T | int:
        """Return what `handler` returns, or the status that rejects the body.

        429: the memory is exhausted, or too many bodies are slow (BodyDeadline). 413: the body has
        more than `most` bytes. 405: the method is neither POST nor GET (the health check). 408: the
        body is late or incomplete. 400: its chunks are malformed.
        """
        arrived = time.monotonic()
        with _Reservation(self) as reservation:
            body = self._receive(request, reservation, most, sender)
            if isinstance(body, int):
                return body
            if request.method == "GET":
                return startup.status(request.path)
            return handler(request, body, arrived)

    def decode(self, body: bytearray, sender: str, parse: Callable[..., _T], *rest: object) -> _T:
        """Return `parse(body, *rest)`; raise ServiceUnavailable if others take too long.

        At most two large bodies are decoded at a time, and one of each sender.
        """
        if len(body) <= _LARGE_BYTES:
            return parse(body, *rest)
        with self._decoding:
            if not self._decoding.wait_for(
                lambda: len(self._senders) < _LARGE_AT_ONCE and sender not in self._senders, _TURN_S
            ):
                raise ServiceUnavailable
            self._senders.add(sender)
        try:
            return parse(body, *rest)
        finally:
            with self._decoding:
                self._senders.remove(sender)
                self._decoding.notify_all()

    def resize(self, old: int, new: int) -> bool:
        """Change a reservation; return False, without a change, if too little memory is left."""
        with self._mutex:
            others = self._reserved - old
            if new > old and others and others + new > self._capacity:
                return False
            self._reserved = others + new
        return True

    def discard(self, request: Request) -> None:
        with contextlib.suppress(*_BROKEN), self._body_deadline.limit(request):
            while request.stream.read(_DISCARD_SIZE):
                pass

    def _receive(
        self, request: Request, reservation: "_Reservation", most: int, sender: str
    ) -> bytearray | int:
        """Return the body, or discard it and return the status that rejects it."""
        length = request.content_length
        expected = length or 0
        if length is None and "Transfer-Encoding" in request.headers:
            expected = _UNKNOWN_SIZE
        with self._body_deadline.limit(request, expected, sender) as arrival:
            try:
                status = push_request.reject(request.method)
                if not status and length is not None and expected > most:
                    status = 413
                body = status or _read(request.stream, expected, reservation, most)
                if isinstance(body, int):
                    reservation.resize(0)
                    if arrival is not None:
                        arrival.size = 0
                    with contextlib.suppress(*_BROKEN):
                        while request.stream.read(_DISCARD_SIZE):
                            pass
                elif len(body) < (length or 0):
                    raise ClientDisconnected
            except _BROKEN as error:
                if arrival is not None and arrival.is_refused:
                    return 429
                is_late = arrival is not None and arrival.deadline <= time.monotonic()
                return 400 if isinstance(error, ParseException) and not is_late else 408
        return body


class _Reservation:
    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._size = 0

    def resize(self, size: int) -> bool:
        """Change the size; return False, without a change, if too little memory is left."""
        if not self._admission.resize(self._size, size):
            return False
        self._size = size
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.resize(0)


def _read(
    stream: IO[bytes], expected: int, reservation: _Reservation, most: int
) -> bytearray | int:
    """Return the body, 413 if it exceeds the limit, or 429 if the memory is exhausted."""
    if not reservation.resize(expected):
        return 429
    body = bytearray()
    while piece := stream.read(_READ_SIZE):
        body += piece
        if len(body) > most:
            return 413
        if len(body) > expected and not reservation.resize(len(body)):
            return 429
    return body
