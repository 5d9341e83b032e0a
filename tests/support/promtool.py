"""Ask promtool whether Prometheus accepts a configuration or queries."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import skip_without
from tests.support import programs


def check_config(request: pytest.FixtureRequest, file: Path) -> None:
    _check(request, "config", file)


def check_queries(request: pytest.FixtureRequest, queries: Iterable[str], folder: Path) -> None:
    rules = [{"record": f"asked_{n}", "expr": query} for n, query in enumerate(queries)]
    file = folder / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    _check(request, "rules", file)


def _check(request: pytest.FixtureRequest, kind: str, file: Path) -> None:
    program = shutil.which("promtool") or skip_without(request, "promtool")
    programs.run([program, "check", kind, file])
