"""The learner's page: its files, served with a strict Content-Security-Policy."""

import functools
import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request, cookie_parser
from starlette.responses import Response

from progress import files
from progress.query.http import static_files
from progress.query.http.static_files import File, Folder
from progress.settings import Settings

FOLDER = files.PACKAGE / "query" / "page"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_VARY_INDEX = "Accept-Encoding, Accept-Language, Cookie"
_IMPORT = re.compile(r"^(?:import|\}) .*from '\./(\w+\.js)';$", re.MULTILINE)
_LATE_IMPORT = re.compile(r"(?<!withTexts\()import\('\./(\w+\.js)'\)")
_START = "main.js"
_TEXT_KEY = re.compile(r"['`](\w+)\.")
_PLACEHOLDER = re.compile(r"\{([\w.]+)\}")

_COMMENTS = {
    ".js": re.compile(rb"^ *(?://.*|/\*\*(?:.|\n)*?\*/)$", re.MULTILINE),
    ".css": re.compile(rb"/\*(?:.|\n)*?\*/"),
}
_INDENT = re.compile(rb"^ +", re.MULTILINE)
_EMPTY = re.compile(rb"\n\n+")


def _read(path: Path) -> bytes:
    """Return a file's bytes.

    Files of texts are compact. Scripts and style sheets have no comments and indents, which makes
    them an eighth smaller. In a script, comments become empty lines, so that the lines of errors
    are those of the file.
    """
    data = path.read_bytes()
    if path.suffix == ".json":
        return msgspec.json.encode(msgspec.json.decode(data))
    if path.suffix not in _COMMENTS:
        return data
    comments = _COMMENTS[path.suffix]
    data = _INDENT.sub(b"", comments.sub(lambda comment: b"\n" * comment[0].count(b"\n"), data))
    return data if path.suffix == ".js" else _EMPTY.sub(b"\n", data)


_files = Folder(FOLDER, "/page/", _read)


class StaticPage:
    """The page at `/` and its files below `/page/`."""

    def __init__(self, settings: Settings) -> None:
        """After `page_pause_minutes` without input, an open page keeps no stream; 0: it does."""
        values = {
            "environment": settings.environment,
            "sign_in": settings.auth_sign_in_url or "",
            "app": settings.app_url or "",
            "dashboards": settings.dashboard_url or "",
            "runbook": settings.runbook_url or "",
            "pause": str(settings.page_pause_minutes),
        }
        self._indexes = {language: _index(language, **values) for language in LANGUAGES}

    def answer(self, request: Request) -> Response | None:
        if request.method not in ("GET", "HEAD"):
            return None
        if request.url.path == "/":
            index = self._indexes[_select(request.headers)]
            headers = {"Content-Security-Policy": _POLICY, "Vary": _VARY_INDEX}
            return static_files.respond(index, request, static_files.REVALIDATE, headers)
        return _files.answer(request)


def _modules(names: list[str], *patterns: re.Pattern[str]) -> list[str]:
    """Return these modules and all that they import by one of the patterns."""
    found = list(names)
    for name in found:
        script = (FOLDER / name).read_text(encoding="utf-8")
        imported = [each for pattern in patterns for each in pattern.findall(script)]
        found += [each for each in imported if each not in found]
    return found


@functools.cache
def _preloads() -> str:
    """Return links to all modules that the page needs at start, so that it loads them at once."""
    _, *names = _modules([_START], _IMPORT)
    address = f'<link rel="modulepreload" href="page/{_files.version}/'
    return "\n  ".join(f'{address}{name}">' for name in sorted(names))


@functools.cache
def _start_keys() -> set[str]:
    """Return the first parts of the keys of all texts that a learner's progress shows.

    They stand in the modules that the page needs at start, and in those that these modules import
    later. The views that main.js imports later, and what `withTexts` imports, load the complete
    file of texts.
    """
    started = _modules([_START], _IMPORT)
    late = _modules([name for name in started if name != _START], _IMPORT, _LATE_IMPORT)
    scripts = ((FOLDER / name).read_text(encoding="utf-8") for name in {*started, *late})
    return {key for script in scripts for key in _TEXT_KEY.findall(script)}


def _index(language: str, **values: str) -> File:
    """Return index.html in a language; a learner's texts are in it, to save a request."""
    texts = msgspec.json.decode((FOLDER / f"{language}.json").read_bytes(), type=dict[str, Any])
    first = {key: text for key, text in texts.items() if key in _start_keys() or text == str(text)}
    escaped = msgspec.json.encode(first).decode().replace("<", "\\u003c")
    markup = {"texts": escaped, "preloads": _preloads()}

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name in markup:
            return markup[name]
        return html.escape(known[name] if name in known else _text(texts, name))

    known = {"version": _files.version, "language": LANGUAGES[language], **values}
    index = (FOLDER / "index.html").read_text(encoding="utf-8")
    return static_files.make(_PLACEHOLDER.sub(replace, index).encode(), ".html")


# The `lang` of the HTML document for each file of texts (en.json, ja.json).
LANGUAGES = {"en": "en-GB", "ja": "ja"}
_DEFAULT = "en"


def _select(headers: Mapping[str, str]) -> str:
    """Return the language selected on the page, or else the preferred one of Accept-Language."""
    selected = cookie_parser(headers.get("cookie", "")).get("language")
    if selected in LANGUAGES:
        return selected
    accepted = map(_parse, headers.get("accept-language", "").split(","))
    offered = [(quality, name) for name, quality in accepted if name in LANGUAGES and quality > 0]
    return max(offered, key=lambda offer: offer[0], default=(0.0, _DEFAULT))[1]


def _parse(choice: str) -> tuple[str, float]:
    """Return the primary language and the quality of one choice, such as `ja-JP;q=0.8`."""
    tag, _, parameter = choice.partition(";")
    name = tag.strip().lower().partition("-")[0]
    try:
        return name, float(parameter.strip().removeprefix("q=") or 1)
    except ValueError:
        return name, 0.0


def _text(texts: dict[str, Any], key: str) -> str:
    return str(functools.reduce(lambda node, name: node[name], key.split("."), texts))
