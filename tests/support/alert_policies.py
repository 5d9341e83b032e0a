"""The alerts of a deployment, with their queries in PromQL."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from tests.support.terraform import REPOSITORY
from tests.support.terraform_state import Resources

_FIELDS = REPOSITORY / "progress/adapters/telemetry/metric_fields.json"
CONTRACT: dict[str, dict[str, Any]] = msgspec.json.decode(_FIELDS.read_bytes())["metric_fields"]

_OWN = "logging_googleapis_com:user_progress_"
_SERIES = re.compile(r"\b(\w+_googleapis_com:\w+)\s*(\{[^}]*\})?")
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
_PART = re.compile(r"_(bucket|sum|count)$")


@dataclass(frozen=True)
class Selector:
    metric: str
    field: str  # the name of this project's metric, without prefix; empty for a platform metric
    matchers: tuple[tuple[str, str, str], ...]

    @staticmethod
    def read(metric: str, braces: str) -> "Selector":
        own = _PART.sub("", metric.removeprefix(_OWN)) if metric.startswith(_OWN) else ""
        return Selector(metric, own, tuple(_MATCHER.findall(braces)))


@dataclass(frozen=True)
class Alert:
    """An alert whose query, in PromQL, must hold for `seconds` before it fires."""

    name: str
    query: str
    seconds: int

    @cached_property
    def selectors(self) -> list[Selector]:
        return [Selector.read(*parts) for parts in _SERIES.findall(self.query)]

    @property
    def metric_fields(self) -> set[str]:
        return {selector.field for selector in self.selectors if selector.field}

    @property
    def foreign(self) -> set[str]:
        """Return the platform metrics in the query."""
        return {selector.metric for selector in self.selectors if not selector.field}


def alerts(resources: Resources) -> dict[str, Alert]:
    return {
        name: Alert(name, found["query"], int(found["duration"].rstrip("s")))
        for name, policy in resources.of("google_monitoring_alert_policy").items()
        for found in policy["conditions"][0]["condition_prometheus_query_language"]
    }


# The values of labels: the functions; query, mutation, ingest and project; the two jobs of the
# batch. Of a subscription, the matcher lists the names.
_VALUES = {"service_name": 3, "operation": 4, "job_name": 2}
_SUMMED = re.compile(r"(?:by \((\w+)\) \((?:increase\()?)?" + _SERIES.pattern)


def count_series(query: str) -> int:
    """Count the series that the clauses of a query return: Google bills those of each clause."""
    return sum(
        matchers.count("|") + 1 if label == "subscription_id" else _VALUES.get(label, 1)
        for label, _, matchers in _SUMMED.findall(query)
    )
