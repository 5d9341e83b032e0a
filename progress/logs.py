"""Log lines as Cloud Logging reads them: one JSON object each, on standard output.

What may be on a line says `signals.json`: signals, which alerts read and which are recorded as
metrics too, and context. No address, token or answer text: what has their shape is masked.
"""

import logging
import traceback
from typing import Literal

from progress import lines, settings, telemetry

Severity = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

_TRACE = "logging.googleapis.com/trace"
_SPAN_ID = "logging.googleapis.com/spanId"
_SAMPLED = "logging.googleapis.com/trace_sampled"


class _Adopted(logging.Handler):
    """What libraries log, as lines like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        line = {"severity": record.levelname, "message": record.getMessage()}
        if record.exc_info and record.exc_info[1]:
            line["stack_trace"] = "".join(traceback.format_exception(record.exc_info[1]))
        lines.put(line)


def begin(part: str) -> None:
    """This process is that part of Progress; what its libraries warn of is written as lines."""
    telemetry.name_part(part)
    root = logging.getLogger()
    if not any(isinstance(each, _Adopted) for each in root.handlers):
        root.addHandler(_Adopted(logging.WARNING))


def write(severity: Severity, message: str, **fields: object) -> None:
    """One line, of the present trace; a field that is None is left out."""
    telemetry.record(fields)
    line: dict[str, object] = {"severity": severity, "message": message, **fields}
    if None in fields.values():
        line = {name: value for name, value in line.items() if value is not None}
    parent = telemetry.present()
    if parent is None:
        lines.put(line)
        return
    _, trace_id, span_id, flags = parent.split("-")
    trace = f"projects/{settings.current().pubsub_project_id}/traces/{trace_id}"
    lines.put(line, {_TRACE: trace, _SPAN_ID: span_id, _SAMPLED: flags == telemetry.SAMPLED})
