"""Traces and metrics: start spans, keep the current trace, and record metrics.

Without OTEL_EXPORTER_OTLP_ENDPOINT, OpenTelemetry is not imported and a span does nothing. The
publisher's trace is still passed on, so that Cloud Logging can group the log lines of a trace.
"""

import functools
import random
import re
import threading
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar, Token, copy_context
from typing import TYPE_CHECKING, Self

from progress import settings
from progress.adapters.telemetry.spans import Attributes, Kind, Span

if TYPE_CHECKING:
    from progress.adapters.telemetry.otlp import Exporter

SAMPLED = "01"

# X-Cloud-Trace-Context, which Google's front ends send with or without a traceparent.
_CLOUD_TRACE_CONTEXT = re.compile(r"([0-9a-f]{32})(?:/([0-9]{1,20})(?:;o=([01]))?)?")

# A W3C traceparent. Later versions may have more parts.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_NO_ATTRIBUTES: Attributes = {}

_current: ContextVar[str | None] = ContextVar("_current", default=None)
_lock = threading.Lock()
_service = "cli"


class _TraceOnly(Span):
    """A span that only sets the current trace during its block; it is not exported."""

    __slots__ = ("_before", "_parent")

    def __init__(self, parent: str | None) -> None:
        self._parent = parent or new_traceparent()

    def __enter__(self) -> Self:
        self._before: Token[str | None] = _current.set(self._parent)
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._before)


_NO_SPAN_EXPORTED = Span()


def set_service_name(service: str) -> None:
    """Set the service name of this process's spans and metrics: `progress-{service}`."""
    global _service  # noqa: PLW0603 - a process is one service
    _service = service


def preload() -> None:
    """Import OpenTelemetry, if it is needed, so that the first request does not wait for it."""
    if settings.current().otel_exporter_otlp_endpoint:
        from progress.adapters.telemetry import otlp  # noqa: F401 - takes 300 ms


def start_span(
    name: str, parent: str | None, kind: Kind, attributes: Attributes = _NO_ATTRIBUTES
) -> Span:
    """Start a span in the caller's trace, or in a new trace if `parent` is None."""
    exporter = _exporter()
    if exporter is None:
        return _TraceOnly(parent)
    return exporter.span(name, kind, attributes, parent, _current, is_remote=True)


def use_trace(parent: str) -> Span:
    """Return a context manager whose block writes log lines with the trace of `parent`."""
    return _TraceOnly(parent)


def child_span(name: str, kind: Kind = "internal", attributes: Attributes = _NO_ATTRIBUTES) -> Span:
    """Start a span in the current trace; without a trace, the span is not exported."""
    exporter, parent = _exporter(), _current.get()
    if exporter is None or parent is None:
        return _NO_SPAN_EXPORTED
    return exporter.span(name, kind, attributes, parent, _current, is_remote=False)


def is_exporting() -> bool:
    """Return whether spans are exported; if not, a caller need not create them."""
    return _exporter() is not None


def record_metrics(fields: Mapping[str, object]) -> None:
    exporter = _exporter()
    if exporter is not None:
        exporter.record(fields)


def current_traceparent() -> str | None:
    """Return the traceparent of the current span; None outside of a trace."""
    return _current.get()


def detached_context() -> Context:
    """Return a context without the current trace, for work that outlives the trace."""
    context = copy_context()
    context.run(_current.set, None)
    return context


def parse_traceparent(text: str | None) -> str | None:
    """Return a received traceparent in normalized form; None if it is invalid."""
    match = _TRACEPARENT.fullmatch(text[:200]) if text else None
    if match is None or match[1] == _NO_TRACE or match[2] == _NO_SPAN:
        return None
    return f"00-{match[1]}-{match[2]}-{int(match[3], 16) & 1:02x}"  # the flag `sampled`


def traceparent_of_message(attributes: Mapping[str, object]) -> str | None:
    """Return the traceparent of a message, under Google's attribute name or the standard name."""
    text = attributes.get("googclient_traceparent") or attributes.get("traceparent")
    return parse_traceparent(text) if isinstance(text, str) else None


def traceparent_of_request(header: Callable[[str], str | None]) -> str | None:
    """Return the traceparent in a request's headers, from the standard header or Google's."""
    if text := header("traceparent"):
        return parse_traceparent(text)
    match = _CLOUD_TRACE_CONTEXT.fullmatch((header("x-cloud-trace-context") or "")[:200])
    if match is None:
        return None
    flags = "01" if match[3] == "1" else "00"
    return parse_traceparent(f"00-{match[1]}-{int(match[2] or 0):016x}-{flags}")


def traceparent_of_push(
    attributes: Mapping[str, object], header: Callable[[str], str | None]
) -> str | None:
    """Return the publisher's traceparent or, if the message has none, the push request's."""
    return traceparent_of_message(attributes) or traceparent_of_request(header)


def message_attributes() -> dict[str, str]:
    """Return the message attributes that carry the current trace; empty outside of a trace."""
    parent = current_traceparent()
    return {"googclient_traceparent": parent, "traceparent": parent} if parent else {}


def new_traceparent() -> str:
    """Return the traceparent of a new trace; the exporter's sampler may discard the trace."""
    number = random.getrandbits(192) | 1 << 64 | 1  # an id, not a secret
    return f"00-{number >> 64:032x}-{number & (1 << 64) - 1:016x}-{SAMPLED}"


def _exporter() -> "Exporter | None":
    return _get_exporter() if settings.current().otel_exporter_otlp_endpoint else None


def _get_exporter() -> "Exporter | None":
    with _lock:
        return _create_exporter(_service)


@functools.cache
def _create_exporter(service: str) -> "Exporter | None":
    """Create the exporter on first use; return None if that fails.

    Under gunicorn, the first use comes after the fork, so each worker creates its own exporter.
    """
    from progress.adapters.telemetry import otlp

    return otlp.create_exporter(settings.current(), service)
