"""The learner's page: its files, and the policies that let a browser do with them what they need.

Every file but the first has the hash of all of them in its address, so that a browser keeps them
for good and never mixes those of two versions.
"""

import functools
import gzip
import hashlib
import html
from collections.abc import Mapping
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).resolve().parent.parent / "page"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
# GraphiQL's page has its script in itself, and takes the rest from where its makers put it.
_GRAPHIQL_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' https://unpkg.com; "
    "style-src 'unsafe-inline' https://unpkg.com; font-src data: https://unpkg.com; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_SHUT = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), "
    "payment=(), usb=()",
    "Referrer-Policy": "no-referrer",  # a token has come in the address
    "X-Content-Type-Options": "nosniff",
}
_FOR_GOOD = "public, max-age=31536000, immutable"
_ASK_FIRST = "no-cache"  # kept, and asked about each time
_SMALLEST = 300  # bytes from which on it is worth to be compressed


class _File(msgspec.Struct, frozen=True):
    plain: bytes
    compressed: bytes | None
    etag: str
    media_type: str


class Page:
    """What is answered at `/` and below `/page/`."""

    def __init__(self, sign_in: str | None) -> None:
        """`sign_in` is the issuer's page where tokens are given out."""
        self._sign_in = sign_in

    def answer(self, request: Request) -> Response | None:
        """One of the page's files; None for an address that is not the page's."""
        if request.method not in ("GET", "HEAD"):
            return None
        if request.url.path == "/":
            return _response(self._index, request, _ASK_FIRST, {"Content-Security-Policy": _POLICY})
        _, _, below = request.url.path.partition("/page/")
        version, _, name = below.partition("/")
        file = _files().get(name)
        if file is None or not request.url.path.startswith("/page/"):
            return None
        # The hash of another version: for the moment in which two are being served.
        return _response(file, request, _FOR_GOOD if version == _version() else _ASK_FIRST)

    @functools.cached_property
    def _index(self) -> _File:
        text = (FOLDER / "index.html").read_text(encoding="utf-8")
        text = text.replace("{version}", _version())
        return _file(text.replace("{sign_in}", html.escape(self._sign_in or "")).encode(), ".html")


def graphiql() -> Response:
    """The development tool, under a policy of its own."""
    from strawberry.http.ides import get_graphql_ide_html

    page = get_graphql_ide_html("graphiql").replace("{{ SUBSCRIPTION_ENABLED }}", "false")
    policy = {"Content-Security-Policy": _GRAPHIQL_POLICY}
    return Response(page, media_type="text/html", headers=_SHUT | policy)


@functools.cache
def _files() -> dict[str, _File]:
    paths = sorted(path for path in FOLDER.iterdir() if path.name != "index.html")
    return {path.name: _file(path.read_bytes(), path.suffix) for path in paths}


@functools.cache
def _version() -> str:
    named = (f"{name} {file.etag}" for name, file in _files().items())
    return _hash("\n".join(named).encode())


def _file(plain: bytes, suffix: str) -> _File:
    packed = gzip.compress(plain, mtime=0) if len(plain) >= _SMALLEST else None
    return _File(plain, packed, f'W/"{_hash(plain)}"', _TYPES[suffix])


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _response(
    file: _File, request: Request, kept: str, more: Mapping[str, str] | None = None
) -> Response:
    headers = {
        **_SHUT,
        **(more or {}),
        "Cache-Control": kept,
        "ETag": file.etag,
        "Vary": "Accept-Encoding",
    }
    known = request.headers.get("if-none-match", "")
    if file.etag in [each.strip() for each in known.split(",")]:
        return Response(status_code=304, headers=headers)
    body = file.plain
    if file.compressed and "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = file.compressed, "gzip"
    headers |= {"Content-Type": file.media_type, "Content-Length": str(len(body))}
    return Response(b"" if request.method == "HEAD" else body, headers=headers)
