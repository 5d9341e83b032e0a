"""Limits for requests in gunicorn: a maximum size and a deadline of heads, a deadline of bodies.

By default, gunicorn reads heads in the threads that run the function. Each connection with an
incomplete head then occupies a thread for as long as it stays open. Here, the worker's main thread
collects the heads, and a connection gets a thread only once its head is complete.

The Functions Framework reads neither gunicorn's configuration file nor GUNICORN_CMD_ARGS, so only
code can set these limits.
"""

import collections
import contextlib
import functools
import io
import json
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import functions_framework
from flask import Request
from functions_framework._http import gunicorn
from gunicorn import util  # type: ignore[import-untyped] # no types
from gunicorn.http.errors import (  # type: ignore[import-untyped] # no types
    LimitRequestHeaders,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped] # no types
from werkzeug.exceptions import ClientDisconnected

TIMEOUT_S = 10.0
BODY_TIMEOUT_S = 15.0

_SLOW_S = 0.25
_MOST_SLOW = 32  # less than half of the threads
_SLOW_BYTES = 20 << 20  # of the 32 MiB that ingest reserves for bodies; two of the largest posts

_MAX_BYTES = 64 << 10  # the same limit as in the query function
_MAX_LINE_BYTES = 8_190  # the largest limit that gunicorn accepts; a longer line gets 414
_MAX_DRAINED_BYTES = 64 << 10
_READ_BYTES = 8 << 10
# The end of a head, or an LF without a CR, which gunicorn rejects immediately.
_END = re.compile(rb"\r\n\r\n|(?<!\r)\n")


class HeadWorker(ThreadWorker):  # type: ignore[misc] # the base class has no types
    """A worker whose threads get a connection only once a complete head has arrived.

    Its methods run in the main thread. The base class closes a connection in `pending_conns` or
    `keepalived_conns` after the connection's `timeout`; both have the earliest timeout first.
    """

    timeout_s = TIMEOUT_S

    def enqueue_req(self, conn: TConn) -> None:
        """Submit a connection to a thread, as soon as its head is complete."""
        conn.init()
        conn.sock.setblocking(False)
        if act := self._read_head(conn, searched=0):
            act(conn)
            return
        conn.timeout = time.monotonic() + self.timeout_s
        self.pending_conns.append(conn)
        wake = functools.partial(self.on_pending_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, wake)

    def on_pending_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Read more of a head. The connection's timeout stays the same."""
        searched = conn.parser.unreader.buf.seek(0, io.SEEK_END)
        if act := self._read_head(conn, searched):
            self.poller.unregister(client)
            self.pending_conns.remove(conn)
            act(conn)

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Ignore an offer of another protocol (RFC 9110, section 7.8); Flask refuses WebSockets."""
        for name, value in req.headers:  # gunicorn would pass on a body in another coding as it is
            if name == "TRANSFER-ENCODING" and value.lower() != "chunked":
                raise UnsupportedTransferCoding(value)
        req.headers = [line for line in req.headers if line[0] != "UPGRADE"]
        return super().handle_request(req, conn)

    def finish_request(self, conn: TConn, response: Future[Any]) -> None:
        """Keep the connection for its next request, or close it."""
        if response.cancelled() or response.exception() or response.result():
            super().finish_request(conn, response)
        else:
            self._begin_close(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Close idle connections soon, because the worker stops."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    def _read_head(self, conn: TConn, searched: int) -> Callable[[TConn], None] | None:
        """Read what has arrived; return the next step, or None if the head is incomplete.

        The first `searched` bytes of the head do not contain its end.
        """
        buffered = conn.parser.unreader.buf
        try:
            data = conn.sock.recv(_READ_BYTES)
        except BlockingIOError:
            data = None
        except OSError:
            data = b""
        buffered.seek(0, io.SEEK_END)
        buffered.write(data or b"")
        head = buffered.getvalue()
        is_long_line = len(head) > _MAX_LINE_BYTES + 4 and head.find(b"\r\n", 2) < 0
        if is_long_line or _END.search(head, max(0, searched - 3)):
            return super().enqueue_req  # type: ignore[no-any-return] # see above
        if data == b"":
            return self._close
        return self._reject if len(head) > _MAX_BYTES else None

    def _reject(self, conn: TConn) -> None:
        error = LimitRequestHeaders(f"expected at most {_MAX_BYTES} bytes")
        self.handle_error(None, conn.sock, conn.client, error)
        self._begin_close(conn)

    def _begin_close(self, conn: TConn) -> None:
        """Stop sending, and close the connection once the client has closed it, or after 2 s.

        If it were closed at once, the client might lose the response. The base class would wait in
        this thread, and no other connection would get a response during this time.
        """
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:  # the client has closed it
            self._close(conn)
            return
        conn.drained = 0
        conn.set_timeout()
        self.keepalived_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, functools.partial(self._drain, conn))

    def _drain(self, conn: TConn, client: socket.socket) -> None:
        try:
            data = client.recv(_READ_BYTES)
        except OSError:
            data = b""
        conn.drained += len(data)
        if not data or conn.drained > _MAX_DRAINED_BYTES:
            self.poller.unregister(client)
            self.keepalived_conns.remove(conn)
            self._close(conn)

    def _close(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()


def limit(timeout_s: float = TIMEOUT_S) -> None:
    """Limit the request heads in the server that the framework is about to start.

    A connection is closed if its head has not arrived completely after `timeout_s` seconds.
    """
    HeadWorker.timeout_s = timeout_s
    # It reads the rest of a body into memory before it responds, and fails if the client leaves.
    functions_framework.read_request = lambda response: response
    util.write_error = _write_error
    gunicorn.GunicornApplication = functools.partial(  # type: ignore[assignment,misc] # it is only called
        gunicorn.GunicornApplication, worker_class=HeadWorker, limit_request_line=_MAX_LINE_BYTES
    )


def _write_error(client: socket.socket, status: int, reason: str, why: str) -> None:
    """Write gunicorn's own response, such as that to a malformed head, as the function would."""
    body = json.dumps({"error": why or reason}).encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Progress-Error: 1\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(client, head.encode() + body)


class Arrival:
    """A body that is arriving; `is_refused` is true once it had to make room for other requests."""

    def __init__(self, seconds: float, size: int, sender: str, connection: socket.socket) -> None:
        self.sender = sender
        self.began = time.monotonic()
        self.deadline = self.began + seconds
        self.size = size
        self.connection = connection
        self.is_refused = False

    def stop(self) -> None:
        """Shut down the receiving side, so that the thread that reads the body goes on."""
        with contextlib.suppress(OSError):  # the client may have closed the socket
            self.connection.shutdown(socket.SHUT_RD)


class BodyDeadline:
    """Shut down the receiving side of a request's socket if the body has not arrived in time.

    A body that takes longer than `_SLOW_S` is slow. At most `_MOST_SLOW` bodies with `_SLOW_BYTES`
    may be slow, or one larger one, so that threads and memory are left for the others. Refused is
    the newest one of the sender who has most of them. One thread watches all bodies, because
    starting a thread for each body takes more than 100 µs.
    """

    def __init__(self, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._arriving: dict[Arrival, None] = {}  # the oldest first
        self._mutex = threading.Lock()
        self._is_busy = threading.Event()
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
    def limit(self, request: Request, size: int = 0, sender: str = "") -> Iterator[Arrival | None]:
        """Shut down the socket's receiving side if the block has not read the body in time.

        `size` is the memory that the body occupies meanwhile; `sender` is "" if nobody is known.
        """
        environ = request.environ
        connection = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
        if connection is None:
            yield None
            return
        arrival = Arrival(self._timeout_s, size, sender, connection)
        with self._mutex:
            self._arriving[arrival] = None
            self._is_busy.set()
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, daemon=True)
                self._watcher.start()
        try:
            yield arrival
        finally:
            with self._mutex:  # from here on the socket may carry the next request
                self._arriving.pop(arrival, None)

    def _watch(self) -> None:
        while self._is_busy.wait():
            with self._mutex:
                self._stop_late()
                if not self._arriving:
                    self._is_busy.clear()
            time.sleep(min(_SLOW_S, self._timeout_s) / 2)

    def _stop_late(self) -> None:
        """Stop receiving the overdue bodies, and the slow bodies beyond the limits."""
        now = time.monotonic()
        for arrival in [each for each in self._arriving if each.deadline <= now]:
            self._stop(arrival)
        slow = [each for each in self._arriving if each.began + _SLOW_S <= now]
        while (is_many := len(slow) > _MOST_SLOW) or (
            len(slow) > 1 and sum(arrival.size for arrival in slow) > _SLOW_BYTES
        ):
            held: dict[str, int] = collections.Counter()
            for arrival in slow:
                held[arrival.sender] += 1 if is_many else arrival.size
            arrival = max(enumerate(slow), key=lambda each: (held[each[1].sender], each[0]))[1]
            arrival.is_refused = True
            slow.remove(arrival)
            self._stop(arrival)

    def _stop(self, arrival: Arrival) -> None:
        arrival.stop()
        del self._arriving[arrival]
