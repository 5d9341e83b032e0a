"""The code writes exactly the declared log fields."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from progress.adapters.telemetry import metric_fields
from tests.support.emitted_lines import Emitted

ROOT = Path(__file__).parents[2]
CONTRACT = metric_fields.load()
KNOWN = {*CONTRACT.metric_fields, *CONTRACT.context}

RESULTS = {"hit", "miss", "error", "off"}

# A local stack starts slowly on a busy machine.
pytestmark = pytest.mark.timeout(300)


def test_the_running_stack_emits_every_metric_field(emitted: Emitted) -> None:
    assert CONTRACT.metric_fields.keys() - emitted.fields == set()


def test_every_field_of_a_line_is_declared(emitted: Emitted) -> None:
    google = {name for name in emitted.fields if name.startswith("logging.googleapis.com/")}
    assert emitted.fields - google - KNOWN == set()


def test_a_line_with_a_metric_field_has_the_labels_of_the_metric(emitted: Emitted) -> None:
    for line in emitted.lines:
        for name in CONTRACT.metric_fields.keys() & line.keys():
            assert set(CONTRACT.metric_fields[name].labels) <= line.keys(), (name, line)


def test_the_values_of_a_metric_field_match_its_kind(emitted: Emitted) -> None:
    for line in emitted.lines:
        for name in CONTRACT.metric_fields.keys() & line.keys():
            is_number = isinstance(line[name], int | float)
            assert is_number == (CONTRACT.metric_fields[name].kind == "distribution"), (name, line)
    assert {line["cache_result"] for line in emitted.lines if "cache_result" in line} <= RESULTS
    assert {line["outcome"] for line in emitted.lines if "outcome" in line} <= {
        "ok",
        "error",
        "retried",
    }


def test_each_operation_ends_with_its_log_line(emitted: Emitted) -> None:
    wanted = {
        "ingest": {"event_delay_ms", "outcome", "latency_ms"},
        "wake": {"projection_lag", "projection_delay_ms", "outcome", "shard"},
        "query": {"latency_ms", "cache_result", "outcome"},
        "mutation": {"latency_ms", "outcome"},
        "stream": {"latency_ms", "outcome"},
        "post": {"learner_share", "outcome"},
        "batch": {"projection_lag", "projection_lag_ms", "dead_letters", "database_connections",
                  "database_bytes", "database_ms", "failed_operations", "overdue_operations",
                  "running_operations", "publication_lag_ms", "pending_ms", "letter_share",
                  "outcome"},
        "run_batch": {"operation_id", "outcome"},
    }  # fmt: skip
    for operation, fields in wanted.items():
        assert any(fields <= line.keys() for line in emitted.of(operation)), operation
    assert {"hit", "miss"} <= {line.get("cache_result") for line in emitted.of("query")}


def test_every_line_with_an_outcome_names_its_trace(emitted: Emitted) -> None:
    alone = [line for line in emitted.lines if "logging.googleapis.com/trace" not in line]
    assert [line for line in alone if "outcome" in line] == []


def test_the_code_writes_only_declared_fields() -> None:
    written = dict(_written())
    assert written, "no call of logs.write was found"
    assert {name: places for name, places in written.items() if name not in KNOWN} == {}


def test_every_metric_field_is_written_by_the_code() -> None:
    from progress.projections.gauges import Gauges

    written = {name for name, _ in _written()} | set(Gauges.__struct_fields__)
    assert CONTRACT.metric_fields.keys() - written == set()
    # The message and the severity are positional arguments; every line has its time.
    assert set(CONTRACT.context) - written == {"time", "message", "severity"}


def _written() -> Iterator[tuple[str, str]]:
    """Yield each keyword argument of each `logs.write` call, and the call's place.

    Only the calls that log the gauges may use `**`.
    """
    for folder in ("progress", "functions", "jobs"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "logs.write":
                    for keyword in node.keywords:
                        if keyword.arg is None:
                            assert ast.unparse(keyword.value) == "measured", file
                        else:
                            yield keyword.arg, f"{file.name}:{node.lineno}"
