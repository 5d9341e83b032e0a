"""HTTP servers in threads of the test process."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from progress.serve import ports


class Handler(BaseHTTPRequestHandler):
    """A handler that keeps the connection open and logs nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def read_body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def respond(
        self, status: int, body: bytes = b"", *, cut: int | None = None, **headers: str
    ) -> None:
        """Send the response; if `cut` is given, close the connection after so many bytes."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection |= cut is not None
        self.wfile.write(body[:cut])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # enough for the simultaneous pushes of two subscriptions

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error, unless the client was killed meanwhile."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve(handler: type[Handler], port: int = 0) -> Iterator[str]:
    """Serve HTTP on the port during the block; yield the server's URL, without a slash.

    If `port` is 0, serve on a free port.
    """
    server = _Server((ports.HOST, port), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://{ports.HOST}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
