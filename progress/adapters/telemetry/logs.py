"""Log lines for Cloud Logging: one JSON object each, on standard output.

`metric_fields.json` lists the fields that a line may have. Metric fields are also recorded as
metrics, and alerts use them. Context fields are only logged. E-mail addresses and secrets (tokens,
passwords and the credentials in URLs) are masked. Database rows that error messages quote are
masked, too.
"""

import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Literal

import msgspec

from progress import masking, settings
from progress.adapters.telemetry import tracing

Severity = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

_TRACE = "logging.googleapis.com/trace"
_SPAN_ID = "logging.googleapis.com/spanId"
_SAMPLED = "logging.googleapis.com/trace_sampled"

# These servers set up their own handlers after this module is loaded. A filter on their loggers
# still gets each record before these handlers.
_SERVERS = ("gunicorn.error", "uvicorn.error")

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


class _LibraryHandler(logging.Handler):
    """A handler that writes the log records of libraries as JSON lines."""

    def emit(self, record: logging.LogRecord) -> None:
        line = {"severity": record.levelname, "message": record.getMessage()}
        if record.exc_info and record.exc_info[1]:
            line["stack_trace"] = "".join(traceback.format_exception(record.exc_info[1]))
        write_line(line)


_LIBRARY_HANDLER = _LibraryHandler(logging.WARNING)


def configure(service: str) -> None:
    """Set the service name, and write library logs and uncaught exceptions as JSON lines.

    Raise SettingsError if a setting is invalid.
    """
    tracing.set_service_name(service)
    logging.getLogger().addHandler(_LIBRARY_HANDLER)
    for name in _SERVERS:
        logging.getLogger(name).addFilter(_take_over)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _log_uncaught
    if threading.excepthook is threading.__excepthook__:  # a test may have set a hook
        threading.excepthook = _log_uncaught_in_thread
    tracing.preload()


def _take_over(record: logging.LogRecord) -> bool:
    """Write the record; return False, so that no other handler writes it."""
    _LIBRARY_HANDLER.emit(record)
    return False


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if not isinstance(error, Exception):
        sys.__excepthook__(kind, error, trace)
        return
    stack = "".join(traceback.format_exception(error))
    # `write` would read the settings, which may have caused the error.
    write_line({"severity": "CRITICAL", "message": f"not caught: {error}", "stack_trace": stack})


def _log_uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if isinstance(arguments.exc_value, Exception):
        _log_uncaught(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)


def write(severity: Severity, message: str, **fields: object) -> None:
    """Write one line in the current trace and record its metrics; omit fields that are None."""
    tracing.record_metrics(fields)
    present = {name: value for name, value in fields.items() if value is not None}
    line: dict[str, object] = {"severity": severity, "message": message, **present}
    parent = tracing.current_traceparent()
    if parent is None:
        write_line(line)
        return
    _, trace_id, span_id, flags = parent.split("-")
    trace = f"projects/{settings.current().pubsub_project_id}/traces/{trace_id}"
    write_line(line, {_TRACE: trace, _SPAN_ID: span_id, _SAMPLED: flags == tracing.SAMPLED})


def write_line(fields: Mapping[str, object], trusted: Mapping[str, object] = _NO_FIELDS) -> None:
    """Write a line: `fields` with e-mail addresses and secrets masked, `trusted` unchanged."""
    text = " ".join(
        [v if type(v) is str else "" if type(v) in _PLAIN else str(v) for v in fields.values()]
    )
    if may_hold_secrets(text):
        fields = {name: _mask(value) for name, value in fields.items()}
    sys.stdout.write(_to_json({**fields, **trusted}) + "\n")
    sys.stdout.flush()


def _mask(value: object) -> object:
    return value if isinstance(value, _PLAIN) else mask_secrets(str(value))


def _to_json(line: Mapping[str, object]) -> str:
    try:
        return _encode(line).decode()
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 cannot encode
        return json.dumps(line, default=str)


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
