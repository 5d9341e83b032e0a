"""Files held in memory, and their HTTP responses: ETag, 304, gzip and security headers."""

import functools
import gzip
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from progress.query.http import protocol

REVALIDATE = "no-cache"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".graphql": "text/plain; charset=utf-8",  # so that browsers show the text
}
_SECURITY = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), "
    "payment=(), usb=()",
    "Referrer-Policy": "no-referrer",  # the URL may contain a token
    "X-Content-Type-Options": "nosniff",
}
_SERVED = {".js", ".css", ".json", ".svg"}  # suffixes of the files that a folder serves
_IMMUTABLE = "public, max-age=31536000, immutable"
_MIN_GZIP = 300  # bytes


class File(msgspec.Struct, frozen=True):
    """A file, compressed if that is worthwhile."""

    plain: bytes
    gzipped: bytes | None
    etag: str
    media_type: str


class Folder:
    """A page's files, served below a URL that contains a hash of all files.

    A browser can therefore cache these files forever and never mixes two versions.
    """

    def __init__(
        self, path: Path, url: str, read: Callable[[Path], bytes] = Path.read_bytes
    ) -> None:
        """`url` begins and ends with a slash; `read` returns the bytes to serve for a file."""
        self._path, self._url, self._read = path, url, read

    @functools.cached_property
    def _files(self) -> dict[str, File]:
        paths = sorted(path for path in self._path.iterdir() if path.suffix in _SERVED)
        return {path.name: make(self._read(path), path.suffix) for path in paths}

    @functools.cached_property
    def version(self) -> str:
        tags = (f"{name} {file.etag}" for name, file in self._files.items())
        return _hash("\n".join(tags).encode())

    def answer(self, request: Request) -> Response | None:
        """Return the file at the request's path, or None if there is no file at this path."""
        _, _, path = request.url.path.partition(self._url)
        version, _, name = path.partition("/")
        file = self._files.get(name)
        if file is None or not request.url.path.startswith(self._url):
            return None
        # During a release, a request may contain the hash of another revision's files. The response
        # to this request must not be cached forever.
        return respond(file, request, _IMMUTABLE if version == self.version else REVALIDATE)


def make(plain: bytes, suffix: str) -> File:
    gzipped = gzip.compress(plain, mtime=0) if len(plain) >= _MIN_GZIP else None
    return File(plain, gzipped, f'W/"{_hash(plain)}"', _TYPES[suffix])


def respond(
    file: File, request: Request, cache_control: str, more: Mapping[str, str] | None = None
) -> Response:
    """Return 304 if the client has the file already; otherwise the file, gzipped if accepted."""
    headers = {
        **_SECURITY,
        "Vary": "Accept-Encoding",
        **(more or {}),
        "Cache-Control": cache_control,
        "ETag": file.etag,
    }
    condition = request.headers.get("if-none-match", "")
    if file.etag in [tag.strip() for tag in condition.split(",")]:
        return Response(status_code=304, headers=headers)
    body = file.plain
    if file.gzipped and protocol.accepts_gzip(protocol.headers(request)):
        body, headers["Content-Encoding"] = file.gzipped, "gzip"
    headers |= {"Content-Type": file.media_type, "Content-Length": str(len(body))}
    return Response(b"" if request.method == "HEAD" else body, headers=headers)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
