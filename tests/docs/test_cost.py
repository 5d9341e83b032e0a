"""docs/cost.md shows a command that gcloud can read."""

import re
from pathlib import Path

COST = Path(__file__).parents[2] / "docs" / "cost.md"


def test_gcloud_reads_the_log_exclusion_filter_as_one_value() -> None:
    """Unless a value names a separator, gcloud splits it at commas (`gcloud topic escaping`)."""
    (value,) = re.findall(r"--add-exclusion='([^']*)'", COST.read_text(encoding="utf-8"))
    ((mark, pairs),) = re.findall(r"\A\^(.+?)\^(.*)", value, re.DOTALL)
    assert [pair.partition("=")[0] for pair in pairs.split(mark)] == ["name", "filter"]
    assert pairs.endswith("sample(insertId, 0.99)")
