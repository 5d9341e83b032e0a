"""The counts of requests, appends and folds are those of the table, whatever the machine does."""

import subprocess
import sys

from bench import counts
from progress.files import ROOT

TABLE = {
    "Python": ("3.11", "3.11"),
    "PostgreSQL": ("18", "18"),
    "hit: Python calls": ("1000", "980"),
    "hit: cycles": ("0", ""),
}
FOUND = {name: now for name, (now, _) in TABLE.items()}


def test_the_counts_are_those_of_the_table() -> None:
    guard = [sys.executable, "-m", "bench.counts"]
    run = subprocess.run(guard, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_count_that_moves_is_wrong_unless_other_versions_or_the_changelog_explain_it() -> None:
    """Versions change the numbers of calls, but no version and no table allows cycles."""
    calls, cycles, now = "hit: Python calls", "hit: cycles", {"Python": "3.12"}
    grown = TABLE | {calls: ("1000", "950")}
    for changed, table, changelog, is_wrong in (
        ({calls: "1020"}, TABLE, "", False),
        ({calls: "1021"}, TABLE, "", True),
        ({calls: "979"}, TABLE, "", True),
        ({cycles: "1"}, TABLE, "", True),
        ({cycles: "20"}, TABLE | {cycles: ("20", "20")}, "", True),
        (now | {calls: "1"}, TABLE, "", False),
        (now | {calls: "1", cycles: "1"}, TABLE, "", True),
        ({}, grown, "nothing", True),
        ({}, grown, "- A `hit` makes more calls, because ...", False),
    ):
        assert bool(counts.compare(FOUND | changed, table, changelog)) == is_wrong, changed
