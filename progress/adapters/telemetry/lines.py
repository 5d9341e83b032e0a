"""The text of a log line: one JSON object on standard output, with secrets masked.

E-mail addresses and secrets (tokens, passwords and the credentials in URLs) are masked. Database
rows that error messages quote are masked, too.
"""

import contextlib
import functools
import json
import re
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from progress import masking

_PLAIN = (int, float, bool, type(None))
_NO_FIELDS: Mapping[str, object] = {}

_encode = msgspec.json.Encoder(enc_hook=str).encode

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


def write(fields: Mapping[str, object], trusted: Mapping[str, object] = _NO_FIELDS) -> None:
    """Write a line with its time; mask addresses and secrets in `fields`, not in `trusted`."""
    text = " ".join(
        [v if type(v) is str else "" if type(v) in _PLAIN else str(v) for v in fields.values()]
    )
    if may_hold_secrets(text):
        fields = {name: _mask(value) for name, value in fields.items()}
    line = {"time": _now(), **fields, **trusted}
    try:
        text = _encode(line).decode()
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 cannot encode
        text = json.dumps(line, default=str)
    with contextlib.suppress(OSError):  # no request fails because the disk of the logs is full
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def _now() -> str:
    """Return the time with milliseconds; `isoformat` alone would take a third of a line's time."""
    seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1_000)
    return f"{_format_second(seconds)}.{milliseconds:03d}+00:00"


@functools.lru_cache(maxsize=1)
def _format_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


def _mask(value: object) -> object:
    return value if isinstance(value, _PLAIN) else mask_secrets(str(value))


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
    return masking.mask_shapes(text)


def _mask_run(match: re.Match[str]) -> str:
    """Mask the credentials of a URL, and an address whose @ is percent-encoded."""
    run = match[0]
    scheme, slashes, rest = run.partition("://")
    if slashes and "@" in rest:
        run = f"{scheme}://***@{rest.rpartition('@')[2]}"
    if "%40" in run:
        run = f"***%40{run.rpartition('%40')[2]}"
    return run
