"""The learner's page: its files, served with a strict Content-Security-Policy."""

import html
import re
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from progress.query.http import page_languages, static_files
from progress.query.http.static_files import File, Folder

FOLDER = Path(__file__).resolve().parent.parent / "page"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_VARY_INDEX = "Accept-Encoding, Accept-Language, Cookie"
_PLACEHOLDER = re.compile(r"\{([\w.]+)\}")

_SCRIPT_COMMENT = re.compile(rb"^ *(?://.*|/\*\*(?:.|\n)*?\*/)$", re.MULTILINE)


def _read(path: Path) -> bytes:
    """Return a file's bytes.

    In a script, comments become empty lines, which makes the script a tenth smaller.
    """
    data = path.read_bytes()
    if path.suffix != ".js":
        return data
    return _SCRIPT_COMMENT.sub(lambda comment: b"\n" * comment[0].count(b"\n"), data)


_files = Folder(FOLDER, "/page/", _read)


class StaticPage:
    """The page at `/` and its files below `/page/`."""

    def __init__(self, sign_in: str | None, app: str | None = None) -> None:
        """`sign_in` is the URL of the issuer's sign-in page; `app` is that of the learning app."""
        self._indexes = {
            language: _index(language, sign_in=sign_in or "", app=app or "")
            for language in page_languages.LANGUAGES
        }

    def answer(self, request: Request) -> Response | None:
        """Return the page's file at the request's path, or None if there is no such file."""
        if request.method not in ("GET", "HEAD"):
            return None
        if request.url.path == "/":
            index = self._indexes[page_languages.select(request.headers)]
            headers = {"Content-Security-Policy": _POLICY, "Vary": _VARY_INDEX}
            return static_files.respond(index, request, static_files.REVALIDATE, headers)
        return _files.answer(request)


def _index(language: str, **values: str) -> File:
    """Return index.html in a language.

    The document includes the texts of the page, so that the browser need not request them.
    """
    texts = (FOLDER / f"{language}.json").read_bytes()
    escaped = msgspec.json.format(texts, indent=-1).decode().replace("<", "\\u003c")

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name == "texts":
            return escaped
        return html.escape(known[name] if name in known else page_languages.text(texts, name))

    known = {"version": _files.version, "language": page_languages.LANGUAGES[language], **values}
    index = (FOLDER / "index.html").read_text(encoding="utf-8")
    return static_files.make(_PLACEHOLDER.sub(replace, index).encode(), ".html")
