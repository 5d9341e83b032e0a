"""Log lines as Cloud Logging reads them: one JSON object each, on standard output.

What may be on a line says `metric_fields.json`: signals, which alerts read and which are recorded
as metrics too, and context. No address, token or answer text: what has their shape is masked.
"""

import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Literal

from progress import settings
from progress.adapters.telemetry import lines, tracing

Severity = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

_TRACE = "logging.googleapis.com/trace"
_SPAN_ID = "logging.googleapis.com/spanId"
_SAMPLED = "logging.googleapis.com/trace_sampled"

# They print by handlers of their own, and are given these after our code is loaded.
_SERVERS = ("gunicorn.error", "uvicorn.error")


class _Adopted(logging.Handler):
    """What libraries log, as lines like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        line = {"severity": record.levelname, "message": record.getMessage()}
        if record.exc_info and record.exc_info[1]:
            line["stack_trace"] = "".join(traceback.format_exception(record.exc_info[1]))
        lines.put(line)


_ADOPTED = _Adopted(logging.WARNING)


def begin(part: str) -> None:
    """This process is that part of Progress; whatever else is told in it is written as lines."""
    tracing.name_part(part)
    logging.getLogger().addHandler(_ADOPTED)
    for name in _SERVERS:
        logging.getLogger(name).addFilter(_adopt)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _ended
    if threading.excepthook is threading.__excepthook__:  # a test's own stays
        threading.excepthook = _thread_ended


def _adopt(record: logging.LogRecord) -> bool:
    """False: nobody else is to write it."""
    _ADOPTED.emit(record)
    return False


def _ended(kind: type[BaseException], fault: BaseException, trace: TracebackType | None) -> None:
    """What nobody caught, which Python would print as it is."""
    if not isinstance(fault, Exception):
        sys.__excepthook__(kind, fault, trace)
        return
    stack = "".join(traceback.format_exception(fault))
    # Not by `write`: it asks the settings, which may be what is wrong.
    lines.put({"severity": "CRITICAL", "message": f"not caught: {fault}", "stack_trace": stack})


def _thread_ended(told: threading.ExceptHookArgs) -> None:
    if isinstance(told.exc_value, Exception):
        _ended(told.exc_type, told.exc_value, told.exc_traceback)


def write(severity: Severity, message: str, **fields: object) -> None:
    """One line, of the present trace; a field that is None is left out."""
    tracing.record(fields)
    said = {name: value for name, value in fields.items() if value is not None}
    line: dict[str, object] = {"severity": severity, "message": message, **said}
    parent = tracing.present()
    if parent is None:
        lines.put(line)
        return
    _, trace_id, span_id, flags = parent.split("-")
    trace = f"projects/{settings.current().pubsub_project_id}/traces/{trace_id}"
    lines.put(line, {_TRACE: trace, _SPAN_ID: span_id, _SAMPLED: flags == tracing.SAMPLED})
