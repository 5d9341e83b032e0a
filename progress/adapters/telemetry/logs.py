"""Log lines for Cloud Logging, in the current trace: those of Progress and of its libraries.

`metric_fields.json` lists the fields that a line may have. Metric fields are also recorded as
metrics, and alerts use them. Context fields are only logged.
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

# These servers set up their own handlers after this module is loaded. A filter on their loggers
# still gets each record before these handlers.
_SERVERS = ("gunicorn.error", "uvicorn.error")


class _LibraryHandler(logging.Handler):
    """A handler that writes the log records of libraries as JSON lines."""

    def emit(self, record: logging.LogRecord) -> None:
        line = {"severity": record.levelname, "message": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            line["stack_trace"] = "".join(traceback.format_exception(record.exc_info[1]))
        lines.write(line)


_LIBRARY_HANDLER = _LibraryHandler(logging.WARNING)


def configure(service: str) -> None:
    """Set the service name, and write logs, warnings and uncaught exceptions as JSON lines.

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
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _log_unraisable
    logging.captureWarnings(capture=True)
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
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    # `write` would read the settings, which may have caused the error.
    lines.write({"severity": "CRITICAL", "message": f"not caught: {error}", "stack_trace": stack})


def _log_uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if isinstance(arguments.exc_value, Exception):
        _log_uncaught(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)


def _log_unraisable(arguments: "sys.UnraisableHookArgs") -> None:
    """Log an error that nobody can catch, such as one while an object is deleted."""
    error = arguments.exc_value
    stack = "".join(traceback.format_exception(arguments.exc_type, error, arguments.exc_traceback))
    message = f"{arguments.err_msg or 'ignored'}: {error}"
    lines.write({"severity": "WARNING", "message": message, "stack_trace": stack})


def write(severity: Severity, message: str, **fields: object) -> None:
    """Write one line in the current trace and record its metrics; omit fields that are None."""
    tracing.record_metrics(fields)
    present = {name: value for name, value in fields.items() if value is not None}
    line: dict[str, object] = {"severity": severity, "message": message, **present}
    parent = tracing.current_traceparent()
    if parent is None:
        lines.write(line)
        return
    _, trace_id, span_id, flags = parent.split("-")
    project = settings.current().pubsub_project_id
    is_google = project != settings.LOCAL_PROJECT
    trace = f"projects/{project}/traces/{trace_id}" if is_google else trace_id
    lines.write(line, {_TRACE: trace, _SPAN_ID: span_id, _SAMPLED: flags == tracing.SAMPLED})
