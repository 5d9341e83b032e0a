"""docs/speed.md and the benchmarks name the same rows."""

import re
from pathlib import Path

from bench import __main__

SPEED = Path(__file__).parents[2] / "docs" / "speed.md"


def test_the_table_names_every_benchmark_and_no_other() -> None:
    named = re.findall(r"^\| `([^`]+)` \|", SPEED.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) == __main__.ROWS.keys()
