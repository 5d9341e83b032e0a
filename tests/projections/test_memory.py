"""The states of memory are those of the oracle, in PostgreSQL and in DuckDB."""

import itertools
import math

import duckdb
import pytest

from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection
from progress.projections import schema
from tests.oracle import memory
from tests.oracle.memory import State
from tests.support import definition_folds, model_rows

# No log that the events allow reaches the limits of 36,500 days and of difficulty 10. Only a
# difficulty above 10, which no state has, would reach the latter.
STABILITIES = [math.floor(1e7 * math.log(days) + 0.5) for days in (0.001, 0.1, 1, 9.7, 800, 36_500)]
DIFFICULTIES = [10_000_000, 10_000_001, 54_321_987, 100_000_000, 110_000_000]
CASES = [*itertools.product(STABILITIES, DIFFICULTIES, (1, 2, 3, 4), (0, 1, 2, 90, 40_000))]
NAMES = ("stabilities", "difficulties", "grades", "gaps")
VALUES = dict(zip(NAMES, map(list, zip(*CASES, strict=True)), strict=True))


def expected_states() -> list[tuple[int, ...]]:
    return [
        tuple(memory.next_state(State(stability, difficulty), grade, gap))
        for stability, difficulty, grade, gap in CASES
    ]


def test_the_cases_reach_every_limit() -> None:
    found = expected_states()
    assert {STABILITIES[0], STABILITIES[-1]} <= {stability for stability, _ in found}
    assert {10_000_000, 100_000_000} <= {difficulty for _, difficulty in found}


@pytest.mark.every_postgres
def test_each_step_in_postgresql_is_that_of_the_oracle(connection: Connection) -> None:
    rows = connection.run(model_rows.BLOCKS["next states"], **VALUES)
    assert [tuple(state) for (state,) in rows or []] == expected_states()


def compute_in_duckdb(text: str = "", by: str = "") -> list[tuple[int, ...]]:
    """Return the states after the cases, with `by` in the place of `text` in the query."""
    file = definition_folds.__file__.removesuffix(".py")
    query = statements.fill(file, "next states", **schema.parts())
    assert text in query
    with duckdb.connect(":memory:") as duck:
        return duck.execute(query.replace(text, by), VALUES).fetchall()


def test_each_step_in_duckdb_is_that_of_the_oracle() -> None:
    assert compute_in_duckdb() == expected_states()


@pytest.mark.parametrize(
    ("limit", "by"),
    [
        ("greatest(s, 0.001)", "s"),
        ("36500", "36501"),
        ("greatest(d, 1)", "d"),
        ("least(greatest(d, 1), 10)", "greatest(d, 1)"),
    ],
)
def test_each_limit_decides_the_state_after_some_step(limit: str, by: str) -> None:
    assert compute_in_duckdb(limit, by) != expected_states()
