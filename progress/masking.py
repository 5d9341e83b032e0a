"""E-mail addresses, made unreadable before anything is stored: `a***@example.com`.

In what is logged secrets too: tokens, passwords, and who signs in to an address of the net.
"""

import io
import re
from typing import Any

# A word, and the @ after it if it is the first half of an address.
_WORD = re.compile(r"""([^\s"'<>@,;:()\[\]{}]++|\\?"[^"@]{0,64}\\?"(?=@))(@?)""")
# The same in JSON: a quote before an @ ends a text there, or begins one, unless it is escaped.
_JSON_WORD = re.compile(r"""([^\s"'<>@,;:()\[\]{}]++|"[^"@]{0,64}\\"(?=@))(@?)""")
_ESCAPED = "\\u0040"  # an @ as JSON may write it
# A character as JSON writes it: what is cut within an escape is no JSON any more.
_CHARACTER = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\u[0-9a-fA-F]{4}|\\.|.",
    re.DOTALL,
)

# A JWT, or what begins like one: JSON in base64. Whatever is glued to it goes with it.
_JWT = re.compile(r"(?:eyJ|eyA|ewo)[\w=-]{6,}(?:\.[\w=-]*)*")
_GOOGLE_S = re.compile(r"ya29\.[\w.-]+")  # its access tokens
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
# A row that PostgreSQL refused, whole: what learners typed is in it.
_ROW = re.compile(r"(row contains \()(?:.*\)\.|.*)", re.DOTALL | re.IGNORECASE)
_RUN = re.compile(r"\S+")
_SOUGHT = 16  # addresses of one event; each is sought in all of its texts
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
    return _masked(text, _WORD)


def mask_json(text: str) -> str:
    """The same of a JSON text, which stays one."""
    return _masked(text, _JSON_WORD)


def _masked(text: str, word: re.Pattern[str]) -> str:
    if "@" not in text and _ESCAPED not in text:
        return text
    masked, end = io.StringIO(), 0  # millions of words, as sub() keeps them, are hundreds of MB
    for match in word.finditer(text):
        if match[2] or _ESCAPED in match[1]:
            masked.write(text[end : match.start()])
            masked.write(_shape(match))
            end = match.end()
    return masked.getvalue() + text[end:]


def _shape(match: re.Match[str]) -> str:
    word, at = match.groups()
    parts = word.split(_ESCAPED)
    followed = len(parts) if at else len(parts) - 1  # by an @, so half an address each
    return _ESCAPED.join([*map(_cut, parts[:followed]), *parts[followed:]]) + at


def _cut(local: str) -> str:
    first = _CHARACTER.match(local)
    if first is None:
        return ""
    return "***" if first[0] == "\\" else f"{first[0]}***"  # half an escape is no JSON


def may_hold_secrets(text: str) -> bool:
    """Whether `mask_secrets` could change it; JSON may be asked about as a whole."""
    folded = text.lower()
    # Written out: each line that is logged is asked, and a loop takes four times as long.
    return (
        "@" in text or "u0040" in text or "%40" in text
        or "eyj" in folded or "eya" in folded or "ewo" in folded
        or "bearer" in folded or "token" in folded or "authoriz" in folded
        or "pass" in folded or "pwd" in folded or "secret" in folded
        or "apikey" in folded or "api_key" in folded or "api-key" in folded
        or "row contains" in folded or "private key" in folded or "ya29." in text
    )  # fmt: skip


def mask_secrets(text: str) -> str:
    """`text` without what has the shape of an address, a token or a password."""
    if not may_hold_secrets(text):
        return text
    text = _PRIVATE.sub(r"\1***-----END PRIVATE KEY-----", _GOOGLE_S.sub("***", text))
    text = _BEARER.sub(r"\1***", _JWT.sub("***", text))
    text = _NAMED.sub(r"\1***", _AUTHORIZATION.sub(r"\1***", text))
    text = _ROW.sub(r"\1***).", text)
    if "@" in text or "%40" in text:
        text = _RUN.sub(_run, text)
    return mask_shapes(text)


def _run(match: re.Match[str]) -> str:
    """A run of characters without who signs in by a URL, and without an encoded address."""
    run = match[0]
    scheme, slashes, rest = run.partition("://")
    if slashes and "@" in rest:
        run = f"{scheme}://***@{rest.rpartition('@')[2]}"
    if "%40" in run:
        run = f"***%40{run.rpartition('%40')[2]}"
    return run


def mask_emails(value: dict[str, Any]) -> dict[str, Any]:
    """The object with each `email` masked, and those addresses wherever else they stand.

    Ids stay as they are: they are opaque, and two of them must not become one. Beside more than
    16 addresses any other text with an @ is masked whole: to seek all in all is quadratic.
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
    if not plain or "@" not in text:
        return text
    if len(plain) > _SOUGHT:
        return mask(text)
    for address in plain:
        text = text.replace(address, mask(address))
    return text
