"""The states of memory are those of the oracle, in PostgreSQL and in DuckDB."""

import itertools
import math
from datetime import UTC, datetime
from typing import Any

import duckdb
import msgspec
import pytest

from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection
from progress.demo import loading
from progress.projections import schema
from progress.projections.projector import Projector
from tests import oracle
from tests.oracle import memory
from tests.oracle.memory import State
from tests.support import definition_folds, model_rows
from tests.support.stage import append

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


@pytest.mark.exhaustive
@pytest.mark.every_postgres
def test_the_states_of_the_real_log_are_those_of_the_oracle(connection: Connection) -> None:
    for message in loading.messages():
        events: list[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(message.events))
        append(connection, events)
    Projector(connection).catch_up_all()
    world = oracle.see(model_rows.read_events(connection), datetime.now(UTC))
    rows = model_rows.read(connection, "memory")
    expected = oracle.item_states(world, "demo-learner")
    assert len(expected) == 1_205
    assert {
        row["item_id"]: {f: row[f] for f in ("stability", "difficulty", "answered_on")}
        for row in rows
    } == expected
