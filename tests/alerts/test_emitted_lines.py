"""The metrics and alerts match the log lines of the running local stack."""

import re
from dataclasses import replace
from typing import Any

import pytest

from tests.support.alert_policies import CONTRACT, Selector, alerts
from tests.support.emitted_lines import Emitted
from tests.support.log_filters import parsed
from tests.support.terraform_environments import Environments

# A local stack starts slowly on a busy machine.
pytestmark = [pytest.mark.timeout(300), pytest.mark.exhaustive]

JOB = "batch"  # lines with this operation come from the job, all others from the functions

_EXTRACTED = re.compile(r"EXTRACT\(jsonPayload\.(\w+)\)")

Metric = dict[str, Any]
Line = dict[str, Any]


def _in_the_cloud(line: Line) -> Line:
    """Return the line as Cloud Logging stores it, with the resource that wrote it."""
    if line.get("operation") == JOB:
        wrote = {"type": "cloud_run_job", "labels": {"job_name": "progress-batch"}}
    else:
        wrote = {"type": "cloud_run_revision", "labels": {"service_name": "progress-query"}}
    return {"resource": wrote, "jsonPayload": line}


def _series(metric: Metric, line: Line) -> dict[str, str]:
    """Return the labels of the time series in which the metric counts the line."""
    kept = _in_the_cloud(line)
    extracted = {
        label: str(line[_field(extractor)])
        for label, extractor in (metric["label_extractors"] or {}).items()
    }
    resource = kept["resource"]
    return {**extracted, **resource["labels"], "monitored_resource": resource["type"]}


def _field(extractor: str) -> str:
    match = _EXTRACTED.fullmatch(extractor)
    assert match, extractor
    return match[1]


@pytest.fixture
def matched_lines(environments: Environments, emitted: Emitted) -> dict[str, list[Line]]:
    """The emitted lines that each metric's filter matches."""
    metrics = environments["prod"].planned.of("google_logging_metric")
    return {
        field: [
            line
            for matches in [parsed(metric["filter"])]
            for line in emitted.lines
            if matches(_in_the_cloud(line))
        ]
        for field, metric in metrics.items()
    }


def test_every_metric_field_that_an_alert_reads_is_emitted(
    environments: Environments, matched_lines: dict[str, list[Line]]
) -> None:
    for alert in alerts(environments["prod"].planned).values():
        for field in alert.metric_fields:
            assert matched_lines[field], (alert.name, field)


def test_each_metric_extracts_its_value_and_labels_from_each_line(
    environments: Environments, matched_lines: dict[str, list[Line]]
) -> None:
    metrics = environments["prod"].planned.of("google_logging_metric")
    for field, lines in matched_lines.items():
        assert lines, field
        metric = metrics[field]
        for line in lines:
            if CONTRACT[field]["kind"] == "distribution":
                assert isinstance(line[_field(metric["value_extractor"])], int | float), line
            assert all(_series(metric, line).values()), line


def test_each_selector_matches_the_time_series_that_an_emitted_line_produces(
    environments: Environments, matched_lines: dict[str, list[Line]]
) -> None:
    """A misspelt label or a wrong resource kind would never match."""
    planned = environments["prod"].planned
    metrics = planned.of("google_logging_metric")
    for alert in alerts(planned).values():
        for condition in alert.conditions:
            for selector in condition.selectors:
                if field := selector.field:
                    series = [_series(metrics[field], line) for line in matched_lines[field]]
                    assert any(map(_of_errors_too(selector).takes, series)), condition.query


def _of_errors_too(selector: Selector) -> Selector:
    """Replace the selector's outcome `error` by `ok`, because the stack logs no errors."""
    replacements = {("outcome", "=", "error"): ("outcome", "=", "ok")}
    return replace(
        selector,
        matchers=tuple(replacements.get(matcher, matcher) for matcher in selector.matchers),
    )
