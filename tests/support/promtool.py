"""Evaluate alert conditions in a real Prometheus engine."""

import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.alert_policies import Condition

PROGRAM = shutil.which("promtool")

SERVICES = {"monitored_resource": "cloud_run_revision"}
JOBS = {"monitored_resource": "cloud_run_job"}

MINUTES = 40

Series = dict[str, str]


@dataclass(frozen=True)
class Case:
    """Input series, and whether `condition` must hold at the end of these series (`is_told`)."""

    condition: str
    saying: str
    is_told: bool
    series: Series = field(default_factory=dict)


def growing(metric: str, labels: Mapping[str, str], a_minute: float) -> Series:
    """Return a counter that grows by this amount per minute."""
    return {_series(metric, labels): f"0+{a_minute}x{MINUTES}"}


def level(metric: str, labels: Mapping[str, str], value: float) -> Series:
    return {_series(metric, labels): f"{value}x{MINUTES}"}


def listed(metric: str, labels: Mapping[str, str], counts: Iterable[float]) -> Series:
    """Return a counter with these values, one for each minute."""
    return {_series(metric, labels): " ".join(str(count) for count in counts)}


def looked(metric: str, value: float, *, until: int = MINUTES) -> Series:
    """Return a distribution; the batch job adds `value` every five minutes until minute `until`."""
    counts = [min(minute, until) // 5 for minute in range(MINUTES)]
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


def ended(metric: str, labels: Mapping[str, str], *, minutes: int) -> Series:
    """Return a counter without values in the last `minutes`."""
    heard = MINUTES - minutes
    return {_series(metric, labels): f"0+1x{heard} _x{minutes}"}


def begun(metric: str, labels: Mapping[str, str], *, minutes: int) -> Series:
    """Return a counter whose first value is `minutes` before the end."""
    return {_series(metric, labels): f"_x{MINUTES - minutes - 1} 1x{minutes - 1}"}


def joined(*parts: Series) -> Series:
    return {name: values for part in parts for name, values in part.items()}


def wrong(conditions: Iterable[Condition], cases: Iterable[Case], folder: Path) -> str:
    """Return promtool's report of the failed cases, or an empty text if no case failed.

    Each condition has its own file, so that promtool evaluates a case for one condition only.
    """
    all_cases = [*cases]
    files = []
    for number, condition in enumerate(conditions):
        rules, file = f"rules-{number}.yml", f"tests-{number}.yml"
        rule = {"alert": condition.name, "expr": condition.query, "for": f"{condition.seconds}s"}
        (folder / rules).write_text(json.dumps({"groups": [{"name": "all", "rules": [rule]}]}))
        tests = {
            "rule_files": [rules],
            "evaluation_interval": "1m",
            "tests": [_test(case) for case in all_cases if case.condition == condition.name],
        }
        (folder / file).write_text(json.dumps(tests))
        files.append(file)
    return _said(["test", "rules", *files], folder)


def empty(queries: Iterable[str], series: Series, folder: Path) -> str:
    """Return promtool's report of queries without a result, or an empty text if there are none."""
    wanted = [{"labels": "{}", "value": 1}]
    expected = [
        {"expr": f"clamp_max(count({query}), 1)", "eval_time": "20m", "exp_samples": wanted}
        for query in queries
    ]
    input_series = [{"series": selector, "values": values} for selector, values in series.items()]
    tests = [{"interval": "1m", "input_series": input_series, "promql_expr_test": expected}]
    (folder / "tests.yml").write_text(json.dumps({"tests": tests}))
    return _said(["test", "rules", "tests.yml"], folder)


def fired(
    conditions: Iterable[Condition], series: Series, expected: Iterable[str], folder: Path
) -> str:
    """Return promtool's report, or an empty text if exactly the expected conditions fire.

    A condition counts if it fires at any time in the series. If several of its own series fire, it
    is not as expected, because each of them sends a notification.
    """
    rules = [{"alert": c.name, "expr": c.query, "for": f"{c.seconds}s"} for c in conditions]
    (folder / "rules.yml").write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    minutes = max(len(values.split()) for values in series.values())
    count = f'count by (alertname) (present_over_time(ALERTS{{alertstate="firing"}}[{minutes}m]))'
    samples = [{"labels": f"{{alertname={json.dumps(name)}}}", "value": 1} for name in expected]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": count, "eval_time": f"{minutes - 1}m", "exp_samples": samples}
        ],
    }
    file = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [test]}
    (folder / "tests.yml").write_text(json.dumps(file))
    return _said(["test", "rules", "tests.yml"], folder)


def _said(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(
        [str(PROGRAM), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _test(case: Case) -> dict[str, object]:
    samples = [{"labels": "{}", "value": 1}] if case.is_told else []
    name = json.dumps(case.condition)
    firing = f'count(count by (alertname) (ALERTS{{alertname={name},alertstate="firing"}}))'
    return {
        "name": f"{case.condition}: {case.saying}",
        "interval": "1m",
        "input_series": [
            {"series": series, "values": values} for series, values in case.series.items()
        ],
        "promql_expr_test": [
            {"expr": firing, "eval_time": f"{MINUTES - 1}m", "exp_samples": samples}
        ],
    }


def _series(metric: str, labels: Mapping[str, str]) -> str:
    return (
        f"{metric}{{{','.join(f'{name}={json.dumps(value)}' for name, value in labels.items())}}}"
    )
