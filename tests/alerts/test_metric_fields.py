"""The processes write exactly the declared log fields."""

from progress.adapters.telemetry import metric_fields
from tests.support.emitted_lines import Line

CONTRACT = metric_fields.load()
KNOWN = {*CONTRACT.metric_fields, *CONTRACT.context}

RESULTS = {"hit", "miss", "error", "off"}
OUTCOMES = {"ok", "error", "retried"}


def test_the_running_stack_emits_every_metric_field_and_no_undeclared_one(
    emitted: list[Line],
) -> None:
    of_trace = "logging.googleapis.com/"
    written = {name for line in emitted for name in line if not name.startswith(of_trace)}
    assert CONTRACT.metric_fields.keys() <= written <= KNOWN


def test_a_metric_field_has_a_value_of_its_kind_and_its_labels(emitted: list[Line]) -> None:
    for line in emitted:
        for name in CONTRACT.metric_fields.keys() & line.keys():
            field = CONTRACT.metric_fields[name]
            assert set(field.labels) <= line.keys(), (name, line)
            is_number = isinstance(line[name], int | float)
            assert is_number == (field.kind == "distribution"), (name, line)
        assert line.get("cache_result", "hit") in RESULTS
        assert line.get("outcome", "ok") in OUTCOMES


def test_each_operation_ends_with_its_log_line(emitted: list[Line]) -> None:
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
        of = [line for line in emitted if line.get("operation") == operation]
        assert any(fields <= line.keys() for line in of), operation
    assert {"hit", "miss"} <= {line.get("cache_result") for line in emitted}


def test_every_line_with_an_outcome_names_its_trace(emitted: list[Line]) -> None:
    alone = [line for line in emitted if "logging.googleapis.com/trace" not in line]
    assert [line for line in alone if "outcome" in line] == []
