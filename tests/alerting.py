"""The alerts that Terraform makes: what each reads, and how it reads it."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from terraforming import REPOSITORY, Resources

Contract = dict[str, dict[str, Any]]

CONTRACT: Contract = msgspec.json.decode((REPOSITORY / "progress/signals.json").read_bytes())[
    "signals"
]
RUNBOOK = REPOSITORY / "docs" / "runbook.md"

_OWN = "logging_googleapis_com:user_progress_"
_SERIES = re.compile(r"\b(\w+_googleapis_com:\w+)\s*(\{[^}]*\})?")
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
_PART = re.compile(r"_(bucket|sum|count)$")


@dataclass(frozen=True)
class Condition:
    """A condition of an alert, in PromQL; true for so many seconds before anybody is told."""

    name: str
    query: str
    seconds: int

    @cached_property
    def selectors(self) -> list["Selector"]:
        """The series that it reads."""
        return [Selector.read(*found) for found in _SERIES.findall(self.query)]

    @property
    def signals(self) -> set[str]:
        return {each.signal for each in self.selectors if each.signal}

    @property
    def foreign(self) -> set[str]:
        """The metrics of the platform."""
        return {each.metric for each in self.selectors if not each.signal}


@dataclass(frozen=True)
class Selector:
    """A metric and which of its series."""

    metric: str
    signal: str  # empty where the metric is the platform's
    matchers: tuple[tuple[str, str, str], ...]

    @staticmethod
    def read(metric: str, braces: str) -> "Selector":
        own = _PART.sub("", metric.removeprefix(_OWN)) if metric.startswith(_OWN) else ""
        return Selector(metric, own, tuple(_MATCHER.findall(braces)))

    def takes(self, labels: dict[str, str]) -> bool:
        """Whether a series with these labels is one of them."""
        return all(
            {"=": value == labels.get(name, ""), "!=": value != labels.get(name, "")}.get(
                sign, (re.fullmatch(value, labels.get(name, "")) is not None) == (sign == "=~")
            )
            for name, sign, value in self.matchers
        )


@dataclass(frozen=True)
class Alert:
    """An alert policy."""

    name: str
    severity: str
    told: str
    channels: list[str]
    conditions: list[Condition]

    @property
    def anchor(self) -> str:
        """The section of the runbook that it sends its reader to."""
        return self.told.rpartition("#")[2]

    @property
    def signals(self) -> set[str]:
        return {signal for each in self.conditions for signal in each.signals}


def alerts(resources: Resources) -> dict[str, Alert]:
    """Those that read our own metrics, by name."""
    policies = resources.of("google_monitoring_alert_policy", "alert")
    return {name: _alert(name, policy) for name, policy in policies.items()}


def _alert(name: str, policy: dict[str, Any]) -> Alert:
    return Alert(
        name=name,
        severity=policy["severity"],
        told=policy["documentation"][0]["content"],
        channels=policy.get("notification_channels") or [],
        conditions=[
            Condition(each["display_name"], told["query"], int(told["duration"].rstrip("s")))
            for each in policy["conditions"]
            for told in each["condition_prometheus_query_language"]
        ],
    )


def anchors(page: Path) -> set[str]:
    """What a Markdown page can be linked at."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}
