"""The Compose file's services work without Docker, with the commands and settings of the file."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from progress.adapters.postgres import database
from progress.local import readiness
from progress.local.ports import HOST
from tests.support import browser
from tests.support.alert_policies import CONTRACT
from tests.support.containers import Containers, containers

# A stack is slow on a busy machine.
pytestmark = [pytest.mark.timeout(300), pytest.mark.exhaustive]

_QUESTION = "{ userProgress { totalItemsLearned } streak { current } }"


@dataclass
class Collector:
    """The telemetry that the fake collector on `port` has received.

    `metrics` holds the names of the metrics, `traced` the names of the services that sent spans.
    """

    port: int = 0
    metrics: set[str] = field(default_factory=set)
    traced: set[str] = field(default_factory=set)

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/metrics":
            request = ExportMetricsServiceRequest.FromString(body)
            self.metrics |= {
                metric.name
                for resource in request.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
            }
        else:
            spans = ExportTraceServiceRequest.FromString(body)
            self.traced |= {
                attribute.value.string_value
                for resource in spans.resource_spans
                for attribute in resource.resource.attributes
                if attribute.key == "service.name"
            }


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """A running collector, which records the telemetry that it receives."""
    kept = Collector()

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers.get("Content-Encoding", "identity") == "identity"
            kept.take(self.path, body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Door) as server:
        kept.port = server.server_port
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield kept
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def running(valkey: str, collector: Collector) -> Iterator[Containers]:
    """The services of this repository, started in the order of the Compose file."""
    with containers(valkey, collector.port) as made:
        made.run("migrate")
        for name in ("issuer", "ingest", "project", "query"):
            made.start(name)
        made.run("topology")
        made.start("batch")
        yield made


def test_an_event_reaches_the_page_and_its_telemetry_reaches_the_collector(
    running: Containers, collector: Collector
) -> None:
    envelopes = "\n".join(json.dumps(envelope) for envelope in browser.lesson("ann", 3))
    running.run("issuer", "python", "-m", "progress.cli", "publish", "-", text=envelopes)
    token = running.run("issuer", "python", "-m", "progress.cli", "token", "--user", "ann").strip()

    readiness.wait(lambda: _is_folded(running, len(browser.lesson("ann", 3))), "the lesson")
    for _ in range(2):
        assert _asked(running, token)["streak"]["current"] == 1

    running.run("batch", "python", "jobs/batch_aggregates/main.py")
    wanted = {f"progress.{field}" for field in CONTRACT}
    readiness.wait(lambda: wanted <= collector.metrics, f"{wanted - collector.metrics}")
    parts = {f"progress-{part}" for part in ("ingest", "project", "query")}
    readiness.wait(lambda: parts <= collector.traced, f"{parts - collector.traced}")


def test_each_process_logs_in_as_a_member_of_only_its_own_group(running: Containers) -> None:
    for part in ("ingest", "project", "query", "batch"):
        url = running.services[part]["environment"]["DATABASE_URL"]
        with closing(database.connect(url, name="tests")) as connection:
            ((user, is_super, groups),) = connection.run(
                "SELECT current_user, rolsuper, ARRAY(SELECT roleid::regrole::text "
                "FROM pg_auth_members WHERE member = pg_roles.oid) "
                "FROM pg_roles WHERE rolname = current_user"
            )
        assert (user, is_super, groups) == (part, False, [f"progress_{part}"])


def _is_folded(running: Containers, events: int) -> bool:
    status = json.loads(running.run("migrate", "python", "-m", "progress.cli", "status", "--json"))
    behind = sum(
        projection["events_behind"]
        for projection in status["projections"]
        if projection["realtime"]
    )
    return bool(status["events"] == events and behind == 0)


def _asked(running: Containers, token: str) -> dict[str, Any]:
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    connection = http.client.HTTPConnection(HOST, running.at["query"], timeout=30)
    with closing(connection):
        connection.request("POST", "/graphql", json.dumps({"query": _QUESTION}), headers)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    assert "errors" not in answer, answer
    data: dict[str, Any] = answer["data"]
    return data
