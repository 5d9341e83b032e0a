"""A store with learners, and statements that read or damage it."""

from pathlib import Path

import pytest

from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection
from progress.projections import batch, schema
from tests.support import sample_events
from tests.support.stage import append

BLOCKS = statements.blocks(str(Path(__file__).with_suffix("")))
USERS = tuple(f"u{n}" for n in range(8))


@pytest.fixture
def folded_learners() -> tuple[str, ...]:
    return USERS


@pytest.fixture
def populated(folded_learners: tuple[str, ...], connection: Connection) -> Connection:
    connection.run(BLOCKS["let the log be changed"])
    return connection


def nobody(_done: int, _total: int) -> None:
    """Ignore the numbers of rows that a dump reports."""


def every_row(
    connection: Connection, block: str = "every row", name: str = schema.schema_name()
) -> dict[str, list[str]]:
    """Return the rows of each read model, without columns that a rebuild changes.

    With the block `every row of the log`, return those of the log and of the operations.
    """
    return {
        table: sorted(text for (text,) in connection.run(question))
        for table, question in connection.run(BLOCKS[block], schema=name)
    }


def fill_further(connection: Connection, learner: str) -> None:
    """Add dead letters, a pending event, a poisoned event of the learner and an operation."""
    append(connection, [{}, sample_events.envelope("SessionStarted", {}, at=sample_events.BEGIN)])
    lost = {"session_id": "unknown", "item_id": "i0", "response_time_ms": 900}
    append(connection, [sample_events.envelope("CorrectAnswerGiven", lost, at=sample_events.BEGIN)])
    sample_events.poison(connection, learner)
    batch.run(connection)
    connection.run(BLOCKS["accept an operation"])
