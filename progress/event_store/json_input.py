"""Decode untrusted JSON, or say why it cannot be decoded or stored."""

import contextlib
import itertools
import json
import math
import operator
import re
from collections.abc import Iterable, Iterator
from typing import Any, Never

import msgspec

_DEEPEST = 64
_LONG_NUMBER = re.compile(rb"(?<!\d)\d{309}")  # begins at a number, so a run is read once
_SPACE = b" \t\n\r"

_NOTHING = "expected JSON, found nothing - at $"
_MANY = 10_000  # an array with this many commas or more is split without being decoded

# _ELEMENT matches an array element of at most three levels. The levels of a deeper one are counted.
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_LEVEL = rb"[\[{](?:[^\"\[\]{}]++|" + _STRING + rb"%b)*+[\]}]"
_BRACKETS = _LEVEL % b""
for _ in range(2):
    _BRACKETS = _LEVEL % (b"|" + _BRACKETS)
_GAP = rb"[ \t\n\r]*+"
_ELEMENT = re.compile(rb"[^ \t\n\r,\[\]{}\"]++|" + _STRING + rb"|" + _BRACKETS, re.DOTALL)
# Matches escaped surrogates. It also matches `\\ud8`, an escaped backslash before plain text.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_LONE = re.compile("[\ud800-\udfff]")
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")
_OPENING, _COMMA = (re.compile(_GAP + each + _GAP) for each in (rb"\[", rb","))
PIECE = 65_536  # bytes that one call takes at a time: a few milliseconds
_OPENS, _CLOSES = (bytes(byte in brackets for byte in range(256)) for brackets in (b"[{", b"]}"))

_parts = msgspec.json.Decoder(list[msgspec.Raw])
_skip = msgspec.json.Decoder(msgspec.Raw)  # Checks the syntax without using memory.
_BYTE = re.compile(r"\(byte (\d+)\)")  # Finds the position in an error message of msgspec.
_value = msgspec.json.Decoder()


class NotJson(ValueError):
    """The text is not JSON; the message says what was expected, and where."""


def elements(payload: bytes | bytearray) -> Iterable[bytes] | None:
    """Return the bytes of an array's elements, lazily; None if the payload does not begin with [.

    Raise NotJson if the payload is not JSON. A long array is split without being decoded, because
    decoding would create an object for each element. The array's syntax is checked as a whole,
    because checking each element would exceed the request's deadline.
    """
    if not _OPENING.match(payload):
        return None
    _check_unicode(payload)
    if payload.count(b",") < _MANY:
        with contextlib.suppress(RecursionError, msgspec.MsgspecError):
            return map(bytes, _parts.decode(payload))  # Copies one element at a time.
    check(payload)
    return _walk(payload)


def check(text: bytes | bytearray) -> None:
    """Raise NotJson unless the text is JSON; the message names the place in the text."""
    if not text.strip(_SPACE):
        raise NotJson(_NOTHING)
    _check_unicode(text)
    try:
        _check_syntax(text)
    except RecursionError:
        _check_syntax(_prune(text)[0])


def decode(text: bytes) -> tuple[Any, str]:
    """Return the value, and why PostgreSQL cannot store it (`''` if it can); raise NotJson."""
    may_be_deep = text.count(b"{") + text.count(b"[") > _DEEPEST
    pruned, unstorable = _prune(text) if may_be_deep else (text, "")
    unusual = (b"\\u0000" in text and _NUL.search(text)) or (
        len(text) > 309 and _LONG_NUMBER.search(text)
    )
    if not (unstorable or unusual):
        try:
            return _value.decode(text), ""
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
    value = _parse(pruned)
    return value, unstorable or next(_find_unstorable(value, "$"), "")


def printable(value: Any) -> str | None:
    """Return `value` in a form that a dead letter can store, or None if it is not a string."""
    from progress.masking import mask_shapes

    if type(value) is not str:
        return None
    clean = value[:200].replace("\0", "").encode("utf-8", "backslashreplace").decode()
    return mask_shapes(clean)


def _parse(text: bytes) -> Any:
    if not text.strip(_SPACE):
        raise NotJson(_NOTHING)
    _check_unicode(text)
    try:
        return _any_json.decode(text.decode())
    except json.JSONDecodeError as error:
        raise NotJson(f"expected JSON - at character {error.pos}") from None


def _reject_constant(constant: str) -> Never:
    raise NotJson(f"expected JSON, found {constant}")


def _parse_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= 310 else math.inf


_any_json = json.JSONDecoder(parse_constant=_reject_constant, parse_int=_parse_integer)


def _find_unstorable(value: Any, where: str) -> Iterator[str]:
    match value:
        case dict():
            for key, field in value.items():
                yield from _find_unstorable(key, where)
                is_short = key.isidentifier() and key.isascii() and len(key) <= 60
                yield from _find_unstorable(field, f"{where}.{key if is_short else '…'}")
        case list():
            for position, element in enumerate(value):
                yield from _find_unstorable(element, f"{where}[{position}]")
        case str() if "\0" in value:
            yield f"expected a string without U+0000 - at {where}"
        case str() if _LONE.search(value):
            yield f"expected a string without lone surrogates - at {where}"
        case int() | float() if not _is_finite(value):
            yield f"expected a number that is a finite double - at {where}"


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(float(number))
    except OverflowError:
        return False


def _count_levels(
    text: bytes | bytearray, at: int = 0
) -> Iterator[tuple[int, bytes, bytes, list[int]]]:
    """Yield the text from a place on in pieces: where, what, which bytes open a level, the levels.

    The level is the number of brackets around the byte, since that place; a bracket is not around
    itself. A parser would run out of stack. No byte costs a step in Python.
    """
    level, in_string, size = 0, 0, 32  # at first, because many elements are short
    while at < len(text):
        piece = bytes(text[at : at + size])
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # do not cut an escape in two
            piece = bytes(text[at : at + size + 1])
        size = min(2 * size, PIECE)
        parts = _ESCAPE.sub(b"__", piece).split(b'"')
        strings = slice(1 - in_string, None, 2)
        parts[strings] = map(b"_".__mul__, map(len, parts[strings]))
        in_string ^= (len(parts) - 1) % 2
        plain = b'"'.join(parts)
        opens, closes = plain.translate(_OPENS), plain.translate(_CLOSES)
        changes = map(operator.sub, b"\0" + opens[:-1], closes)
        levels = list(itertools.accumulate(changes, initial=level))[1:]
        yield at, piece, opens, levels
        level = levels[-1] + opens[-1]
        at += len(piece)
    if level > 0:
        raise NotJson("expected JSON, found brackets that are not closed")


def _prune(text: bytes | bytearray) -> tuple[bytes, str]:
    """Empty what is nested too deeply; return the text and the broken rule, '' if there is none."""
    kept, is_deep = [], False
    for _, piece, opens, levels in _count_levels(text):
        kept.append(bytes(itertools.compress(piece, map(_DEEPEST.__ge__, levels))))
        is_deep = is_deep or _DEEPEST in itertools.compress(levels, opens)
    return b"".join(kept), f"expected at most {_DEEPEST} levels - at $" if is_deep else ""


def _walk(payload: bytes | bytearray) -> Iterator[bytes]:
    """Yield the bytes of each element of an array, which is JSON and not empty."""
    before = _OPENING.match(payload)
    while before:
        begin = before.end()
        element = _ELEMENT.match(payload, begin)
        end = element.end() if element else _find_end(payload, begin)
        yield bytes(payload[begin:end])
        before = _COMMA.match(payload, end)


def _find_end(payload: bytes | bytearray, begin: int) -> int:
    """Return the end of an element that has too many levels for `_ELEMENT`."""
    for start, _, _, levels in _count_levels(payload, begin):
        with contextlib.suppress(ValueError):
            return start + levels.index(0, start == begin) + 1
    raise NotJson(f"expected JSON - at byte {begin}")


def _check_syntax(payload: bytes | bytearray) -> None:
    """Raise NotJson if the text is not JSON, or RecursionError if it is nested too deeply.

    A lone surrogate makes only its own entry invalid, but msgspec would reject the whole text.
    Therefore, escaped surrogates are replaced before this check.
    """
    try:
        _skip.decode(_SURROGATE.sub(rb"\\u00", payload))
    except msgspec.MsgspecError as error:
        place = _BYTE.search(str(error))
        where = f"byte {place[1] if place else len(payload)}"
        raise NotJson(f"expected JSON - at {where}") from None


def _check_unicode(payload: bytes | bytearray) -> None:
    try:
        if not payload.isascii():
            payload.decode()
    except UnicodeDecodeError as error:
        raise NotJson(f"expected UTF-8 - at byte {error.start}") from None
