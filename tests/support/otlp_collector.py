"""Who takes traces and metrics by OTLP over HTTP, or hangs, in a test."""

import contextlib
import gzip
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan

from progress.local import ports, readiness


@dataclass(frozen=True)
class Span:
    """A span as it came, with the part of Progress that sent it."""

    part: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    attributes: dict[str, Any]
    is_failed: bool


@dataclass(frozen=True)
class Point:
    """A point of a metric."""

    part: str
    name: str
    labels: dict[str, Any]


@dataclass
class Collector:
    """An endpoint, and what it was sent."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                part = self._part(resource.resource)
                for scope in resource.scope_spans:
                    self.spans.extend(_span(part, each) for each in scope.spans)
        elif path == "/v1/metrics":
            for sent in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                part = self._part(sent.resource)
                for measured in sent.scope_metrics:
                    for metric in measured.metrics:
                        data = getattr(metric, metric.WhichOneof("data") or "")
                        for each in data.data_points:
                            point = Point(part, metric.name, _values(each.attributes))
                            self.points.append(point)

    def _part(self, resource: Any) -> str:
        self.resources.append(_values(resource.attributes))
        return str(self.resources[-1]["service.name"]).removeprefix("progress-")

    def wait_for(self, *wanted: tuple[str, str], trace_id: str | None = None) -> list[Span]:
        """The spans of a trace that has these, by part and name; of that trace, if one is named."""
        found: list[list[Span]] = []

        def came() -> bool:
            traces: dict[str, list[Span]] = {}
            for span in list(self.spans):
                if trace_id in (None, span.trace_id):
                    traces.setdefault(span.trace_id, []).append(span)
            found[:] = [
                spans
                for spans in traces.values()
                if set(wanted) <= {(span.part, span.name) for span in spans}
            ]
            return bool(found)

        readiness.wait(came, f"a trace with {wanted}", seconds=60)
        return found[0]

    def metrics(self) -> set[str]:
        """The names of those that came."""
        return {point.name for point in list(self.points)}


def _span(part: str, sent: Any) -> Span:
    return Span(
        part,
        sent.name,
        sent.trace_id.hex(),
        sent.span_id.hex(),
        sent.parent_span_id.hex(),
        SentSpan.SpanKind.Name(sent.kind).removeprefix("SPAN_KIND_").lower(),
        _values(sent.attributes),
        sent.status.code == 2,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextlib.contextmanager
def collect() -> Iterator[Collector]:
    """An endpoint that takes all, for as long as the block lasts."""
    receiver = Collector()

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.take(self.path, body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((ports.HOST, 0), Door)
    server.daemon_threads = True
    receiver.url = f"http://{ports.HOST}:{server.server_port}"
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@contextlib.contextmanager
def hang() -> Iterator[int]:
    """The port of a server that takes connections and answers nobody."""
    with socket.create_server((ports.HOST, 0)) as door:
        yield door.getsockname()[1]
