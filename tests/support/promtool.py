"""Evaluate alert conditions in a real Prometheus engine."""

import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.alert_policies import Alert

PROGRAM = shutil.which("promtool")

SERVICES = {"monitored_resource": "cloud_run_revision"}
JOBS = {"monitored_resource": "cloud_run_job"}

MINUTES = 40

Series = dict[str, str]


@dataclass(frozen=True)
class Case:
    """Input series, and whether `alert` must fire at the end of these series (`is_told`)."""

    alert: str
    is_told: bool
    series: Series = field(default_factory=dict)
    minutes: int = MINUTES


def growing(metric: str, labels: Mapping[str, str], a_minute: float) -> Series:
    """Return a counter that grows by this amount per minute."""
    return {_series(metric, labels): f"0+{a_minute}x{MINUTES}"}


def level(metric: str, labels: Mapping[str, str], value: float) -> Series:
    return {_series(metric, labels): f"{value}x{MINUTES}"}


def listed(metric: str, labels: Mapping[str, str], counts: Iterable[float]) -> Series:
    """Return a counter with these values, one for each minute."""
    return {_series(metric, labels): " ".join(str(count) for count in counts)}


def looked(metric: str, value: float) -> Series:
    """Return a distribution to which the batch job adds `value` every five minutes."""
    counts = [minute // 5 for minute in range(MINUTES)]
    return joined(
        listed(f"{metric}_count", JOBS, counts),
        listed(f"{metric}_sum", JOBS, [n * value for n in counts]),
    )


def spread(metric: str, labels: Mapping[str, str], below: Mapping[float, float]) -> Series:
    """Return a distribution.

    `below` maps each bound to the number of values per minute that do not exceed this bound.
    """
    rows = {str(bound): a_minute for bound, a_minute in below.items()}
    every = max(below.values())
    buckets = [
        growing(f"{metric}_bucket", {**labels, "le": le}, growth)
        for le, growth in {**rows, "+Inf": every}.items()
    ]
    return joined(*buckets, growing(f"{metric}_count", labels, every))


def once(metric: str, labels: Mapping[str, str]) -> Series:
    """Return a counter that grew by one, five minutes before the end."""
    quiet = MINUTES - 5
    return {_series(metric, labels): f"0x{quiet - 1} 1x5"}


def ended(metric: str, labels: Mapping[str, str], *, minutes: int, of: int = MINUTES) -> Series:
    """Return a counter of so many minutes, without values in the last `minutes`."""
    heard = of - minutes
    return {_series(metric, labels): f"0+1x{heard} _x{minutes}"}


def joined(*parts: Series) -> Series:
    return {name: values for part in parts for name, values in part.items()}


def wrong(alerts: Iterable[Alert], cases: Iterable[Case], folder: Path) -> str:
    """Return promtool's report of the failed cases, or an empty text if no case failed.

    Each alert has its own file, so that promtool evaluates a case for one alert only.
    """
    of_all = [*cases]
    return _run(
        folder,
        *(
            _write(
                folder, [alert], [_describe(case) for case in of_all if case.alert == alert.name]
            )
            for alert in alerts
        ),
    )


def empty(queries: Iterable[str], series: Series, folder: Path) -> str:
    """Return promtool's report of queries without a result, or an empty text if there are none."""
    wanted = [{"labels": "{}", "value": 1}]
    expected = [
        {"expr": f"clamp_max(count({query}), 1)", "eval_time": "20m", "exp_samples": wanted}
        for query in queries
    ]
    input_series = [{"series": selector, "values": values} for selector, values in series.items()]
    tests: list[dict[str, object]] = [
        {"interval": "1m", "input_series": input_series, "promql_expr_test": expected}
    ]
    return _run(folder, _write(folder, [], tests))


def fired(alerts: Iterable[Alert], series: Series, expected: Iterable[str], folder: Path) -> str:
    """Return promtool's report, or an empty text if exactly the expected alerts fire.

    An alert counts if it fires at any time in the series. If several of its own series fire, it
    is not as expected, because each of them sends a notification.
    """
    minutes = max(len(values.split()) for values in series.values())
    count = f'count by (alertname) (present_over_time(ALERTS{{alertstate="firing"}}[{minutes}m]))'
    samples = [{"labels": f"{{alertname={json.dumps(name)}}}", "value": 1} for name in expected]
    test: dict[str, object] = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": count, "eval_time": f"{minutes - 1}m", "exp_samples": samples}
        ],
    }
    return _run(folder, _write(folder, alerts, [test]))


def _write(folder: Path, alerts: Iterable[Alert], tests: list[dict[str, object]]) -> str:
    """Write the alerts' rules and their tests; return the name of the file of the tests."""
    rules = [{"alert": a.name, "expr": a.query, "for": f"{a.seconds}s"} for a in alerts]
    name = rules[0]["alert"] if rules else "queries"
    group = {"groups": [{"name": "all", "rules": rules}]}
    (folder / f"{name}.rules").write_text(json.dumps(group))
    file = {"rule_files": [f"{name}.rules"], "evaluation_interval": "1m", "tests": tests}
    (folder / name).write_text(json.dumps(file))
    return name


def _run(folder: Path, *files: str) -> str:
    command = [str(PROGRAM), "test", "rules", *files]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _describe(case: Case) -> dict[str, object]:
    samples = [{"labels": "{}", "value": 1}] if case.is_told else []
    firing = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}})'
    return {
        "name": f"{case.alert}: {case.series}",
        "interval": "1m",
        "input_series": [
            {"series": series, "values": values} for series, values in case.series.items()
        ],
        "promql_expr_test": [
            {"expr": firing, "eval_time": f"{case.minutes - 1}m", "exp_samples": samples}
        ],
    }


def _series(metric: str, labels: Mapping[str, str]) -> str:
    return (
        f"{metric}{{{','.join(f'{name}={json.dumps(value)}' for name, value in labels.items())}}}"
    )
