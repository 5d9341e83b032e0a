"""A deadline for request bodies, because the server itself would wait for ever.

One thread watches all bodies, because starting a thread for each body takes more than 100 µs.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from flask import Request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped] # it ships no types
from werkzeug.exceptions import ClientDisconnected

TIMEOUT_S = 15.0


class BodyDeadline:
    """Shut down the receiving side of a request's socket if the body has not arrived in time."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._pending: dict[object, tuple[float, socket.socket]] = {}  # earliest deadline first
        self._mutex = threading.Lock()
        # Started with the first body, because an earlier thread would not survive Gunicorn's fork.
        self._watcher: threading.Thread | None = None

    def read(self, request: Request) -> bytes:
        """Return the body; raise ClientDisconnected (400) if it is late, incomplete or invalid."""
        try:
            with self.limit(request):
                body = request.get_data()
        except (OSError, ParseException) as error:
            raise ClientDisconnected from error
        if len(body) < (request.content_length or 0):
            raise ClientDisconnected
        return body

    @contextlib.contextmanager
    def limit(self, request: Request) -> Iterator[None]:
        """Shut down the socket's receiving side if the block has not read the body in time."""
        environ = request.environ
        connection = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
        if connection is None:
            yield
            return
        key = object()
        with self._mutex:
            self._pending[key] = time.monotonic() + self._timeout_s, connection
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, daemon=True)
                self._watcher.start()
        try:
            yield
        finally:
            with self._mutex:  # from here on the socket may carry the next request
                self._pending.pop(key, None)

    def _watch(self) -> None:
        while True:
            with self._mutex:
                pause = self._stop_late()
            time.sleep(pause)

    def _stop_late(self) -> float:
        """Stop receiving on the overdue sockets; return the seconds until the next deadline."""
        now = time.monotonic()
        while self._pending:
            key, (deadline, connection) = next(iter(self._pending.items()))
            if deadline > now:
                return deadline - now
            del self._pending[key]
            with contextlib.suppress(OSError):  # the client may have closed the socket
                connection.shutdown(socket.SHUT_RD)
        return self._timeout_s
