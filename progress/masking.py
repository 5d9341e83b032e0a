"""E-mail addresses, made unreadable before anything is stored: `a***@example.com`."""

import re
from typing import Any

# A word, and the @ after it if it is the first half of an address.
_WORD = re.compile(r"""([^\s"'<>@,;:()\[\]{}]++|\\?"[^"@]{0,64}\\?"(?=@))(@?)""")
_ESCAPED = "\\u0040"  # an @ as JSON may write it

_IDS = frozenset({"user_id", "session_id", "item_id"})


def mask(address: str) -> str:
    """The first character and the domain of an address; masking again changes nothing."""
    local, at, domain = address.rpartition("@")
    if not at:
        local, domain = address, ""
    if local.endswith("***") and len(local) <= 4:
        return address
    return f"{local[:1]}***{at}{domain}"


def mask_shapes(text: str) -> str:
    """`text` with everything in it masked that has the shape of an address."""
    if "@" not in text and _ESCAPED not in text:
        return text
    return _WORD.sub(_shape, text)


def _shape(match: re.Match[str]) -> str:
    word, at = match.groups()
    local, escaped, domain = word.partition(_ESCAPED)
    return f"{local[0]}***{escaped}{domain}{at}" if at or (escaped and local) else word


def mask_emails(value: dict[str, Any]) -> dict[str, Any]:
    """The object with each `email` masked, and those addresses wherever else they stand.

    Ids stay as they are: they are opaque, and two of them must not become one.
    """
    plain = sorted({a for a in _addresses(value, within=False) if "@" in a}, key=len, reverse=True)
    masked: dict[str, Any] = _replaced(value, plain, key="", within=False)
    return masked


def _addresses(value: Any, *, within: bool) -> list[str]:
    match value:
        case dict():
            pairs = [(within or key == "email", held) for key, held in value.items()]
        case list():
            pairs = [(within, held) for held in value]
        case str() if within:
            return [value]
        case _:
            return []
    return [found for inside, held in pairs for found in _addresses(held, within=inside)]


def _replaced(value: Any, plain: list[str], *, key: str, within: bool) -> Any:
    match value:
        case dict():
            return {
                _without(name, plain): _replaced(
                    held, plain, key=name, within=within or name == "email"
                )
                for name, held in value.items()
            }
        case list():
            return [_replaced(held, plain, key=key, within=within) for held in value]
        case str() if within:
            return mask(value)
        case str() if key not in _IDS:
            return _without(value, plain)
    return value


def _without(text: str, plain: list[str]) -> str:
    for address in plain:
        text = text.replace(address, mask(address))
    return text
