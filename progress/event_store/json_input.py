"""JSON text from outside, read without trust: a value or a reason, whatever it holds."""

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

_MANY = 100_000  # commas: a longer array is walked through

# An element of an array, three levels deep at most; deeper ones are matched bracket by bracket.
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_LEVEL = rb"[\[{](?:[^\"\[\]{}]++|" + _STRING + rb"%b)*+[\]}]"
_BRACKETS = _LEVEL % b""
for _ in range(2):
    _BRACKETS = _LEVEL % (b"|" + _BRACKETS)
_GAP = rb"[ \t\n\r]*+"
_ELEMENT = re.compile(
    _GAP + rb"([^ \t\n\r,\[\]{}\"]++|" + _STRING + rb"|" + _BRACKETS + rb")", re.DOTALL
)
# What is JSON at a glance: a number, a word or a text.
_SIMPLE = re.compile(
    rb"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null"
    rb"|\"(?:[^\"\\\x00-\x1f]++|\\(?:[\"\\/bfnrt]|u[0-9a-fA-F]{4}))*+\""
)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # behind another backslash it is none
_OPENING = re.compile(_GAP + rb"\[")
_COMMA = re.compile(_GAP + rb",")
_END = re.compile(_GAP + rb"\]" + _GAP + rb"\Z")

_parts = msgspec.json.Decoder(list[msgspec.Raw])
_skip = msgspec.json.Decoder(msgspec.Raw)  # takes no memory
_BYTE = re.compile(r"\(byte (\d+)\)")  # as msgspec tells a place
_value = msgspec.json.Decoder()


class NotJson(ValueError):
    """The text is no JSON; the message says what was expected, and where."""


def elements(payload: bytes | bytearray) -> Iterable[bytes] | None:
    """The texts of an array's elements; None where the text does not begin as an array.

    NotJson, at the latest in place of the last element. A long array is read element by element,
    so that it takes no memory: a million ones would be a million objects. What is wrong with one
    is found beforehand: a look at each element would take longer than the request may.
    """
    if not _OPENING.match(payload):
        return None
    if not payload.isascii():
        _check_unicode(payload)
    is_long, is_valid = payload.count(b",") >= _MANY, True
    try:
        if not is_long:
            return map(bytes, _parts.decode(payload))  # one copy at a time
        # msgspec takes a lone surrogate for no JSON: it is an entry's own fault.
        _skip.decode(_SURROGATE.sub(rb"\\u00", payload))
    except RecursionError:
        is_valid = False
    except msgspec.MsgspecError as fault:
        if is_long:
            place = _BYTE.search(str(fault))
            raise NotJson(
                f"expected JSON - at byte {place[1] if place else len(payload)}"
            ) from None
        is_valid = False
    return _walk(payload, is_valid=is_valid)


def decode(text: bytes) -> tuple[Any, str]:
    """The value, and what about it no database can hold (`''`: nothing); NotJson."""
    may_be_deep = text.count(b"{") + text.count(b"[") > _DEEPEST
    unusual = b"\\u0000" in text or may_be_deep or (len(text) > 309 and _LONG_NUMBER.search(text))
    if not unusual:
        try:
            return _value.decode(text), ""
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
    pruned, fault = _pruned(text) if may_be_deep else (text, "")
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
        return _any_json.decode(text.decode("utf-8"))
    except UnicodeDecodeError as fault:
        raise NotJson(f"expected UTF-8 - at byte {fault.start}") from None
    except json.JSONDecodeError as fault:
        raise NotJson(f"expected JSON - at character {fault.pos}") from None


def _refuse(constant: str) -> Never:
    raise NotJson(f"expected JSON, found {constant}")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= 310 else math.inf


_any_json = json.JSONDecoder(parse_constant=_refuse, parse_int=_integer)


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


def _walk(payload: bytes | bytearray, *, is_valid: bool) -> Iterator[bytes]:
    """Each element as it stands; one is decoded only where the whole is not known to be JSON."""
    opening = _OPENING.match(payload)
    at = opening.end() if opening else 0
    end = _END.match(payload, at)  # of an empty array
    while end is None:
        found = _ELEMENT.match(payload, at)
        begin, at = found.span(1) if found else _nested(payload, at)
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


def _nested(payload: bytes | bytearray, at: int) -> tuple[int, int]:
    """Where an element begins and ends that is nested deeper than the expression looks."""
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


def _check_unicode(payload: bytes | bytearray) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError as fault:
        raise NotJson(f"expected UTF-8 - at byte {fault.start}") from None
