"""The learner's page: its files, served with a strict Content-Security-Policy.

The URL of every file except index.html contains a hash of all files. A browser can therefore cache
these files forever and never mixes two versions.
"""

import functools
import gzip
import hashlib
import html
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from progress.query.http import page_languages

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
# GraphiQL has an inline script, and loads its libraries from unpkg.com.
_GRAPHIQL_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' https://unpkg.com; "
    "style-src 'unsafe-inline' https://unpkg.com; font-src data: https://unpkg.com; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), "
    "payment=(), usb=()",
    "Referrer-Policy": "no-referrer",  # the URL may contain a token
    "X-Content-Type-Options": "nosniff",
}
_VARY_INDEX = "Accept-Encoding, Accept-Language, Cookie"
_IMMUTABLE = "public, max-age=31536000, immutable"
_REVALIDATE = "no-cache"
_MIN_GZIP = 300  # bytes
_PLACEHOLDER = re.compile(r"\{([\w.]+)\}")


class _File(msgspec.Struct, frozen=True):
    plain: bytes
    gzipped: bytes | None
    etag: str
    media_type: str


class StaticPage:
    """The page at `/` and its files below `/page/`."""

    def __init__(self, sign_in: str | None, app: str | None = None) -> None:
        """`sign_in` is the URL of the issuer's sign-in page; `app` is that of the learning app."""
        self._indexes = {
            language: _index(language, sign_in=sign_in or "", app=app or "")
            for language in page_languages.LANGUAGES
        }

    def answer(self, request: Request) -> Response | None:
        """Return one of the page's files, or None for another path."""
        if request.method not in ("GET", "HEAD"):
            return None
        if request.url.path == "/":
            index = self._indexes[page_languages.select(request.headers)]
            headers = {"Content-Security-Policy": _POLICY, "Vary": _VARY_INDEX}
            return _response(index, request, _REVALIDATE, headers)
        _, _, path = request.url.path.partition("/page/")
        version, _, name = path.partition("/")
        file = _files().get(name)
        if file is None or not request.url.path.startswith("/page/"):
            return None
        # During a release, a request may contain the hash of another revision's files.
        return _response(file, request, _IMMUTABLE if version == _version() else _REVALIDATE)


def _index(language: str, **values: str) -> _File:
    """Return index.html in a language. Its texts are in the document, so they need no request."""
    texts = (FOLDER / f"{language}.json").read_bytes()
    escaped = texts.decode().replace("<", "\\u003c")

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name == "texts":
            return escaped
        return html.escape(known[name] if name in known else page_languages.text(texts, name))

    known = {"version": _version(), "language": page_languages.LANGUAGES[language], **values}
    index = (FOLDER / "index.html").read_text(encoding="utf-8")
    return _file(_PLACEHOLDER.sub(replace, index).encode(), ".html")


def graphiql() -> Response:
    """Return GraphiQL with a Content-Security-Policy that allows its scripts."""
    from strawberry.http.ides import get_graphql_ide_html

    page = get_graphql_ide_html("graphiql").replace("{{ SUBSCRIPTION_ENABLED }}", "false")
    policy = {"Content-Security-Policy": _GRAPHIQL_POLICY}
    return Response(page, media_type="text/html", headers=_ISOLATION | policy)


@functools.cache
def _files() -> dict[str, _File]:
    paths = sorted(path for path in FOLDER.iterdir() if path.suffix in (".js", ".css", ".svg"))
    return {path.name: _file(path.read_bytes(), path.suffix) for path in paths}


@functools.cache
def _version() -> str:
    tags = (f"{name} {file.etag}" for name, file in _files().items())
    return _hash("\n".join(tags).encode())


def _file(plain: bytes, suffix: str) -> _File:
    gzipped = gzip.compress(plain, mtime=0) if len(plain) >= _MIN_GZIP else None
    return _File(plain, gzipped, f'W/"{_hash(plain)}"', _TYPES[suffix])


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _response(
    file: _File, request: Request, cache_control: str, more: Mapping[str, str] | None = None
) -> Response:
    headers = {
        **_ISOLATION,
        "Vary": "Accept-Encoding",
        **(more or {}),
        "Cache-Control": cache_control,
        "ETag": file.etag,
    }
    condition = request.headers.get("if-none-match", "")
    if file.etag in [tag.strip() for tag in condition.split(",")]:
        return Response(status_code=304, headers=headers)
    body = file.plain
    if file.gzipped and "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = file.gzipped, "gzip"
    headers |= {"Content-Type": file.media_type, "Content-Length": str(len(body))}
    return Response(b"" if request.method == "HEAD" else body, headers=headers)
