"""A fake Cloud Storage with the JSON API and objects in memory."""

import base64
import email
import email.policy
import itertools
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
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
        self.outages: list[dict[str, str]] = []  # Headers of the next failed responses.
        self.outage_status = 503
        self.scheme = "http"  # Of the URLs of uploads.
        self.completed: set[str] = set()  # Uploads.
        # How many of the next small uploads are stored, and how many of the next resumable ones
        # are completed, but get a 503.
        self.lost_responses = 0
        self.cuts: list[int] = []  # The next bodies are cut after these numbers of bytes.
        # The next downloads are cut after these numbers of bytes.
        self.cut_downloads: list[int] = []
        self.damaged_downloads = 0  # How many of the next downloads have another first byte.
        # The next uploaded parts stall: the server keeps at most these numbers of bytes. It reads
        # and drops the rest, then closes the connection without a response.
        self.stalls: list[int] = []
        self.requests: list[float] = []  # The time of each request.
        self.spans: list[str] = []
        self.ranges: list[int] = []  # The first byte of each download.
        self.updated = "2026-01-01T00:00:00.000Z"  # the update time of every object
        # Google sets this policy in every bucket that is created without one.
        policy = {"retentionDurationSeconds": "604800", "effectiveTime": self.updated}
        self.settings: dict[str, Any] = {"kind": "storage#bucket", "softDeletePolicy": policy}
        self.create_only: str | None = None  # Below this prefix, nothing is read or deleted.
        self._counter = itertools.count(1)

    def store(self, name: str, data: bytes) -> None:
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
        if name in self.objects and self.generations.get(name, 0) == generation:
            self.generations.pop(name, None)
            del self.objects[name]
            return True
        return self.former.get(name, {}).pop(generation, None) is not None


class _Handler(http_servers.Handler):
    bucket: Bucket

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        self.bucket.requests.append(time.time())
        if self.bucket.create_only and f"/o/{self.bucket.create_only}" in unquote(self.path):
            self._answer(403, b"Permission denied on resource")
            return False
        if not self.bucket.outages:
            return True
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(self.bucket.outage_status, b"try again", **self.bucket.outages.pop(0))
        return False

    def do_POST(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if query["uploadType"] == ["multipart"]:
            return self._store(int(query["ifGenerationMatch"][0]))
        number = str(len(self.bucket.uploads))
        metadata = self.read_body()
        self.bucket.uploads[number] = (json.loads(metadata)["name"], bytearray())
        host = f"{self.bucket.scheme}://{self.headers['Host']}/session/{number}"
        return self._answer(200, b"{}", Location=host)

    def _store(self, generation: int) -> None:
        metadata, body = self._read_multipart()
        name = metadata["name"]
        assert metadata["crc32c"] == _checksum(body)
        if self.bucket.generations.get(name, 0) != generation:
            return self._answer(412, b"conditionNotMet")
        self.bucket.store(name, body)
        if self.bucket.lost_responses:
            self.bucket.lost_responses -= 1
            return self._answer(503, b"try again")
        written = json.dumps({"generation": str(self.bucket.generations[name])})
        return self._answer(200, written.encode())

    def _read_multipart(self) -> tuple[dict[str, Any], bytes]:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + self._read(), policy=email.policy.HTTP)
        metadata, data = (part.get_content() for part in message.iter_parts())
        return json.loads(metadata), data

    def do_PUT(self) -> None:
        number = self.path.rpartition("/")[2]
        body = self._read()
        content_range = self.headers["Content-Range"]
        self.bucket.spans.append(content_range)
        if body and self.bucket.refusals:
            return self._answer(self.bucket.refusals.pop(0), b"try again")
        name, held = self.bucket.uploads[number]
        if number in self.bucket.completed:
            return self._answer(200, b"{}")
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
            self.bucket.completed.add(number)
            if self.bucket.lost_responses:
                self.bucket.lost_responses -= 1
                return self._answer(503, b"try again")
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
        if re.fullmatch(r"/storage/v1/b/[^/]+", parts.path):
            return self._answer(200, json.dumps(self.bucket.settings).encode())
        if not name:
            return self._list(query)
        if name not in self.bucket.objects:
            return self._answer(404, b"No such object")
        current = self.bucket.generations.get(name, 0)
        if query.get("alt") == ["media"]:
            return self._send_media(name, int(query.get("generation", [str(current)])[0]))
        size = str(len(self.bucket.objects[name]))
        described = {"name": name, "generation": str(current), "size": size}
        return self._answer(200, json.dumps(described).encode())

    def _send_media(self, name: str, generation: int) -> None:
        data = self.bucket.objects[name]
        if generation != self.bucket.generations.get(name, 0):
            data = self.bucket.former[name][generation]
        headers = {"x-goog-generation": str(generation), "x-goog-hash": f"crc32c={_checksum(data)}"}
        if self.bucket.damaged_downloads:
            self.bucket.damaged_downloads -= 1
            data = bytes([data[0] ^ 1]) + data[1:]
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "bytes=0-"))
        assert asked
        begin, end = int(asked[1]), int(asked[2] or len(data)) + 1
        if "Range" in self.headers and begin >= len(data):
            return self._answer(416, b"")
        self.bucket.ranges.append(begin)
        status = 206 if "Range" in self.headers else 200
        return self._answer(status, data[begin:end], **headers)

    def _list(self, query: dict[str, list[str]]) -> None:
        prefix, at = query.get("prefix", [""])[0], int(query.get("pageToken", ["0"])[0])
        if "delimiter" not in query:
            return self._list_generations(prefix, at, former=query.get("versions") == ["True"])
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
        is_download = status in (200, 206) and "x-goog-hash" in headers
        cuts = self.bucket.cut_downloads
        self.respond(status, body, cut=cuts.pop(0) if is_download and cuts else None, **headers)


def _checksum(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4)).decode()


@contextmanager
def serve() -> Iterator[tuple[str, Bucket]]:
    bucket = Bucket()
    handler = type("Handler", (_Handler,), {"bucket": bucket})
    with http_servers.serve(handler) as address:
        yield address, bucket


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with serve() as (address, served):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        settings.current.cache_clear()
        yield served
