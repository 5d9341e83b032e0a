"""JSON text from outside, read without trust: a value or a reason, whatever it holds."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Never

import msgspec

_DEEPEST = 64
_LONG_NUMBER = re.compile(rb"\d{309}")
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SPACE = b" \t\n\r"

_parts = msgspec.json.Decoder(list[msgspec.Raw])
_value = msgspec.json.Decoder()


class NotJson(ValueError):
    """The text is no JSON; the message says what was expected, and where."""


def elements(payload: bytes) -> list[bytes] | None:
    """The texts of an array's elements; None where the text does not begin as an array."""
    if payload.lstrip(_SPACE)[:1] != b"[":
        return None
    try:
        if not payload.isascii():
            payload.decode()
        return [bytes(part) for part in _parts.decode(payload)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _elements_with_care(payload)


def decode(text: bytes) -> tuple[Any, str]:
    """The value, and what about it no database can hold (`''`: nothing); NotJson."""
    unusual = (
        b"\\u0000" in text
        or text.count(b"{") + text.count(b"[") > _DEEPEST
        or (len(text) > 309 and _LONG_NUMBER.search(text))
    )
    if not unusual:
        try:
            return _value.decode(text), ""
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
    pruned, fault = _pruned(text)
    value = _parsed(pruned)
    return value, fault or next(_faults(value, "$"), "")


def printable(value: Any) -> str | None:
    """A text as a letter may carry it beside its payload; None for anything else."""
    from progress.masking import mask_shapes

    if type(value) is not str:
        return None
    clean = value[:200].replace("\0", "").encode("utf-8", "backslashreplace").decode()
    return mask_shapes(clean)


def _parsed(text: bytes) -> Any:
    if not text.strip(_SPACE):
        raise NotJson("expected JSON, found nothing - at $")
    try:
        return json.loads(text.decode("utf-8"), parse_constant=_refuse, parse_int=_integer)
    except UnicodeDecodeError as fault:
        raise NotJson(f"expected UTF-8 - at byte {fault.start}") from None
    except json.JSONDecodeError as fault:
        raise NotJson(f"expected JSON - at character {fault.pos}") from None


def _refuse(constant: str) -> Never:
    raise NotJson(f"expected JSON, found {constant}")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= 310 else math.inf


def _faults(value: Any, where: str) -> Iterator[str]:
    match value:
        case dict():
            for key, held in value.items():
                yield from _faults(key, where)
                yield from _faults(held, f"{where}.{_shown(key)}")
        case list():
            for position, held in enumerate(value):
                yield from _faults(held, f"{where}[{position}]")
        case str() if "\0" in value:
            yield f"expected a text without U+0000 - at {where}"
        case str() if not _is_unicode(value):
            yield f"expected a text without lone surrogates - at {where}"
        case int() | float() if not _is_finite(value):
            yield f"expected a number that is a finite double - at {where}"


def _shown(key: str) -> str:
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


def _pruned(text: bytes) -> tuple[bytes, str]:
    """The text with what is nested too deep replaced by null, and the fault if there was any.

    What no parser could read without running out of stack is only matched for its brackets.
    """
    kept: list[bytes] = []
    depth, since = 0, 0
    for token in _TOKEN.finditer(text):
        match text[token.start()]:
            case 0x5B | 0x7B:  # [ {
                depth += 1
                if depth == _DEEPEST + 1:
                    kept.append(text[since : token.start()])
            case 0x5D | 0x7D:
                depth -= 1
                if depth == _DEEPEST:
                    kept.append(b"null")
                    since = token.end()
    if depth > _DEEPEST:
        raise NotJson("expected JSON, found an end within brackets")
    kept.append(text[since:])
    deep = len(kept) > 1
    return b"".join(kept), f"expected at most {_DEEPEST} levels - at $" if deep else ""


def _elements_with_care(payload: bytes) -> list[bytes]:
    """As `elements`, for an array with an element that the fast decoder refuses; NotJson."""
    inner: list[bytes] = []
    skeleton: list[bytes] = []
    depth, since, start = 0, 0, 0
    for token in _TOKEN.finditer(payload):
        match payload[token.start()]:
            case 0x5B | 0x7B:
                depth += 1
                if depth == 2:
                    start = token.start()
            case 0x5D | 0x7D:
                depth -= 1
                if depth == 1:
                    skeleton += [payload[since:start], b"[%d]" % len(inner)]
                    since = token.end()
                    inner.append(payload[start:since])
    if depth:
        raise NotJson("expected JSON, found brackets that do not match")
    outer = _parsed(b"".join([*skeleton, payload[since:]]))
    for part in inner:
        decode(part)
    return [inner[held[0]] if type(held) is list else json.dumps(held).encode() for held in outer]
