"""HTTP servers in threads of the test process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from progress.local import ports


class Handler(BaseHTTPRequestHandler):
    """A handler of requests that logs nothing."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def send_empty(self, status: int) -> None:
        """Send a response without a body."""
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # enough for the simultaneous pushes of two subscriptions


@contextmanager
def serve(handler: type[BaseHTTPRequestHandler], port: int = 0) -> Iterator[str]:
    """Serve HTTP during the block, on a free port if `port` is 0; yield the URL without a slash."""
    server = _Server((ports.HOST, port), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://{ports.HOST}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
