"""The planned alerts, with their conditions and PromQL selectors."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from tests.support.terraform import REPOSITORY
from tests.support.terraform_state import Resources

Contract = dict[str, dict[str, Any]]

_DECLARED = msgspec.json.decode(
    (REPOSITORY / "progress/adapters/telemetry/metric_fields.json").read_bytes()
)
CONTRACT: Contract = _DECLARED["metric_fields"]
EXPORTED: Contract = _DECLARED["exported"]  # metrics that no log line has
RUNBOOK = REPOSITORY / "docs" / "runbook.md"

_OWN = "logging_googleapis_com:user_progress_"
_SERIES = re.compile(r"\b(\w+_googleapis_com:\w+)\s*(\{[^}]*\})?")
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
_PART = re.compile(r"_(bucket|sum|count)$")


@dataclass(frozen=True)
class Condition:
    """A condition of an alert, in PromQL; it must hold for `seconds` before the alert fires."""

    name: str
    query: str
    seconds: int

    @cached_property
    def selectors(self) -> list["Selector"]:
        """Return the selectors in the query."""
        return [Selector.read(*parts) for parts in _SERIES.findall(self.query)]

    @property
    def metric_fields(self) -> set[str]:
        return {selector.field for selector in self.selectors if selector.field}

    @property
    def foreign(self) -> set[str]:
        """Return the platform metrics in the query."""
        return {selector.metric for selector in self.selectors if not selector.field}


@dataclass(frozen=True)
class Selector:
    """A metric with its label matchers."""

    metric: str
    field: str  # the name of this project's metric, without prefix; empty for a platform metric
    matchers: tuple[tuple[str, str, str], ...]

    @staticmethod
    def read(metric: str, braces: str) -> "Selector":
        own = _PART.sub("", metric.removeprefix(_OWN)) if metric.startswith(_OWN) else ""
        return Selector(metric, own, tuple(_MATCHER.findall(braces)))

    def takes(self, labels: dict[str, str]) -> bool:
        """Return whether the selector matches a time series with these labels."""
        return all(
            {"=": value == labels.get(name, ""), "!=": value != labels.get(name, "")}.get(
                sign, (re.fullmatch(value, labels.get(name, "")) is not None) == (sign == "=~")
            )
            for name, sign, value in self.matchers
        )


@dataclass(frozen=True)
class Alert:
    """The policies of one alert, which differ only in their condition."""

    name: str
    severity: str
    text: str
    channels: list[str]
    conditions: list[Condition]

    @property
    def anchor(self) -> str:
        """Return the anchor of the runbook section that the alert links to."""
        return self.text.rpartition("#")[2]

    @property
    def metric_fields(self) -> set[str]:
        return {field for condition in self.conditions for field in condition.metric_fields}


def alerts(resources: Resources) -> dict[str, Alert]:
    """Return the alerts by name."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for policy in resources.of("google_monitoring_alert_policy", "alert").values():
        grouped.setdefault(policy["user_labels"]["alert"], []).append(policy)
    return {name: _read_alert(name, policies) for name, policies in grouped.items()}


def _read_alert(name: str, policies: list[dict[str, Any]]) -> Alert:
    ((severity, documentation, channels),) = {
        (
            policy["severity"],
            policy["documentation"][0]["content"],
            tuple(policy.get("notification_channels") or ()),
        )
        for policy in policies
    }
    return Alert(
        name=name,
        severity=severity,
        text=documentation,
        channels=list(channels),
        conditions=[_read_condition(policy) for policy in policies],
    )


def _read_condition(policy: dict[str, Any]) -> Condition:
    """Return the policy's condition; a PromQL policy has exactly one condition."""
    (condition,) = policy["conditions"]
    (promql,) = condition["condition_prometheus_query_language"]
    seconds = int(promql["duration"].rstrip("s"))
    return Condition(condition["display_name"], promql["query"], seconds)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a Markdown page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }
