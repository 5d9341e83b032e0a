"""Log lines as Cloud Logging reads them: one JSON object each, on standard output.

Fields that alerts read: `event_delay_ms` (recorded minus published), `projection_lag` (events),
`projection_lag_ms`, `cache_result`, `operation`, `latency_ms`. No address, token or answer text.
"""

import json
import sys
from typing import Literal

import msgspec

from progress import settings

Severity = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


def write(
    severity: Severity, message: str, *, trace_parent: str | None = None, **fields: object
) -> None:
    """One line; `trace_parent` (W3C) ties it to the publisher's trace."""
    line: dict[str, object] = {"severity": severity, "message": message, **fields}
    parts = (trace_parent or "").split("-")
    if len(parts) == 4:
        project = settings.current().pubsub_project_id
        line["logging.googleapis.com/trace"] = f"projects/{project}/traces/{parts[1]}"
        line["logging.googleapis.com/spanId"] = parts[2]
    sys.stdout.write(_written(line) + "\n")
    sys.stdout.flush()


def _written(line: dict[str, object]) -> str:
    try:
        return msgspec.json.encode(line).decode()
    except UnicodeEncodeError:  # half a character, of which no UTF-8 can be made
        return json.dumps(line, default=str)
