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


@pytest.mark.every_postgres
def test_each_step_in_postgresql_is_that_of_the_oracle(connection: Connection) -> None:
    rows = connection.run(model_rows.BLOCKS["next states"], **VALUES)
    assert [tuple(state) for (state,) in rows or []] == expected_states()


def test_each_step_in_duckdb_is_that_of_the_oracle() -> None:
    file = definition_folds.__file__.removesuffix(".py")
    query = statements.fill(file, "next states", **schema.parts())
    with duckdb.connect(":memory:") as duck:
        assert duck.execute(query, VALUES).fetchall() == expected_states()
