"""Ask promtool whether Prometheus accepts a configuration or queries, and when alerts fire."""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.conftest import skip_without
from tests.support import programs
from tests.support.alert_policies import Alert


def check_config(request: pytest.FixtureRequest, file: Path) -> None:
    _check(request, "config", file)


def check_queries(request: pytest.FixtureRequest, queries: Iterable[str], folder: Path) -> None:
    rules = [{"record": f"asked_{n}", "expr": query} for n, query in enumerate(queries)]
    _check(request, "rules", _write_rules(folder, rules))


def check_moments(
    request: pytest.FixtureRequest,
    alert: Alert,
    series: Mapping[str, str],
    moments: Mapping[str, bool],
    folder: Path,
) -> None:
    """Check whether the alert fires at these times after the beginning of the series.

    The values of a series are five minutes apart.
    """
    rule = {"alert": alert.name, "expr": alert.query, "for": f"{alert.seconds}s"}
    rules = _write_rules(folder, [rule])
    test = {
        "interval": "5m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"eval_time": at, "alertname": alert.name, "exp_alerts": [{}] if fires else []}
            for at, fires in moments.items()
        ],
    }
    file = folder / "tests.yaml"
    every = {"evaluation_interval": "5m"}
    file.write_text(json.dumps({"rule_files": [rules.name], "tests": [test], **every}))
    _run(request, "test", "rules", file)


def _write_rules(folder: Path, rules: list[dict[str, str]]) -> Path:
    file = folder / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    return file


def _check(request: pytest.FixtureRequest, kind: str, file: Path) -> None:
    _run(request, "check", kind, file)


def _run(request: pytest.FixtureRequest, *arguments: str | Path) -> None:
    program = shutil.which("promtool") or skip_without(request, "promtool")
    programs.run([program, *arguments])
