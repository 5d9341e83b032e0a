"""A local stack exports traces and metrics by OTLP, and is not delayed if the endpoint hangs."""

import json
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime

import pytest

from progress.adapters.telemetry import metric_fields, tracing
from progress.serve import ports, readiness
from tests.support import browser, cli, http_client, local_stack, otlp_collector, programs
from tests.support.emitted_lines import QUESTION, exercise
from tests.support.local_stack import Envelope, Stack
from tests.support.otlp_collector import Collector, Span

# Starting a stack takes a long time on a busy machine.
pytestmark = pytest.mark.exhaustive

_SOON = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_METRIC_EXPORT_INTERVAL": "300"}
_SECRETS = ("hush-hush", "signals-token")


def _publish(stack: Stack, event: Envelope) -> None:
    """Run `progress publish`, which exports spans as its process ends."""
    command = [*cli.COMMAND, "publish", "-"]
    programs.run(command, stack.environment(), text=json.dumps(event))


def _running(endpoint: str, **more: str) -> AbstractContextManager[Stack]:
    return local_stack.run(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **_SOON, **more)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Collector]:
    with otlp_collector.collect() as made:
        yield made


@pytest.fixture(scope="module")
def stack(receiver: Collector) -> Iterator[Stack]:
    with _running(receiver.url) as made:
        exercise(made)
        yield made


def _one(spans: list[Span], part: str, name: str, parent: Span | None = None) -> Span:
    matching = [
        span
        for span in spans
        if (span.component, span.name) == (part, name)
        and (parent is None or span.parent_id == parent.span_id)
    ]
    assert matching, (part, name, [(span.component, span.name, span.parent_id) for span in spans])
    return matching[0]


def _messaging(span: Span) -> dict[str, object]:
    return {
        name.removeprefix("messaging."): value
        for name, value in span.attributes.items()
        if name.startswith("messaging.")
    }


@pytest.mark.exhaustive
def test_one_trace_covers_the_path_from_the_publisher_to_the_projection(
    stack: Stack, receiver: Collector
) -> None:
    # Publish a single event, so that its own wake-up folds it. The events of `exercise` do not
    # suffice: on a busy machine, one wake-up may fold several events, so that the wake-ups of the
    # other events find nothing to fold.
    _publish(
        stack,
        browser.envelope(
            "SessionStarted",
            datetime.now(UTC),
            user_id="traced",
            session_id=str(uuid.uuid4()),
            item_count=1,
        ),
    )
    spans = receiver.wait_for(
        ("cli", "post events"), ("ingest", "append"), ("ingest", "ingest"),
        ("project", "fold"), ("project", "project"),
    )  # fmt: skip
    published = _one(spans, "cli", "post events")
    assert published.parent_id == ""
    assert published.kind == "producer"
    ingest = _one(spans, "ingest", "ingest", published)
    assert ingest.kind == "consumer"
    attributes = _messaging(ingest)
    assert attributes.pop("message.id")
    assert attributes == {
        "system": "gcp_pubsub", "operation.name": "process", "operation.type": "process",
        "destination.name": "posted",
    }  # fmt: skip
    _one(spans, "ingest", "append", ingest)
    called = _one(spans, "ingest", "publish progress-commands", ingest)
    woken = _one(spans, "project", "project", called)
    assert _messaging(woken)["destination.name"] == "progress-commands"
    folded = _one(spans, "project", "fold", woken)
    assert folded.kind == "client"
    assert folded.attributes.keys() >= {"progress.shard", "progress.events", "db.system.name"}


def test_a_query_has_child_spans_for_its_statement_and_redis(
    stack: Stack, receiver: Collector
) -> None:
    parent = tracing.new_traceparent()
    _, trace_id, span_id, _ = parent.split("-")
    headers = http_client.headers(stack.token("asks"), traceparent=parent)
    http_client.ask(stack.port, headers, QUESTION)
    statement = ("query", "read_models/user_progress current")
    spans = receiver.wait_for(("query", "query"), ("query", "redis"), statement, trace_id=trace_id)
    query = _one(spans, "query", "query")
    assert query.parent_id == span_id
    assert query.kind == "server"
    expected = {"request.method": "POST", "route": "/graphql", "response.status_code": 200}
    for name, value in expected.items():
        assert query.attributes[f"http.{name}"] == value
    assert _one(spans, *statement, query).attributes["db.system.name"] == "postgresql"
    redis = _one(spans, "query", "redis", query)
    assert redis.attributes.keys() == {"db.system.name", "db.operation.name"}


def test_each_process_exports_its_own_service_name(stack: Stack, receiver: Collector) -> None:
    receiver.wait_for(("batch", "batch"))
    services = {resource["service.name"] for resource in receiver.resources}
    parts = ("ingest", "project", "query", "batch", "cli")
    assert services >= {f"progress-{part}" for part in parts}
    for resource in receiver.resources:
        assert "gcp.project_id" not in resource  # there is no Google here
        if resource["service.name"] != "progress-cli":
            assert resource["deployment.environment.name"] == "development"


@pytest.mark.exhaustive
def test_a_hanging_endpoint_does_not_delay_the_stack() -> None:
    with otlp_collector.hang() as port:
        endpoint = f"http://someone:{_SECRETS[0]}@{ports.HOST}:{port}/{_SECRETS[1]}"
        with _running(endpoint, OTEL_EXPORTER_OTLP_TIMEOUT="1") as stack:
            emitted = exercise(stack)
            fields = {name for line in emitted for name in line}
            assert metric_fields.load().metric_fields.keys() <= fields
            assert {line["outcome"] for line in emitted if "outcome" in line} == {"ok"}
            readiness.wait(
                lambda: bool(_complaints(stack)), "a log line about the failed export", seconds=60
            )
            exercise(stack, key="again")
            stack.progress("down")  # the command ends, although nothing can be exported
            for log in stack.folder.logs.iterdir():
                text = log.read_text(encoding="utf-8")
                assert not any(secret in text for secret in _SECRETS), log
            assert {len(lines) for lines in _complaints(stack).values()} == {1}


def _complaints(stack: Stack) -> dict[str, list[str]]:
    logs: dict[str, list[str]] = {}
    for part in ("ingest", "project", "query"):
        log = stack.folder.log(part)
        if log.exists():
            text = log.read_text(encoding="utf-8")
            lines = [line for line in text.splitlines() if "were not exported" in line]
            logs |= {part: lines} if lines else {}
    return logs
