"""`make check` refuses subqueries with which PostgreSQL may compare each row, in the SQL files."""

import runpy
from pathlib import Path

import pytest

from tests.support import programs

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "check_subqueries.py"
REFUSED = (
    "x NOT IN (SELECT i.x FROM items i)",
    "(x, y) NOT IN (SELECT * FROM items)",
    "NOT x IN (SELECT i.x FROM items i)",
    "y = 1 AND (x IN (SELECT i.x FROM items i))",
    "y = 1 OR x IN (SELECT i.x FROM items i)",
    "x IN (SELECT i.x FROM items i) AND y = 1 OR z",
    "x IN (SELECT i.x FROM items i) IS TRUE",
    "y OR x IN ({read_models/items archived})",
    "CASE WHEN y THEN TRUE ELSE x IN (WITH w AS (SELECT 1) SELECT * FROM w) END",
    "x = ANY (SELECT i.x FROM items i) OR y",
    "x <> ALL (SELECT i.x FROM items i)",
)
ALLOWED = (
    "x IN (SELECT i.x FROM items i)",
    "(y OR z) AND x IN (SELECT i.x FROM items i WHERE i.y OR i.z) AND CASE WHEN y THEN z END",
    "x IN ({read_models/items archived}) ORDER BY x",
    "x NOT IN ('a', 'b') OR x IN ({list_types}, {assignment_types})",
    "y OR x = ANY (ARRAY(SELECT i.x FROM items i))",
    "NOT EXISTS (SELECT FROM items i WHERE i.x = s.x AND i.y IN (1, 2))",
    "z = 'x IN (SELECT 1) OR' -- OR x NOT IN (SELECT 1)",
    "(x IN (SELECT w.x FROM window_items w WHERE w.y)) IS TRUE",
)


def run(folder: Path, text: str) -> programs.Ended:
    (folder / "read.sql").write_text(f"-- one --\nSELECT 1\nUNION ALL\n(SELECT 2)\n\n{text}\n")
    return programs.try_run(["python3", SCRIPT, folder], folder=folder)


@pytest.mark.parametrize("condition", REFUSED)
def test_a_subquery_that_may_be_compared_with_each_row_is_refused(
    tmp_path: Path, condition: str
) -> None:
    ended = run(tmp_path, f"-- two --\nSELECT * FROM s\nWHERE {condition}")
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{tmp_path}/read.sql:8\n")


@pytest.mark.parametrize("place", ["SELECT {}", "SELECT count(*) FILTER (WHERE {})", "{}"])
def test_a_subquery_outside_of_a_where_is_refused(tmp_path: Path, place: str) -> None:
    """A block may be a condition, and stand in any place."""
    condition = "x IN (SELECT i.x FROM items i)"
    assert run(tmp_path, f"-- two --\n{place.format(condition)}").stderr.startswith(
        f"{tmp_path}/read.sql:7\n"
    )


@pytest.mark.parametrize("condition", ALLOWED)
def test_joins_lists_and_windows_are_allowed(tmp_path: Path, condition: str) -> None:
    assert run(tmp_path, f"-- two --\nDELETE FROM s\nWHERE {condition}\n;").returncode == 0


def test_the_rule_is_part_of_the_check_and_finds_nothing() -> None:
    assert f"$(BIN)/python .ci/{SCRIPT.name}\n" in (ROOT / "Makefile").read_text("utf-8")
    find = runpy.run_path(str(SCRIPT))["find"]
    assert not [
        path
        for path in (ROOT / "sql" / "read_models").glob("*.sql")
        if [*find(path.read_text("utf-8"))]
    ]
