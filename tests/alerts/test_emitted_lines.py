"""The metrics and alerts match the log lines of the running local stack."""

from dataclasses import replace

import pytest

from tests.support.alert_policies import CONTRACT, Selector, alerts
from tests.support.emitted_lines import Emitted
from tests.support.metric_series import Line, Metric
from tests.support.terraform_environments import Environments

# A local stack starts slowly on a busy machine.
pytestmark = [pytest.mark.timeout(300), pytest.mark.exhaustive]


@pytest.fixture
def metrics(environments: Environments) -> dict[str, Metric]:
    planned = environments["prod"].planned.of("google_logging_metric")
    return {field: Metric(metric) for field, metric in planned.items()}


@pytest.fixture
def matched_lines(metrics: dict[str, Metric], emitted: Emitted) -> dict[str, list[Line]]:
    """The emitted lines that each metric's filter matches."""
    return {
        field: [line for line in emitted.lines if metric.matches(line)]
        for field, metric in metrics.items()
    }


def test_every_metric_field_that_an_alert_reads_is_emitted(
    environments: Environments, matched_lines: dict[str, list[Line]]
) -> None:
    for alert in alerts(environments["prod"].applied).values():
        for field in alert.metric_fields:
            assert matched_lines[field], (alert.name, field)


def test_each_metric_extracts_its_value_and_labels_from_each_line(
    metrics: dict[str, Metric], matched_lines: dict[str, list[Line]]
) -> None:
    for field, lines in matched_lines.items():
        assert lines, field
        metric = metrics[field]
        for line in lines:
            if CONTRACT[field]["kind"] == "distribution":
                assert isinstance(metric.value(line), int | float), line
            assert all(metric.labels(line).values()), line


def test_each_selector_matches_the_time_series_that_an_emitted_line_produces(
    environments: Environments, metrics: dict[str, Metric], matched_lines: dict[str, list[Line]]
) -> None:
    """A misspelt label or a wrong resource kind would never match."""
    for alert in alerts(environments["prod"].applied).values():
        for selector in alert.selectors:
            if field := selector.field:
                series = [metrics[field].labels(line) for line in matched_lines[field]]
                assert any(map(_of_errors_too(selector).takes, series)), alert.query


def _of_errors_too(selector: Selector) -> Selector:
    """Replace the selector's errors by successes, because the stack logs no errors."""
    ok = ("outcome", "=", "ok")
    matchers = (ok if name == "outcome" else (name, *rest) for name, *rest in selector.matchers)
    return replace(selector, matchers=tuple(matchers))
