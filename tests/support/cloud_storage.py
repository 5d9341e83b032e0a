"""A fake Cloud Storage with the JSON API and objects in memory."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from progress import settings

_PAGE = 1  # prefixes or objects per page of a listing
_QUANTUM = 256 << 10  # bytes; an unfinished upload has a multiple of them


class Bucket:
    """The stored objects, and the failures that the next requests get."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, tuple[str, bytearray]] = {}
        self.cancelled: list[str] = []
        self.refusals: list[int] = []  # error statuses of the next requests with a body
        self.outages: list[dict[str, str]] = []  # headers of a 503 to each of the next requests
        self.cuts: list[int] = []  # bytes of the next bodies that arrive before a disconnection
        self.requests: list[float] = []  # the time of each request
        self.spans: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def parse_request(self) -> bool:
        """Respond to a request in an outage; return whether the request must still be handled."""
        if not super().parse_request():
            return False
        self.bucket.requests.append(time.time())
        if not self.bucket.outages:
            return True
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(503, b"try again", **self.bucket.outages.pop(0))
        return False

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        assert query["uploadType"] == ["resumable"]
        number = str(len(self.bucket.uploads))
        self.bucket.uploads[number] = (query["name"][0], bytearray())
        host = f"http://{self.headers['Host']}/session/{number}"
        self._answer(200, b"{}", Location=host)

    def do_PUT(self) -> None:
        number = self.path.rpartition("/")[2]
        body = self._read()
        content_range = self.headers["Content-Range"]
        self.bucket.spans.append(content_range)
        if body and self.bucket.refusals:
            return self._answer(self.bucket.refusals.pop(0), b"try again")
        name, held = self.bucket.uploads[number]
        if self.close_connection:
            held += body[: len(body) // _QUANTUM * _QUANTUM]
            return None
        match = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", content_range)
        assert match
        if match[1]:
            assert int(match[1]) == len(held), "the part does not start where the last part ended"
            assert len(body) == int(match[2]) - int(match[1]) + 1
            assert match[3] != "*" or len(body) % _QUANTUM == 0
            held += body
        if match[3] != "*":
            assert int(match[3]) == len(held)
            self.bucket.objects[name] = bytes(held)
            return self._answer(200, b"{}")
        had = {"Range": f"bytes=0-{len(held) - 1}"} if held else {}
        return self._answer(308, b"", **had)

    def _read(self) -> bytes:
        """Return the body; if the connection is to be cut, only its first bytes."""
        length = int(self.headers.get("Content-Length", 0))
        if length and self.bucket.cuts:
            length, self.close_connection = self.bucket.cuts.pop(0), True
        return self.rfile.read(length)

    def do_DELETE(self) -> None:
        name = unquote(self.path.partition("/o/")[2])
        if name:
            found = self.bucket.objects.pop(name, None) is not None
            self._answer(204 if found else 404, b"")
        else:
            self.bucket.cancelled.append(self.bucket.uploads[self.path.rpartition("/")[2]][0])
            self._answer(499, b"")

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        name = unquote(parts.path.partition("/o/")[2])
        if not name:
            return self._list(query)
        if name not in self.bucket.objects:
            return self._answer(404, b"No such object")
        is_media = query.get("alt") == ["media"]
        return self._answer(200, self.bucket.objects[name] if is_media else b"{}")

    def _list(self, query: dict[str, list[str]]) -> None:
        prefix, at = query["prefix"][0], int(query.get("pageToken", ["0"])[0])
        rests = [n.removeprefix(prefix) for n in self.bucket.objects if n.startswith(prefix)]
        found = sorted({prefix + "".join(rest.partition("/")[:2]) for rest in rests})
        part = found[at : at + _PAGE]
        page: dict[str, Any] = {
            "prefixes": [name for name in part if name.endswith("/")],
            "items": [{"name": name} for name in part if not name.endswith("/")],
        }
        if at + _PAGE < len(found):
            page["nextPageToken"] = str(at + _PAGE)
        self._answer(200, json.dumps(page).encode())

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serve() -> Iterator[tuple[str, Bucket]]:
    """Serve a fake Cloud Storage for the block; yield its address and bucket."""
    bucket = Bucket()
    handler = type("Handler", (_Handler,), {"bucket": bucket})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bucket
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A fake bucket, which the settings point to."""
    with serve() as (address, served):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        settings.current.cache_clear()
        yield served
    settings.current.cache_clear()
