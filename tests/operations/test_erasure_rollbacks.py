"""Read models that nobody reads do not hold up an erasure, and a rollback brings nobody back."""

import contextlib
from collections.abc import Iterator

import pytest

from progress.adapters.postgres.database import Connection
from progress.operations import runner
from progress.operations.claimed_operations import ClaimedOperation
from progress.projections import batch, schema
from progress.projections.projector import Projector
from progress.recovery import checks
from tests.conftest import Store
from tests.support import stage
from tests.support.erasure_fixtures import (
    LEARNER,
    NEEDLES,
    erase,
    find_traces,
    leave_traces,
    receipt,
)
from tests.support.operation_fixtures import Operator

OTHER = "progress_0123456789ab"
STEPS = [*runner.ACTIONS["ERASE_USER"]]
SMALL = 7  # the events of a window
TABLES = """
SELECT format('%I.%I', c.relnamespace::regnamespace, c.relname)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'user_id'
WHERE c.relnamespace = CAST(:schema AS regnamespace) AND c.relkind = 'r'
  AND c.relname <> 'deleted_learners'
"""


@pytest.fixture
def behind(store: Store, populated: Connection) -> Iterator[Projector]:
    """Other read models, which nobody reads: of the learner, they have only the first events."""
    leave_traces(populated)
    with contextlib.closing(stage.connect(store.url)) as connection:
        connection.run("UPDATE event_store.read_models SET read_until = clock_timestamp()")
        schema.create(connection, OTHER)
        projector = Projector(connection, OTHER)
        while not find_rows(connection):
            fold_on(projector)
        yield projector


def fold_on(projector: Projector) -> None:
    for shard in projector.find_shards_behind():
        projector.fold(shard, SMALL)


def find_rows(connection: Connection) -> list[str]:
    tables = [table for (table,) in connection.run(TABLES, schema=OTHER)]
    count = "SELECT count(*) FROM {} WHERE user_id = :learner"
    return [t for t in tables if connection.run(count.format(t), learner=LEARNER) != [[0]]]


@pytest.mark.exhaustive
@pytest.mark.parametrize("rolled_back", [None, *STEPS])
def test_read_models_that_are_folded_between_the_steps_of_an_erasure_keep_no_row(
    operator: Operator,
    store: Store,
    behind: Projector,
    monkeypatch: pytest.MonkeyPatch,
    rolled_back: str | None,
) -> None:
    """After the step `rolled_back`, the others are read, and all of them is folded."""
    left: dict[str, list[str]] = {}

    def followed(step: str, action: runner.Action) -> runner.Action:
        def act(operation: ClaimedOperation) -> object:
            outcome = action(operation)
            fold_on(behind)
            if step == rolled_back:
                behind.connection.run("UPDATE event_store.read_models SET read_until = now()")
                behind.catch_up_all()
                with contextlib.closing(stage.connect(store.url)) as job:
                    batch.run(job)
            left[step] = find_rows(behind.connection)
            return outcome

        return act

    actions = {name: followed(name, act) for name, act in runner.ACTIONS["ERASE_USER"].items()}
    monkeypatch.setitem(runner.ACTIONS, "ERASE_USER", actions)
    assert receipt(operator.run_until_it_ends(erase(operator)["id"]))["found"] == 0
    assert {step: rows for step, rows in left.items() if rows and step != "forbid"} == {}
    with contextlib.closing(stage.connect(store.url)) as connection:
        Projector(connection, OTHER).catch_up_all()
        batch.run(connection)
        assert find_rows(connection) == []
        assert find_traces(connection, *NEEDLES) == []
        schema.set_search_path(connection)
        assert not checks.run(connection).findings
