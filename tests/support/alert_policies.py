"""The alerts of a deployment, with their queries in PromQL."""

import re
from dataclasses import dataclass
from functools import cached_property
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

_OWN = "logging_googleapis_com:user_progress_"
_SERIES = re.compile(r"\b(\w+_googleapis_com:\w+)\s*(\{[^}]*\})?")
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
_PART = re.compile(r"_(bucket|sum|count)$")
_REVISION = 'monitored_resource="cloud_run_revision"'
_CHECKED = "monitoring_googleapis_com:uptime_check_check_passed"
_DISTRIBUTION = (
    r'metric\.type="logging\.googleapis\.com/user/(\w+)" AND resource\.type="cloud_run_revision"'
)

LINES = "error-logs"  # the alert on log lines


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
    """An alert on metrics: the query, in PromQL, must hold for `seconds` before the alert fires."""

    name: str
    severity: str
    query: str
    seconds: int
    is_promql: bool  # else, the query says what Google computes for the condition

    @cached_property
    def selectors(self) -> list[Selector]:
        """Return the selectors in the query."""
        return [Selector.read(*parts) for parts in _SERIES.findall(self.query)]

    @property
    def metric_fields(self) -> set[str]:
        return {selector.field for selector in self.selectors if selector.field}

    @property
    def foreign(self) -> set[str]:
        """Return the platform metrics in the query."""
        return {selector.metric for selector in self.selectors if not selector.field}


def alerts(resources: Resources) -> dict[str, Alert]:
    """Return the alerts on metrics by name: all but the one on log lines."""
    policies = resources.of("google_monitoring_alert_policy").items()
    return {name: _read(name, policy, resources) for name, policy in policies if name != LINES}


def _read(name: str, policy: dict[str, Any], resources: Resources) -> Alert:
    (condition,) = policy["conditions"]
    for promql in condition["condition_prometheus_query_language"]:
        return Alert(name, policy["severity"], promql["query"], _seconds(promql), is_promql=True)
    (threshold,) = condition["condition_threshold"]
    if name == "uptime":
        ((_, check),) = resources.of("google_monitoring_uptime_check_config").items()
        assert f'metric.labels.check_id="{check["uptime_check_id"]}"' in threshold["filter"]
        query = f"count({_CHECKED} == 0) > {threshold['threshold_value']}"
    else:
        slo = resources.of("google_monitoring_slo")[name.removesuffix("-burn")]
        assert threshold["filter"] == f'select_slo_burn_rate("{slo["name"]}", "86400s")'
        bad = _count_bad(slo, resources)
        query = f"({bad}) / (1 - {slo['goal']}) > {threshold['threshold_value']}"
    return Alert(name, policy["severity"], query, _seconds(threshold), is_promql=False)


def _count_bad(slo: dict[str, Any], resources: Resources) -> str:
    """Return the share of bad requests in a day, as Google computes the two kinds of SLI."""
    (service,) = (
        service["basic_service"][0]["service_labels"]["service_name"]
        for service in resources.of("google_monitoring_service").values()
        if service["service_id"] == slo["service"]
    )
    if slo["basic_sli"]:
        assert slo["basic_sli"][0]["availability"][0]["enabled"]
        of = f'run_googleapis_com:request_count{{{_REVISION},service_name="{service}"'
        failed = f'sum(increase({of},response_code_class="5xx"}}[1d]))'
        return f"{failed} / sum(increase({of}}}[1d]))"
    (cut,) = slo["request_based_sli"][0]["distribution_cut"]
    found = re.fullmatch(_DISTRIBUTION, cut["distribution_filter"])
    assert found, cut["distribution_filter"]
    of, most = f"logging_googleapis_com:user_{found[1]}", float(cut["range"][0]["max"])
    good = f'sum(increase({of}_bucket{{{_REVISION},le="{most}"}}[1d]))'
    return f"1 - {good} / sum(increase({of}_count{{{_REVISION}}}[1d]))"


def _seconds(condition: dict[str, Any]) -> int:
    return int(condition["duration"].rstrip("s"))
