"""Spans and metrics cost nothing if they are disabled, and mask secrets if they are enabled."""

import json
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub import wakeups
from progress.adapters.telemetry import logs, otlp, tracing
from progress.errors import PubSubUnavailable
from progress.event_store import outgoing
from progress.files import ROOT
from progress.ingest import push
from progress.projections import projector, schema
from progress.query.http import protocol
from progress.serve import processes, readiness
from progress.settings import Settings
from tests.conftest import Store
from tests.support import (
    function_process,
    http_client,
    model_rows,
    otlp_collector,
    programs,
    sample_events,
    token_issuer,
)
from tests.support.fake_publisher import FakePublisher
from tests.support.otlp_collector import Collector
from tests.support.published import Publisher

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with otlp_collector.collect() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
        monkeypatch.setattr(tracing, "_service", "cli")
        tracing._create_exporter.cache_clear()
        yield made
        exporter = tracing._exporter()
        if exporter is not None:
            exporter._shut_down()
        tracing._create_exporter.cache_clear()


def test_a_process_that_ends_exports_what_is_left() -> None:
    """Since Python 3.12, no thread starts while a process ends; older ones behave so here."""
    script = """
import atexit, threading
from progress.adapters.telemetry import logs, tracing
logs.configure("batch")
with tracing.start_span("run", None, "internal"):
    logs.write("INFO", "measured", operation="batch", dead_letters=1)
atexit.register(delattr, threading.Thread, "start")
"""
    with otlp_collector.collect() as receiver:
        late = {"OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_METRIC_EXPORT_INTERVAL": "600000"}
        child = settings.child_env(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, **late)
        programs.run([sys.executable, "-c", script], child, folder=ROOT)
    assert [span.name for span in receiver.spans] == ["run"]
    assert receiver.metrics() == {"progress.dead_letters"}


def test_a_trace_is_propagated_without_an_exporter() -> None:
    assert tracing.current_traceparent() is None
    with tracing.start_span("one", PARENT, "consumer"):
        with tracing.child_span("within"):
            assert tracing.current_traceparent() == PARENT
            assert tracing.message_attributes()["traceparent"] == PARENT
        with tracing.start_span("another", None, "consumer"):
            assert tracing.current_traceparent() not in (None, PARENT)
    assert (tracing.current_traceparent(), tracing.message_attributes()) == (None, {})


@given(st.text() | st.from_regex(r"[0-9a-f]{2}(-[0-9a-f]*){3}(-.*)?", fullmatch=True))
@example(f"cc{PARENT[2:]}-what-a-later-version-adds")
@example(PARENT.replace("-01", "-ff"))
@example(f"ff{PARENT[2:]}")
@example(PARENT.replace("b7ad6b7169203331", "0" * 16))
@example(PARENT.upper())
def test_an_invalid_traceparent_is_dropped(text: str) -> None:
    parent = tracing.traceparent_of_message({"traceparent": text})
    assert parent is None or (
        len(parent) == 55 and parent[3:52] == text[3:52] and parent[:3] == "00-"
    )
    if text.startswith("cc0") or text == PARENT.replace("-01", "-ff"):
        assert parent is not None
    if text.startswith("ff") or "0" * 16 in text or "A" in text:
        assert parent is None


def test_the_trace_of_a_request_is_read_from_the_standard_header_or_from_googles_header() -> None:
    google, trace_id = b"x-cloud-trace-context", PARENT[3:35].encode()
    cases: list[tuple[protocol.Headers, str | None]] = [
        ({b"traceparent": PARENT.encode()}, PARENT),
        ({google: trace_id + b"/255;o=1"}, f"{PARENT[:36]}00000000000000ff-01"),
        ({google: trace_id + b"/255"}, f"{PARENT[:36]}00000000000000ff-00"),
        ({google: trace_id + b"/18446744073709551616"}, None),
        ({google: trace_id + b"/18446744073709551615"}, f"{PARENT[:36]}ffffffffffffffff-00"),
        ({b"traceparent": b"\xff" * 600}, None),
        ({}, None),
    ]
    for headers, parent in cases:
        assert protocol.traceparent(headers) == parent


def test_a_push_continues_the_trace_of_its_message_or_else_of_its_request() -> None:
    google = {"x-cloud-trace-context": f"{PARENT[3:35]}/255;o=1"}
    cases: list[tuple[dict[str, str], dict[str, str], str | None]] = [
        ({"googclient_traceparent": PARENT}, {"traceparent": PARENT.replace("-b", "-c")}, PARENT),
        ({"traceparent": PARENT}, {}, PARENT),
        ({"traceparent": "of no use"}, {"traceparent": PARENT}, PARENT),
        ({}, google, f"{PARENT[:36]}00000000000000ff-01"),
        ({}, {}, None),
    ]
    for attributes, headers, parent in cases:
        body = json.dumps({"message": {"messageId": "1", "attributes": attributes}}).encode()
        delivery = push.parse_delivery(body)
        assert tracing.traceparent_of_push(delivery.message.attributes, headers.get) == parent
        _, received = projector.parse_push(body)
        assert tracing.traceparent_of_push(received, headers.get) == parent


def test_an_error_within_a_span_is_masked(receiver: Collector) -> None:
    message = "no answer from postgresql://me:hush-hush@db/x for ann@example.com"
    with (
        tracing.start_span("work", None, "internal"),
        pytest.raises(OSError, match="hush"),
        tracing.child_span("asks", "client", {"to": message}),
    ):
        raise OSError(message)
    spans = receiver.wait_for(("cli", "asks"), ("cli", "work"))
    (span,) = (candidate for candidate in spans if candidate.name == "asks")
    assert span.is_failed
    assert span.attributes["error.type"] == "OSError"
    assert "hush" not in str(span)
    assert "ann@" not in str(span)


def test_the_span_of_a_failed_publication_has_failed(
    receiver: Collector,
    store: Store,
    connection: Connection,
    fake_publisher: FakePublisher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sample_events.record_lessons(connection, "ann")
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", fake_publisher.address)
    settings.current.cache_clear()
    fake_publisher.is_down = True
    with (
        closing(Publisher(store, fake_publisher, "all")) as publisher,
        tracing.start_span("work", None, "internal"),
    ):
        assert not wakeups.send([3])
        with pytest.raises(PubSubUnavailable):
            publisher.run()
    names = [f"publish {topic}" for topic in (wakeups.TOPIC, outgoing.TOPIC)]
    spans = receiver.wait_for(*(("cli", name) for name in names))
    assert {(span.name, span.is_failed) for span in spans if span.name in names} == {
        (name, True) for name in names
    }


def test_work_in_a_detached_context_is_outside_the_trace(receiver: Collector) -> None:
    with tracing.start_span("work", None, "internal"):
        background = tracing.detached_context()
        assert tracing.current_traceparent() is not None
    for goes_on in (background.run, lambda begin: begin()):
        assert goes_on(tracing.current_traceparent) is None
        assert goes_on(lambda: tracing.child_span("asks")) is tracing._NO_SPAN_EXPORTED
    receiver.wait_for(("cli", "work"))


def test_exported_metrics_have_the_labels_that_metric_fields_json_declares(
    receiver: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "cloud.region=europe-west1")
    logs.write("INFO", "answered", operation="query", outcome="ok", latency_ms=1.5)
    readiness.wait(lambda: "progress.latency_ms" in receiver.metrics(), "the metric")
    labels = {point.name: point.labels for point in receiver.points}
    assert labels["progress.latency_ms"] == {"operation": "query"}
    assert labels["progress.outcome"] == {"operation": "query", "outcome": "ok"}
    # Google Cloud rejects a data point if one of these labels is missing.
    assert receiver.resources[0].keys() >= {"cloud.region", "service.instance.id"}


def test_each_fold_records_the_time_of_each_projection(
    receiver: Collector, connection: Connection
) -> None:
    model_rows.read(connection, "slow daily stats")
    sample_events.record_lessons(connection, "ann")

    def times() -> dict[str, float]:
        name = "progress.projection_ms"
        return {p.labels["projection"]: p.total for p in [*receiver.points] if p.name == name}

    projector.Projector(connection).catch_up_all()
    readiness.wait(lambda: times().get("daily_stats", 0) >= 300, "the time of the slow fold")
    assert times().keys() == set(schema.list_folded())
    assert max(times().items(), key=lambda item: item[1])[0] == "daily_stats"


def test_the_sampling_ratio_overrides_the_flag_of_the_sender(
    receiver: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender's flag is ignored: Cloud Run's front end marks few requests as sampled."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    kept, dropped = (
        PARENT.replace("8448eb211c80319c", f"{digit}448eb211c80319c") for digit in "0f"
    )
    for parent, expected in ((kept, "01"), (dropped, "00")):
        for flags in ("00", "01"):
            with tracing.start_span(flags, f"{parent[:-2]}{flags}", "server"):
                assert (tracing.current_traceparent() or "").endswith(f"-{expected}")
    receiver.wait_for(("cli", "00"), ("cli", "01"))
    assert len(receiver.spans) == 2


# one function with an event loop, one with threads
@pytest.mark.first_in_gate
@pytest.mark.parametrize("name", ["query", "project"])
def test_a_function_exports_its_queued_telemetry_on_sigterm(name: str) -> None:
    with otlp_collector.collect() as receiver, token_issuer.serve() as issuer:
        environment = issuer.environment("postgresql://nobody@127.0.0.1:1/none") | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_BSP_SCHEDULE_DELAY": "3600000",
            "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
        }
        with function_process.run(name, environment) as function:
            body = wakeups.operation_command(uuid.uuid4())
            http_client.fetch(function.port, "POST", "/graphql", body)
            assert receiver.spans == []
            processes.end(function.process, by=signal.SIGTERM, seconds=60)
        assert function.process.returncode != -signal.SIGKILL
        receiver.wait_for((name, name))
        assert (name == "project") or receiver.metrics() >= {"progress.latency_ms"}


def test_exports_to_google_are_authorized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_google = Settings(
        otel_exporter_otlp_endpoint="https://telemetry.googleapis.com", pubsub_project_id="ours"
    )
    elsewhere = Settings(otel_exporter_otlp_endpoint="https://telemetry.googleapis.com.example")
    assert otlp._session_for(elsewhere) is None
    key = tmp_path / "key.json"
    key.write_text(json.dumps(otlp_collector.service_account_key()))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    session: Any = otlp._session_for(at_google)
    assert session.credentials.quota_project_id == "ours"
    assert session.credentials.scopes == otlp._SCOPES


def test_nothing_is_exported_and_a_warning_is_logged_if_credentials_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    configured = Settings(otel_exporter_otlp_endpoint="https://telemetry.googleapis.com")
    assert otlp.create_exporter(configured, "query") is None
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["severity"] == "WARNING"
    assert line["message"].startswith("traces and metrics are not exported: ")
