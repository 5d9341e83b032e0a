"""The limits that docs/limits.md lists are those of the code."""

import importlib
import re
from pathlib import Path

import pytest

from progress.operations.records import PLANS

PAGE = (Path(__file__).parents[2] / "docs/limits.md").read_text(encoding="utf-8")
LIMITS = re.findall(r"^\| .+ \| ([\d,]+)(?: (\w+))? \| `([\w.]+)\.(\w+)` \|$", PAGE, re.MULTILINE)
STEPS = re.findall(r"^\| ([A-Z_]+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)

_UNITS = {"": 1, "s": 1, "ms": 0.001, "MB": 10**6, "MiB": 1 << 20}


def test_each_limit_is_that_of_the_code() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| .*\d", line)]
    assert len(rows) == len(LIMITS) + len(STEPS)
    for number, unit, module, name in LIMITS:
        constant = getattr(importlib.import_module(module), name)
        assert constant == pytest.approx(_number(number) * _UNITS[unit]), name


def test_the_steps_of_operations_are_those_of_the_code() -> None:
    documented = {
        kind: [*zip(steps.split(", "), map(_number, seconds.split(", ")), strict=True)]
        for kind, steps, seconds in STEPS
    }
    assert documented == {
        kind: [(f"{step.name}{'†' * step.is_final}", step.timeout_s) for step in plan.steps]
        for kind, plan in PLANS.items()
    }


def _number(text: str) -> int:
    return int(text.replace(",", ""))
