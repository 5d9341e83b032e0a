"""The counts of requests, appends and folds are those of the table, whatever the machine does."""

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize(
    ("name", "number", "is_wrong"),
    [
        ("hit: Python calls", "1020", False),
        ("hit: Python calls", "1021", True),
        ("hit: Python calls", "979", True),
        ("hit: cycles", "1", True),
    ],
)
def test_a_count_that_moves_is_wrong_in_both_directions(
    name: str, number: str, *, is_wrong: bool
) -> None:
    assert bool(counts.compare(FOUND | {name: number}, TABLE, "")) == is_wrong


def test_no_table_allows_objects_in_cycles() -> None:
    found, table = FOUND | {"hit: cycles": "20"}, TABLE | {"hit: cycles": ("20", "20")}
    assert counts.compare(found, table, "") != []


def test_under_other_versions_only_what_they_do_not_change_is_compared() -> None:
    moved = FOUND | {"Python": "3.12", "hit: Python calls": "1"}
    assert counts.compare(moved, TABLE, "") == []
    assert counts.compare(moved | {"hit: cycles": "1"}, TABLE, "") != []


def test_the_changelog_names_a_count_that_has_grown_since_the_last_release() -> None:
    grown = TABLE | {"hit: Python calls": ("1000", "950")}
    assert counts.compare(FOUND, grown, "nothing") != []
    assert counts.compare(FOUND, grown, "- A `hit` makes more calls, because ...") == []
