"""Export spans and metrics by OTLP over HTTP.

This module is imported only if an endpoint is configured. The exporter has bounded queues and its
own threads, so an unreachable endpoint never delays a request. Failed exports are logged at most
once a minute. OpenTelemetry itself reads the standard variables (OTEL_TRACES_SAMPLER,
OTEL_BSP_SCHEDULE_DELAY, …).
"""

import asyncio
import atexit
import logging
import signal
import threading
import time
import uuid
from collections.abc import Mapping
from contextvars import ContextVar, Token
from typing import Any, Self
from urllib.parse import urlsplit

import google.auth
import google.auth.exceptions
import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from progress.adapters.telemetry import lines, metric_fields
from progress.adapters.telemetry.spans import Attributes, Kind, Span
from progress.settings import LOCAL_PROJECT, Settings, fill_in

_GOOGLE = "telemetry.googleapis.com"
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_SHUTDOWN_TIMEOUT_S = 3.0  # The time limit of the last export, when the process ends.
_LOG_INTERVAL_S = 60.0  # The exporters log at most once in this time.
_METRIC = "progress.{}"

# Between two requests, an instance may get no CPU. Spans are therefore exported every second, while
# the instance still handles requests. The timeout is long, because an export may be suspended until
# the next request.
_DEFAULTS = {"OTEL_EXPORTER_OTLP_TIMEOUT": "600", "OTEL_BSP_SCHEDULE_DELAY": "1000"}

# The upper bounds of a histogram's buckets, by unit.
_BOUNDS = {
    "ms": (
        *(0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 350, 500, 750),
        *(1e3, 2e3, 5e3, 1e4, 6e4, 6e5),
    ),
    "{event}": (0, 1, 10, 100, 500, 1e3, 2e3, 5e3, 1e4, 1e5),
    "{letter}": (0, 1, 5, 10, 50, 100, 1e3),
    "{operation}": (0, 1, 2, 5, 10, 20, 50, 100, 1e3),
    "1": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1),
    "By": (1e7, 1e8, 5e8, 1e9, 2e9, 5e9, 1e10, 2e10, 5e10, 1e11),
}
_KINDS = {
    "internal": trace.SpanKind.INTERNAL,
    "client": trace.SpanKind.CLIENT,
    "server": trace.SpanKind.SERVER,
    "producer": trace.SpanKind.PRODUCER,
    "consumer": trace.SpanKind.CONSUMER,
}


def create_exporter(settings: Settings, service: str) -> "Exporter | None":
    """Return this process's exporter; if that fails, write a log line and return None."""
    try:
        return Exporter(settings, service)
    except (google.auth.exceptions.GoogleAuthError, ValueError) as error:
        _log(f"traces and metrics are not exported: {error}")
        return None


class Exporter:
    def __init__(self, settings: Settings, service: str) -> None:
        """Create the exporter; raise GoogleAuthError if a Google endpoint has no credentials."""
        _redirect_library_logs()
        fill_in(**_DEFAULTS)
        project = settings.pubsub_project_id
        resource = Resource.create(
            {
                "service.name": f"progress-{service}",
                "service.instance.id": str(uuid.uuid4()),
                "deployment.environment.name": settings.environment,
            }
            | ({"gcp.project_id": project} if project != LOCAL_PROJECT else {})
        )
        spans, metrics = _session_for(settings), _session_for(settings)
        # The providers' own shutdown at exit would wait for half a minute.
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(session=spans)))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(session=metrics))
        self._metrics = MeterProvider([reader], resource, shutdown_on_exit=False)
        self._tracer = self._traces.get_tracer("progress")
        declared = metric_fields.load()
        self._metric_fields = declared.metric_fields | declared.exported
        self._instruments = {name: self._instrument(name) for name in self._metric_fields}
        self._is_ending = threading.Event()
        # These threads wait for the end. Since Python 3.12, none can start while the process ends.
        self._endings = [
            threading.Thread(target=self._end, args=(provider,), daemon=True)
            for provider in (self._traces, self._metrics)
        ]
        for thread in self._endings:
            thread.start()
        atexit.register(self._shut_down)
        self._shut_down_on_sigterm()

    def span(
        self,
        name: str,
        kind: Kind,
        attributes: Attributes,
        parent: str | None,
        current: ContextVar[str | None],
        *,
        is_remote: bool,
    ) -> Span:
        """Start a span; during the span's block, `current` holds the span's traceparent."""
        context = Context() if parent is None else _context(parent, is_remote=is_remote)
        masked = {key: _mask(value) for key, value in attributes.items()}
        return _ExportedSpan(self._tracer.start_span(name, context, _KINDS[kind], masked), current)

    def record(self, fields: Mapping[str, object]) -> None:
        """Record the metric fields of a log line; omit missing labels."""
        for name in self._instruments.keys() & fields.keys():
            if (value := fields[name]) is not None:
                labels = self._metric_fields[name].labels
                self._instruments[name](
                    value, {label: str(fields[label]) for label in labels if label in fields}
                )

    def _instrument(self, name: str) -> Any:
        field, meter = self._metric_fields[name], self._metrics.get_meter("progress")
        description = {"unit": field.unit, "description": field.meaning}
        if field.kind == "count":
            counter = meter.create_counter(_METRIC.format(name), **description)
            return lambda _, labels: counter.add(1, labels)
        bounds = _BOUNDS[field.unit]
        return meter.create_histogram(
            _METRIC.format(name), **description, explicit_bucket_boundaries_advisory=bounds
        ).record

    def _shut_down_on_sigterm(self) -> None:
        """Install a handler for SIGTERM that shuts down the exporter, then the server.

        After its own shutdown, uvicorn ends the process with the same signal, so that atexit hooks
        do not run. The event loop keeps running while the exporter shuts down, so requests do not
        wait.
        """
        before = signal.getsignal(signal.SIGTERM)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if threading.current_thread() is not threading.main_thread() or not callable(before):
            return

        def handle(number: int, _: object) -> None:
            signal.signal(number, before)
            threading.Thread(target=shut_down, args=(number,), daemon=True).start()

        def shut_down(number: int) -> None:
            self._shut_down()
            loop.call_soon_threadsafe(before, number, None)

        signal.signal(signal.SIGTERM, handle)

    def _shut_down(self) -> None:
        """Export the queued spans and metrics, within the shutdown timeout."""
        if self._is_ending.is_set():
            return
        self._is_ending.set()
        deadline = time.monotonic() + _SHUTDOWN_TIMEOUT_S
        for thread in self._endings:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _end(self, provider: TracerProvider | MeterProvider) -> None:
        self._is_ending.wait()
        provider.shutdown()


class _ExportedSpan(Span):
    __slots__ = ("_before", "_current", "_span")

    def __init__(self, span: trace.Span, current: ContextVar[str | None]) -> None:
        self._span, self._current = span, current
        self._before: Token[str | None] | None = None

    def __enter__(self) -> Self:
        ids = self._span.get_span_context()
        parent = f"00-{ids.trace_id:032x}-{ids.span_id:016x}-{ids.trace_flags & 1:02x}"
        self._before = self._current.set(parent)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._before is not None:
            self._current.reset(self._before)
        error = exc_info[1]
        if isinstance(error, Exception):
            self._span.set_attribute("error.type", type(error).__qualname__)
            self.record_error(str(error))
        self._span.end()

    def set_attribute(self, name: str, value: str | float) -> None:
        self._span.set_attribute(name, _mask(value))

    def record_error(self, message: str) -> None:
        self._span.set_status(trace.StatusCode.ERROR, lines.mask_secrets(message))


def _mask(value: str | float) -> str | float:
    return lines.mask_secrets(value) if isinstance(value, str) else value


def _context(parent: str, *, is_remote: bool) -> Context:
    _, trace_id, span_id, flags = parent.split("-")
    context = trace.SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote, trace.TraceFlags(int(flags, 16))
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(context), Context())


def _session_for(settings: Settings) -> requests.Session | None:
    """Return an authorized session for a Google endpoint; None to use the default session."""
    if urlsplit(settings.otel_exporter_otlp_endpoint or "").hostname != _GOOGLE:
        return None
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(
        scopes=_SCOPES, quota_project_id=settings.pubsub_project_id
    )
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call]  # it ships no types


class _RateLimitedHandler(logging.Handler):
    """A handler that writes the exporters' log records as JSON lines, at most once a minute."""

    _next = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if record.created >= self._next:
            self._next = record.created + _LOG_INTERVAL_S
            _log(f"traces or metrics were not exported: {record.getMessage()}")


_HANDLER = _RateLimitedHandler(logging.WARNING)


def _redirect_library_logs() -> None:
    """Send the logs of OpenTelemetry and its HTTP client only to `_RateLimitedHandler`."""
    for name in ("opentelemetry", "urllib3.connectionpool"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.handlers = [_HANDLER]


def _log(message: str) -> None:
    lines.write({"severity": "WARNING", "message": lines.mask_secrets(message)[:500]})
