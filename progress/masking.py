"""Mask e-mail addresses in everything that is stored or logged: `a***@example.com`."""

import io
import re
from typing import Any

# A word. If the word is the local part of an address, the match includes the @ after the word.
_WORD = re.compile(r"""([^\s"'<>@,;:()\[\]{}]++|\\?"[^"@]{0,64}\\?"(?=@))(@?)""")
# The same pattern for JSON. There, an unescaped quote before an @ is not part of an address: the
# quote begins or ends a string.
_JSON_WORD = re.compile(r"""([^\s"'<>@,;:()\[\]{}]++|"[^"@]{0,64}\\"(?=@))(@?)""")
_ESCAPED = "\\u0040"  # an escaped @ in JSON
MASKED = "***@"  # is in each address that was masked

# One character of a JSON string. Cutting an escape in two would make the JSON invalid.
_CHARACTER = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\u[0-9a-fA-F]{4}|\\.|.",
    re.DOTALL,
)

_MAX_ADDRESSES = 16  # if an event has more, every string with an @ is masked completely
_IDS = frozenset({"user_id", "session_id", "item_id", "group_id", "list_id"})


def mask(address: str) -> str:
    """Return the address as `a***@example.com`; an address that is already masked is unchanged."""
    local, at, domain = address.rpartition("@")
    if not at:
        local, domain = address, ""
    if local.endswith("***") and len(local) <= 4:
        return address
    return f"{local[:1]}***{at}{domain}"


def mask_shapes(text: str) -> str:
    return _mask_words(text, _WORD)


def mask_json(text: str) -> str:
    """Mask JSON text as `mask_shapes` does; the result is valid JSON."""
    return _mask_words(text, _JSON_WORD)


def _mask_words(text: str, word: re.Pattern[str]) -> str:
    if "@" not in text and _ESCAPED not in text:
        return text
    masked, end = io.StringIO(), 0  # sub() would need hundreds of MB for millions of words
    for match in word.finditer(text):
        local, at = match.groups()
        if at or _ESCAPED in local:
            masked.write(text[end : match.start()])
            masked.write(_mask_word(local, at) if "\\" in local else f"{local[0]}{MASKED}")
            end = match.end()
    return masked.getvalue() + text[end:]


def _mask_word(word: str, at: str) -> str:
    parts = word.split(_ESCAPED)
    followed = len(parts) if at else len(parts) - 1  # the number of parts that precede an @
    return _ESCAPED.join([*map(_cut, parts[:followed]), *parts[followed:]]) + at


def _cut(local: str) -> str:
    first = _CHARACTER.match(local)
    if first is None:
        return ""
    return "***" if first[0] == "\\" else f"{first[0]}***"  # a backslash alone is not valid JSON


def mask_emails(value: dict[str, Any]) -> dict[str, Any]:
    """Mask the addresses in each `email` field, and wherever else they occur in the object.

    Ids stay unchanged, because two different ids must not become equal. With more than 16
    addresses, every string with an @ is masked completely, because searching every string for
    every address takes quadratic time.
    """
    addresses = {a for a in _find_addresses(value, within=False) if "@" in a}
    longest_first = sorted(addresses, key=len, reverse=True)
    plain = [(address, mask(address)) for address in longest_first]
    masked: dict[str, Any] = _mask_value(value, plain, key="", within=False)
    return masked


def _find_addresses(value: Any, *, within: bool) -> list[str]:
    """Return the strings inside `email` fields; `within` is true if `value` is in such a field."""
    match value:
        case dict():
            pairs = [(within or key == "email", field) for key, field in value.items()]
        case list():
            pairs = [(within, element) for element in value]
        case str() if within:
            return [value]
        case _:
            return []
    return [text for below, field in pairs for text in _find_addresses(field, within=below)]


def _mask_value(value: Any, plain: list[tuple[str, str]], *, key: str, within: bool) -> Any:
    match value:
        case dict():
            return {
                _mask_addresses(name, plain): _mask_value(
                    field, plain, key=name, within=within or name == "email"
                )
                for name, field in value.items()
            }
        case list():
            return [_mask_value(element, plain, key=key, within=within) for element in value]
        case str() if within:
            return mask(value)
        case str() if key not in _IDS:
            return _mask_addresses(value, plain)
    return value


def _mask_addresses(text: str, plain: list[tuple[str, str]]) -> str:
    if not plain or "@" not in text:
        return text
    if len(plain) > _MAX_ADDRESSES:
        return mask(text)
    for address, masked in plain:
        text = text.replace(address, masked)
    return text
