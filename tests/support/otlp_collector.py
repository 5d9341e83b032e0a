"""An OTLP collector over HTTP, and a server that hangs."""

import contextlib
import gzip
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan

from progress.serve import ports, readiness
from tests.support import http_servers


@dataclass(frozen=True)
class Span:
    component: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    attributes: dict[str, Any]
    is_failed: bool


@dataclass(frozen=True)
class Point:
    """A data point of a metric; `total` is the sum since the start of its process."""

    component: str
    name: str
    labels: dict[str, Any]
    total: float


@dataclass
class Collector:
    url: str = ""
    spans: list[Span] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)

    def receive(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                component = self._component(resource.resource)
                for scope in resource.scope_spans:
                    self.spans.extend(_span(component, span) for span in scope.spans)
        elif path == "/v1/metrics":
            points: list[Point] = []
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                component = self._component(resource.resource)
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        data = getattr(metric, metric.WhichOneof("data") or "")
                        for point in data.data_points:
                            labels = _values(point.attributes)
                            is_histogram = metric.WhichOneof("data") == "histogram"
                            total = point.sum if is_histogram else point.as_int
                            points.append(Point(component, metric.name, labels, total))
            self.points.extend(points)  # at once, because a test may be waiting for one of them

    def _component(self, resource: Any) -> str:
        self.resources.append(_values(resource.attributes))
        return str(self.resources[-1]["service.name"]).removeprefix("progress-")

    def wait_for(self, *names: tuple[str, str], trace_id: str | None = None) -> list[Span]:
        """Wait until one trace has a span of each (component, name); return the trace's spans.

        If `trace_id` is given, only this trace counts.
        """
        complete: list[list[Span]] = []

        def is_complete() -> bool:
            traces: dict[str, list[Span]] = {}
            for span in list(self.spans):
                if trace_id in (None, span.trace_id):
                    traces.setdefault(span.trace_id, []).append(span)
            complete[:] = [
                spans
                for spans in traces.values()
                if set(names) <= {(span.component, span.name) for span in spans}
            ]
            return bool(complete)

        readiness.wait(is_complete, f"a trace with {names}", seconds=60)
        return complete[0]

    def metrics(self) -> set[str]:
        return {point.name for point in list(self.points)}


def _span(component: str, sent: Any) -> Span:
    return Span(
        component,
        sent.name,
        sent.trace_id.hex(),
        sent.span_id.hex(),
        sent.parent_span_id.hex(),
        SentSpan.SpanKind.Name(sent.kind).removeprefix("SPAN_KIND_").lower(),
        _values(sent.attributes),
        sent.status.code == 2,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {
        entry.key: getattr(entry.value, entry.value.WhichOneof("value")) for entry in attributes
    }


@contextlib.contextmanager
def collect() -> Iterator[Collector]:
    receiver = Collector()

    class Handler(http_servers.Handler):
        def do_POST(self) -> None:
            body = self.read_body()
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.receive(self.path, body)
            self.respond(200)

    with http_servers.serve(Handler) as receiver.url:
        yield receiver


@contextlib.contextmanager
def hang() -> Iterator[int]:
    with socket.create_server((ports.HOST, 0)) as server:
        yield server.getsockname()[1]


def service_account_key() -> dict[str, str]:
    """Return the content of a service account's key file; the key is new and valid nowhere."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import rsa

    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
    )
    return {
        "type": "service_account",
        "client_email": "progress-query@ours.iam.gserviceaccount.com",
        "private_key": pem.decode(),
        "token_uri": "http://127.0.0.1:1/token",
    }
