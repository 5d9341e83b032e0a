"""Mask e-mail addresses in everything that is stored: `a***@example.com`.

In log lines, also mask secrets: tokens, passwords and the credentials in URLs.
"""

import io
import re
from typing import Any

# A word. If the word is the local part of an address, the match includes the @ after the word.
_WORD = re.compile(r"""([^\s"'<>@,;:()\[\]{}]++|\\?"[^"@]{0,64}\\?"(?=@))(@?)""")
# The same pattern for JSON. There, an unescaped quote before an @ is not part of an address: the
# quote begins or ends a string.
_JSON_WORD = re.compile(r"""([^\s"'<>@,;:()\[\]{}]++|"[^"@]{0,64}\\"(?=@))(@?)""")
_ESCAPED = "\\u0040"  # an escaped @ in JSON

# One character of a JSON string. Cutting an escape in two would make the JSON invalid.
_CHARACTER = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\u[0-9a-fA-F]{4}|\\.|.",
    re.DOTALL,
)

# A word that begins like base64-encoded JSON, such as a JWT. The match includes all its parts.
_JWT = re.compile(r"(?:eyJ|eyA|ewo)[\w=-]{6,}(?:\.[\w=-]*)*")
_GOOGLE_TOKEN = re.compile(r"ya29\.[\w.-]+")
_PRIVATE = re.compile(
    r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_BEARER = re.compile(r"(bearer(?:[\s:=+\"'\\]|%20)+)\S+", re.IGNORECASE)
_AUTHORIZATION = re.compile(r"(authorization[\"'\\]*\s*[,=:]\s*)[^\r\n]+", re.IGNORECASE)
_NAMED = re.compile(
    r"""((?:pass(?:word|wd|phrase)|pwd|secret|api[_-]?key|_token)[\\"']*\s*[=:]\s*|token=|password\s+(?='))"""
    r"""(?:\\*"(?:[^"\\]|\\.|"")*+(?:"|$)|\\*'(?:[^'\\]|\\.|'')*+(?:'|$)|\S)\S*""",
    re.IGNORECASE | re.DOTALL,
)
# The row that a PostgreSQL error quotes; it holds text that learners typed.
_ROW = re.compile(r"(row contains \()(?:.*\)\.|.*)", re.DOTALL | re.IGNORECASE)
_RUN = re.compile(r"\S+")
_MAX_ADDRESSES = 16  # if an event has more, every string with an @ is masked completely
_IDS = frozenset({"user_id", "session_id", "item_id", "group_id"})


def mask(address: str) -> str:
    """Return the address as `a***@example.com`; an address that is already masked is unchanged."""
    local, at, domain = address.rpartition("@")
    if not at:
        local, domain = address, ""
    if local.endswith("***") and len(local) <= 4:
        return address
    return f"{local[:1]}***{at}{domain}"


def mask_shapes(text: str) -> str:
    """Mask everything in `text` that looks like an address."""
    return _mask_words(text, _WORD)


def mask_json(text: str) -> str:
    """Mask JSON text as `mask_shapes` does; the result is valid JSON."""
    return _mask_words(text, _JSON_WORD)


def _mask_words(text: str, word: re.Pattern[str]) -> str:
    if "@" not in text and _ESCAPED not in text:
        return text
    masked, end = io.StringIO(), 0  # sub() would need hundreds of MB for millions of words
    for match in word.finditer(text):
        if match[2] or _ESCAPED in match[1]:
            masked.write(text[end : match.start()])
            masked.write(_mask_word(match))
            end = match.end()
    return masked.getvalue() + text[end:]


def _mask_word(match: re.Match[str]) -> str:
    word, at = match.groups()
    parts = word.split(_ESCAPED)
    followed = len(parts) if at else len(parts) - 1  # the number of parts that precede an @
    return _ESCAPED.join([*map(_cut, parts[:followed]), *parts[followed:]]) + at


def _cut(local: str) -> str:
    first = _CHARACTER.match(local)
    if first is None:
        return ""
    return "***" if first[0] == "\\" else f"{first[0]}***"  # a backslash alone is not valid JSON


def may_hold_secrets(text: str) -> bool:
    """Return whether `mask_secrets` might change the text or, if it is JSON, a string in it."""
    folded = text.lower()
    # This expression runs for every log line; a loop would take four times as long.
    return (
        "@" in text or "u0040" in text or "%40" in text
        or "eyj" in folded or "eya" in folded or "ewo" in folded
        or "bearer" in folded or "token" in folded or "authoriz" in folded
        or "pass" in folded or "pwd" in folded or "secret" in folded
        or "apikey" in folded or "api_key" in folded or "api-key" in folded
        or "row contains" in folded or "private key" in folded or "ya29." in text
    )  # fmt: skip


def mask_secrets(text: str) -> str:
    """Mask everything in `text` that looks like an address, a token or a password."""
    if not may_hold_secrets(text):
        return text
    text = _PRIVATE.sub(r"\1***-----END PRIVATE KEY-----", _GOOGLE_TOKEN.sub("***", text))
    text = _BEARER.sub(r"\1***", _JWT.sub("***", text))
    text = _NAMED.sub(r"\1***", _AUTHORIZATION.sub(r"\1***", text))
    text = _ROW.sub(r"\1***).", text)
    if "@" in text or "%40" in text:
        text = _RUN.sub(_mask_run, text)
    return mask_shapes(text)


def _mask_run(match: re.Match[str]) -> str:
    """Mask the credentials of a URL, and an address whose @ is percent-encoded."""
    run = match[0]
    scheme, slashes, rest = run.partition("://")
    if slashes and "@" in rest:
        run = f"{scheme}://***@{rest.rpartition('@')[2]}"
    if "%40" in run:
        run = f"***%40{run.rpartition('%40')[2]}"
    return run


def mask_emails(value: dict[str, Any]) -> dict[str, Any]:
    """Mask the addresses in each `email` field, and wherever else they occur in the object.

    Ids stay unchanged, because two different ids must not become equal. With more than 16
    addresses, every string with an @ is masked completely, because searching every string for
    every address takes quadratic time.
    """
    addresses = {a for a in _find_addresses(value, within=False) if "@" in a}
    plain = sorted(addresses, key=len, reverse=True)
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


def _mask_value(value: Any, plain: list[str], *, key: str, within: bool) -> Any:
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


def _mask_addresses(text: str, plain: list[str]) -> str:
    if not plain or "@" not in text:
        return text
    if len(plain) > _MAX_ADDRESSES:
        return mask(text)
    for address in plain:
        text = text.replace(address, mask(address))
    return text
