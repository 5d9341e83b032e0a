"""A fake Cloud Storage with the JSON API and objects in memory."""

import itertools
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from progress import settings
from tests.support import http_servers

_PAGE = 1  # The page size (prefixes and objects) of listings with a delimiter.
_OBJECTS = 3  # The page size (objects) of listings without a delimiter.
_QUANTUM = 256 << 10  # Bytes. All parts of an upload, except the last, are multiples of this size.


class Bucket:
    """The stored objects, and the failures that the next requests get."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.generations: dict[str, int] = {}  # The current generation of each object.
        self.former: dict[str, dict[int, bytes]] = {}  # Replaced or deleted generations.
        self.uploads: dict[str, tuple[str, bytearray]] = {}
        self.cancelled: list[str] = []
        self.refusals: list[int] = []  # Error statuses for the next uploaded parts.
        self.outages: list[dict[str, str]] = []  # Headers of the next 503 responses.
        self.lost_responses = 0  # How many of the next media uploads are stored but get a 503.
        self.cuts: list[int] = []  # The next bodies are cut after these numbers of bytes.
        # The next uploaded parts stall: the server keeps at most these numbers of bytes. It reads
        # and drops the rest, then closes the connection without a response.
        self.stalls: list[int] = []
        self.requests: list[float] = []  # The time of each request.
        self.spans: list[str] = []
        self.updated = "2026-01-01T00:00:00.000Z"  # the update time of every object
        self._counter = itertools.count(1)

    def store(self, name: str, data: bytes) -> None:
        """Store a new generation of an object; keep the former generation."""
        self.remove(name)
        self.objects[name], self.generations[name] = data, next(self._counter)

    def remove(self, name: str) -> bool:
        """Delete an object, but keep it as a former generation; return whether it existed."""
        if name not in self.objects:
            return False
        generation = self.generations.pop(name, 0)
        self.former.setdefault(name, {})[generation] = self.objects.pop(name)
        return True

    def remove_generation(self, name: str, generation: int) -> bool:
        """Delete a generation for good; return whether it existed."""
        if name in self.objects and self.generations.get(name, 0) == generation:
            self.generations.pop(name, None)
            del self.objects[name]
            return True
        return self.former.get(name, {}).pop(generation, None) is not None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def parse_request(self) -> bool:
        """Respond 503 during an outage; return whether the request must still be handled."""
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
        if query["uploadType"] == ["media"]:
            return self._store(query["name"][0], int(query["ifGenerationMatch"][0]))
        number = str(len(self.bucket.uploads))
        self.bucket.uploads[number] = (query["name"][0], bytearray())
        host = f"http://{self.headers['Host']}/session/{number}"
        return self._answer(200, b"{}", Location=host)

    def _store(self, name: str, generation: int) -> None:
        """Store an object if its current generation is `generation` (0 if there is no object)."""
        body = self._read()
        if self.bucket.generations.get(name, 0) != generation:
            return self._answer(412, b"conditionNotMet")
        self.bucket.store(name, body)
        if self.bucket.lost_responses:
            self.bucket.lost_responses -= 1
            return self._answer(503, b"try again")
        written = json.dumps({"generation": str(self.bucket.generations[name])})
        return self._answer(200, written.encode())

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
            self.rfile.read(self._unread)  # in a stall, these bytes arrive but are lost
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
            self.bucket.store(name, bytes(held))
            return self._answer(200, b"{}")
        had = {"Range": f"bytes=0-{len(held) - 1}"} if held else {}
        return self._answer(308, b"", **had)

    def _read(self) -> bytes:
        """Return the body; if the request is to be cut or to stall, return only the first bytes."""
        length, self._unread = int(self.headers.get("Content-Length", 0)), 0
        if length and self.bucket.cuts:
            length, self.close_connection = self.bucket.cuts.pop(0), True
        elif length and self.bucket.stalls:
            arriving, self.close_connection = self.bucket.stalls.pop(0), True
            length, self._unread = arriving, length - arriving
        return self.rfile.read(length)

    def do_DELETE(self) -> None:
        parts = urlsplit(self.path)
        name = unquote(parts.path.partition("/o/")[2])
        if name:
            if generation := parse_qs(parts.query).get("generation"):
                found = self.bucket.remove_generation(name, int(generation[0]))
            else:
                found = self.bucket.remove(name)
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
        generation = {"x-goog-generation": str(self.bucket.generations.get(name, 0))}
        return self._answer(200, self.bucket.objects[name] if is_media else b"{}", **generation)

    def _list(self, query: dict[str, list[str]]) -> None:
        prefix, at = query["prefix"][0], int(query.get("pageToken", ["0"])[0])
        if "delimiter" not in query:
            return self._list_generations(prefix, at, former=query["versions"] == ["true"])
        rests = [n.removeprefix(prefix) for n in self.bucket.objects if n.startswith(prefix)]
        found = sorted({prefix + "".join(rest.partition("/")[:2]) for rest in rests})
        part = found[at : at + _PAGE]
        page: dict[str, Any] = {
            "prefixes": [name for name in part if name.endswith("/")],
            "items": [{"name": name} for name in part if not name.endswith("/")],
        }
        if at + _PAGE < len(found):
            page["nextPageToken"] = str(at + _PAGE)
        return self._answer(200, json.dumps(page).encode())

    def _list_generations(self, prefix: str, at: int, *, former: bool) -> None:
        """List the current generations, or all if `former`, sorted by name and generation."""
        found = [(n, self.bucket.generations.get(n, 0), d) for n, d in self.bucket.objects.items()]
        if former:
            found += [(n, g, d) for n, old in self.bucket.former.items() for g, d in old.items()]
        items = [
            {"name": n, "generation": str(g), "size": str(len(d)), "updated": self.bucket.updated}
            for n, g, d in sorted(found)
            if n.startswith(prefix)
        ]
        page: dict[str, Any] = {"items": items[at : at + _OBJECTS]}
        if at + _OBJECTS < len(items):
            page["nextPageToken"] = str(at + _OBJECTS)
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
    """Serve a fake Cloud Storage during the block; yield the address and the bucket."""
    bucket = Bucket()
    handler = type("Handler", (_Handler,), {"bucket": bucket})
    with http_servers.serve(handler) as address:
        yield address, bucket


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A fake bucket, which the settings point to."""
    with serve() as (address, served):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        settings.current.cache_clear()
        yield served
    settings.current.cache_clear()
