"""Spans and metrics on their way out by OTLP over HTTP; imported only where they are wanted.

Both wait in bounded queues and leave in threads of their own: an endpoint that is away, or hangs,
is no request's affair. What the exporters say of it is a line a minute at most. The standard
variables (OTEL_TRACES_SAMPLER, OTEL_BSP_SCHEDULE_DELAY, …) are read by OpenTelemetry itself.
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

from progress import masking
from progress.adapters.telemetry import lines, metric_fields
from progress.adapters.telemetry.spans import Attributes, Kind, Span
from progress.settings import Settings, fill_in

_GOOGLE = "telemetry.googleapis.com"
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_LAST_WORDS = 3.0  # seconds that a process which ends waits for what it has not sent yet
_SILENCE = 60.0  # seconds between two lines about exporters
_METRIC = "progress.{}"

# An instance may get no time of a processor between two requests: what is on its way stands still
# meanwhile, and is not to be given up for that; what waits goes out while requests are answered.
_STANDARD = {"OTEL_EXPORTER_OTLP_TIMEOUT": "600", "OTEL_BSP_SCHEDULE_DELAY": "1000"}

# Where a histogram's buckets end, by unit.
_BOUNDS = {
    "ms": (1, 2, 5, 10, 20, 50, 100, 200, 350, 500, 750, 1e3, 2e3, 5e3, 1e4, 6e4, 6e5),
    "{event}": (0, 1, 10, 100, 500, 1e3, 2e3, 5e3, 1e4, 1e5),
    "{letter}": (0, 1, 5, 10, 50, 100, 1e3),
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


def exporter(settings: Settings, part: str) -> "Exporter | None":
    """What exports for this process; None, and a line in the log, where it cannot."""
    try:
        return Exporter(settings, part)
    except (google.auth.exceptions.GoogleAuthError, ValueError) as fault:
        _tell(f"no traces and metrics: {fault}")
        return None


class Exporter:
    """The way of spans and metrics out of this process."""

    def __init__(self, settings: Settings, part: str) -> None:
        """GoogleAuthError where Google is to be sent to and nobody has signed in."""
        _quieten()
        fill_in(**_STANDARD)
        resource = Resource.create(
            {
                "service.name": f"progress-{part}",
                "service.instance.id": str(uuid.uuid4()),
                "deployment.environment.name": settings.environment,
                "gcp.project_id": settings.pubsub_project_id,
            }
        )
        spans, metrics = _session(settings), _session(settings)
        # Both end by themselves otherwise, and wait for half a minute.
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(session=spans)))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(session=metrics))
        self._metrics = MeterProvider([reader], resource, shutdown_on_exit=False)
        self._tracer = self._traces.get_tracer("progress")
        self._signals = metric_fields.contract().signals
        self._instruments = {name: self._instrument(name) for name in self._signals}
        self._has_ended = False
        atexit.register(self._end)
        self._end_before_the_loop()

    def span(
        self,
        name: str,
        kind: Kind,
        attributes: Attributes,
        parent: str | None,
        present: ContextVar[str | None],
        *,
        is_remote: bool,
    ) -> Span:
        """A span that begins with its block, and is `present` as long as that lasts."""
        context = Context() if parent is None else _context(parent, is_remote=is_remote)
        given = {key: _safe(value) for key, value in attributes.items()}
        return _Live(self._tracer.start_span(name, context, _KINDS[kind], given), present)

    def record(self, fields: Mapping[str, object]) -> None:
        """The signals among the fields; a label that is not there is left out."""
        for name in self._instruments.keys() & fields.keys():
            if (value := fields[name]) is not None:
                labels = self._signals[name].labels
                self._instruments[name](
                    value, {each: str(fields[each]) for each in labels if each in fields}
                )

    def _instrument(self, name: str) -> Any:
        signal, meter = self._signals[name], self._metrics.get_meter("progress")
        told = {"unit": signal.unit, "description": signal.meaning}
        if signal.kind == "count":
            counter = meter.create_counter(_METRIC.format(name), **told)
            return lambda _, labels: counter.add(1, labels)
        bounds = _BOUNDS[signal.unit]
        return meter.create_histogram(
            _METRIC.format(name), **told, explicit_bucket_boundaries_advisory=bounds
        ).record

    def _end_before_the_loop(self) -> None:
        """Be asked first, where a loop serves: its server dies by the signal, and atexit is silent.

        The loop goes on meanwhile: who is being answered waits for nothing.
        """
        before = signal.getsignal(signal.SIGTERM)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if threading.current_thread() is not threading.main_thread() or not callable(before):
            return

        def told(number: int, _: object) -> None:
            signal.signal(number, before)
            threading.Thread(target=ended, args=(number,), daemon=True).start()

        def ended(number: int) -> None:
            self._end()
            loop.call_soon_threadsafe(before, number, None)

        signal.signal(signal.SIGTERM, told)

    def _end(self) -> None:
        """Send what waits, as far as that is possible at once."""
        if self._has_ended:
            return
        self._has_ended = True
        ends = [
            threading.Thread(target=each.shutdown, daemon=True)
            for each in (self._traces, self._metrics)
        ]
        for each in ends:
            each.start()
        until = time.monotonic() + _LAST_WORDS
        for each in ends:
            each.join(max(0.0, until - time.monotonic()))


class _Live(Span):
    """A span that is exported."""

    __slots__ = ("_before", "_present", "_span")

    def __init__(self, span: trace.Span, present: ContextVar[str | None]) -> None:
        self._span, self._present = span, present
        self._before: Token[str | None] | None = None

    def __enter__(self) -> Self:
        at = self._span.get_span_context()
        parent = f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags & 1:02x}"
        self._before = self._present.set(parent)
        return self

    def __exit__(self, *ended: object) -> None:
        if self._before is not None:
            self._present.reset(self._before)
        fault = ended[1]
        if isinstance(fault, Exception):
            self._span.set_attribute("error.type", type(fault).__qualname__)
            self.fail(str(fault))
        self._span.end()

    def note(self, name: str, value: str | float) -> None:
        self._span.set_attribute(name, _safe(value))

    def fail(self, why: str) -> None:
        self._span.set_status(trace.StatusCode.ERROR, masking.mask_secrets(why))


def _safe(value: str | float) -> str | float:
    return masking.mask_secrets(value) if isinstance(value, str) else value


def _context(parent: str, *, is_remote: bool) -> Context:
    _, trace_id, span_id, flags = parent.split("-")
    above = trace.SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote, trace.TraceFlags(int(flags, 16))
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(above), Context())


def _session(settings: Settings) -> requests.Session | None:
    """One that signs in, where Google is sent to; None where the exporter's own will do."""
    if urlsplit(settings.otel_exporter_otlp_endpoint or "").hostname != _GOOGLE:
        return None
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(
        scopes=_SCOPES, quota_project_id=settings.pubsub_project_id
    )
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call]  # it ships no types


class _Rarely(logging.Handler):
    """What the exporters say, as our own lines, and not each time."""

    _next = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if record.created >= self._next:
            self._next = record.created + _SILENCE
            _tell(f"traces or metrics were not taken: {record.getMessage()}")


_RARELY = _Rarely(logging.WARNING)


def _quieten() -> None:
    """Nothing of what OpenTelemetry and its HTTP client say goes anywhere else."""
    for name in ("opentelemetry", "urllib3.connectionpool"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.handlers = [_RARELY]


def _tell(what: str) -> None:
    lines.put({"severity": "WARNING", "message": masking.mask_secrets(what)[:500]})
