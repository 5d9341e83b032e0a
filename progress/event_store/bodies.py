"""The body of a post: events as a JSON array or, one in a line, as NDJSON."""

import itertools
import re
from collections.abc import Iterable

from progress.errors import BadInput, RequestTooLarge
from progress.event_store import json_input

JSON, LINES = "application/json", "application/x-ndjson"

MOST_ENTRIES = 1_000
MOST_BYTES = 10_000_000  # of a publisher's body
_LINE = re.compile(rb"[ \t\r\n]*+([^\n]+)")  # blank lines, and then one that is not


def media_type(content_type: str, content_encoding: str = "") -> str:
    """Return the media type of a body that can be read, or an empty text."""
    kind, *parameters = content_type.lower().split(";")
    pairs = dict(text.strip().partition("=")[::2] for text in parameters)
    is_utf8 = pairs.get("charset", "utf-8").strip('"') in ("utf-8", "utf8")
    is_known = kind.strip() in (JSON, LINES) and is_utf8 and not content_encoding
    return kind.strip() if is_known else ""


def split(body: bytes | bytearray, media_type: str) -> list[tuple[int, bytes]]:
    """Return the entries, numbered from 0.

    Raise BadInput if the body, or one of its lines, is not JSON; raise RequestTooLarge if there are
    more than 1,000 entries.
    """
    try:
        if media_type == LINES:
            return _split_lines(body)
        elements = json_input.elements(body)
        if elements is None:
            json_input.check(body)
            elements = [bytes(body)]
        return _number(elements)
    except json_input.NotJson as error:
        raise BadInput(str(error)) from None


def _split_lines(body: bytes | bytearray) -> list[tuple[int, bytes]]:
    """Return the lines that are not blank; a long body need not become a list of lines."""
    text = bytes(body.rstrip(b" \t\r\n"))
    parts = _number(line[1] for line in _LINE.finditer(text))
    if not parts:
        json_input.check(text)
    for line, (_, part) in zip(_LINE.finditer(text), parts, strict=True):
        try:
            json_input.check(part)
        except json_input.NotJson as error:
            number = text.count(b"\n", 0, line.start(1)) + 1
            raise json_input.NotJson(f"{error} of line {number}") from None
    return parts


def _number(parts: Iterable[bytes]) -> list[tuple[int, bytes]]:
    numbered = list(itertools.islice(enumerate(parts), MOST_ENTRIES + 1))
    if len(numbered) > MOST_ENTRIES:
        raise RequestTooLarge(f"expected at most {MOST_ENTRIES} events")
    return numbered
