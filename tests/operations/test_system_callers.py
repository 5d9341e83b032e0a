"""Callers that are not people have names that no token has."""

import json

import pytest

from progress.adapters.postgres.database import Connection
from progress.operations import records
from progress.operations.records import OperationKind
from tests.conftest import Store
from tests.support import cli
from tests.support.operation_fixtures import (
    Operator,
    blocks,
)


def start_export(connection: Connection, caller: str, learner: str = "ann") -> str:
    """Start an export of a learner's record; return the id of the operation."""
    kind = OperationKind.EXPORT_USER
    return str(
        records.accept(
            connection, kind, caller=caller, key=learner, subject=learner, user_id=learner
        )
    )


def read_callers(connection: Connection, operation_id: str) -> tuple[str, str, list[str]]:
    """Return who has started, cancelled and requested the operation."""
    ((starter, canceller, requesters),) = connection.run(
        blocks()["callers"], operation_id=operation_id
    )
    return starter, canceller, sorted(requesters)


@pytest.mark.parametrize("caller", [records.COMMAND_LINE, records.BATCH_JOB])
@pytest.mark.parametrize("roles", [[], ["admin"]])
def test_no_token_reads_an_operation_as_its_starter_that_is_not_a_person(
    operator: Operator, populated: Connection, caller: str, roles: list[str]
) -> None:
    query = f'{{ operation(id: "{start_export(populated, caller)}") {{ id }} }}'
    code, message = operator.api.error(query, caller, roles=roles)
    assert (code, "reserved" in message) == ("UNAUTHENTICATED", True)


def test_the_command_line_shows_the_names_of_callers(
    operator: Operator, populated: Connection, store: Store
) -> None:
    operation_id = operator.start("runBatch")["id"]
    cli.expect_success(cli.progress(store.url, "operations", "cancel", operation_id))
    assert read_callers(populated, operation_id) == ("ada", "system:command line", ["ada"])
    operation_id = start_export(populated, records.COMMAND_LINE)
    shown = cli.expect_success(cli.progress(store.url, "operations", "show", operation_id))
    assert json.loads(shown)["started_by"] == "system:command line"
