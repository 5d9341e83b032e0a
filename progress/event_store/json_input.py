"""Decode untrusted JSON, or say why it cannot be decoded or stored."""

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, Never

import msgspec

_DEEPEST = 64
_LONG_NUMBER = re.compile(rb"\d{309}")
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SPACE = b" \t\n\r"

_NOTHING = "expected JSON, found nothing - at $"
_MANY = 100_000  # an array with this many commas or more is split without being decoded

# _ELEMENT matches an array element of at most three levels. A deeper element is matched bracket by
# bracket.
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_LEVEL = rb"[\[{](?:[^\"\[\]{}]++|" + _STRING + rb"%b)*+[\]}]"
_BRACKETS = _LEVEL % b""
for _ in range(2):
    _BRACKETS = _LEVEL % (b"|" + _BRACKETS)
_GAP = rb"[ \t\n\r]*+"
_ELEMENT = re.compile(
    _GAP + rb"([^ \t\n\r,\[\]{}\"]++|" + _STRING + rb"|" + _BRACKETS + rb")", re.DOTALL
)
# A number, a literal or a string. Text that matches is valid JSON, so it need not be decoded.
_SIMPLE = re.compile(
    rb"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null"
    rb"|\"(?:[^\"\\\x00-\x1f]++|\\(?:[\"\\/bfnrt]|u[0-9a-fA-F]{4}))*+\""
)
# Matches escaped surrogates. It also matches `\\ud8`, an escaped backslash before plain text.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_OPENING = re.compile(_GAP + rb"\[")
_COMMA = re.compile(_GAP + rb",")
_END = re.compile(_GAP + rb"\]" + _GAP + rb"\Z")

_parts = msgspec.json.Decoder(list[msgspec.Raw])
_skip = msgspec.json.Decoder(msgspec.Raw)  # Checks the syntax without using memory.
_BYTE = re.compile(r"\(byte (\d+)\)")  # Finds the position in an error message of msgspec.
_value = msgspec.json.Decoder()


class NotJson(ValueError):
    """The text is not JSON; the message says what was expected, and where."""


def elements(payload: bytes | bytearray) -> Iterable[bytes] | None:
    """Return the bytes of an array's elements, lazily; None if the payload does not begin with [.

    Invalid JSON raises NotJson, at the latest when the iteration ends. A long array is split
    without being decoded, because decoding would create an object for each element. The array's
    syntax is first checked as a whole, because checking each element would exceed the request's
    deadline.
    """
    if not _OPENING.match(payload):
        return None
    if not payload.isascii():
        _check_unicode(payload)
    is_long, is_valid = payload.count(b",") >= _MANY, True
    try:
        if not is_long:
            return map(bytes, _parts.decode(payload))  # Copies one element at a time.
        _check_syntax(payload)
    except (RecursionError, msgspec.MsgspecError):
        is_valid = False
    return _walk(payload, is_valid=is_valid)


def check(text: bytes | bytearray) -> None:
    """Raise NotJson unless the text is JSON; the message names the place in the text."""
    if not text.strip(_SPACE):
        raise NotJson(_NOTHING)
    if not text.isascii():
        _check_unicode(text)
    try:
        _check_syntax(text)
    except RecursionError:
        decode(bytes(text))


def decode(text: bytes) -> tuple[Any, str]:
    """Return the value, and why PostgreSQL cannot store it (`''` if it can).

    Raise NotJson if the text is not JSON.
    """
    may_be_deep = text.count(b"{") + text.count(b"[") > _DEEPEST
    unusual = b"\\u0000" in text or may_be_deep or (len(text) > 309 and _LONG_NUMBER.search(text))
    if not unusual:
        try:
            return _value.decode(text), ""
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
    pruned, unstorable = _prune(text) if may_be_deep else (text, "")
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
    try:
        return _any_json.decode(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise NotJson(f"expected UTF-8 - at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise NotJson(f"expected JSON - at character {error.pos}") from None


def _reject_constant(constant: str) -> Never:
    raise NotJson(f"expected JSON, found {constant}")


def _parse_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= 310 else math.inf


_any_json = json.JSONDecoder(parse_constant=_reject_constant, parse_int=_parse_integer)


def _find_unstorable(value: Any, where: str) -> Iterator[str]:
    """Yield each reason why PostgreSQL cannot store the value."""
    match value:
        case dict():
            for key, field in value.items():
                yield from _find_unstorable(key, where)
                yield from _find_unstorable(field, f"{where}.{_format_key(key)}")
        case list():
            for position, element in enumerate(value):
                yield from _find_unstorable(element, f"{where}[{position}]")
        case str() if "\0" in value:
            yield f"expected a string without U+0000 - at {where}"
        case str() if not _is_unicode(value):
            yield f"expected a string without lone surrogates - at {where}"
        case int() | float() if not _is_finite(value):
            yield f"expected a number that is a finite double - at {where}"


def _format_key(key: str) -> str:
    return key if key.isidentifier() and key.isascii() and len(key) <= 60 else "…"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(float(number))
    except OverflowError:
        return False


def _prune(text: bytes) -> tuple[bytes, str]:
    """Replace too deeply nested values with null; return the new text and the broken rule.

    If no value is too deeply nested, return the same text and `''`. Match brackets instead of
    parsing, because a parser would run out of stack.
    """
    pieces: list[bytes] = []
    depth, since = 0, 0
    for token in _TOKEN.finditer(text):
        match text[token.start()]:
            case 0x5B | 0x7B:  # [ {
                depth += 1
                if depth == _DEEPEST + 1:
                    pieces.append(text[since : token.start()])
            case 0x5D | 0x7D:
                depth -= 1
                if depth == _DEEPEST:
                    pieces.append(b"null")
                    since = token.end()
    if depth > _DEEPEST:
        raise NotJson("expected JSON, found brackets that are not closed")
    pieces.append(text[since:])
    deep = len(pieces) > 1
    return b"".join(pieces), f"expected at most {_DEEPEST} levels - at $" if deep else ""


def _walk(payload: bytes | bytearray, *, is_valid: bool) -> Iterator[bytes]:
    """Yield each element's bytes; if `is_valid` is false, first decode the element to check it."""
    opening = _OPENING.match(payload)
    at = opening.end() if opening else 0
    end = _END.match(payload, at)  # An immediate ] means that the array is empty.
    while end is None:
        element = _ELEMENT.match(payload, at)
        begin, at = element.span(1) if element else _match_deep_element(payload, at)
        part = bytes(payload[begin:at])
        if not is_valid and not _SIMPLE.fullmatch(part):
            decode(part)
        yield part
        comma = _COMMA.match(payload, at)
        if comma is None:
            end = _END.match(payload, at)
            break
        at = comma.end()
    if end is None:
        raise NotJson(f"expected JSON - at byte {at}")


def _match_deep_element(payload: bytes | bytearray, at: int) -> tuple[int, int]:
    """Return the span of an element that has too many levels for `_ELEMENT`."""
    depth, begin, end = 0, -1, -1
    for token in _TOKEN.finditer(payload, at):
        match payload[token.start()]:
            case 0x5B | 0x7B:
                begin = begin if depth else token.start()
                depth += 1
            case 0x5D | 0x7D:
                depth -= 1
                end = token.end()
        if depth <= 0:
            break
    if depth or begin < 0 or payload[at:begin].strip(_SPACE):
        raise NotJson(f"expected JSON - at byte {at}")
    return begin, end


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
        payload.decode()
    except UnicodeDecodeError as error:
        raise NotJson(f"expected UTF-8 - at byte {error.start}") from None
