"""A whole check passes what detects broken definitions, and finds a row that is lost in a table."""

import pytest

from progress.adapters.postgres.database import Connection
from progress.projections import definitions
from progress.recovery import checks
from tests.conftest import Store
from tests.mutants import broken_folds
from tests.support.stage import Stage


def is_loss_found(connection: Connection, table: str) -> bool:
    """Lose a row of the table that its definition has filled; return whether the check finds it."""
    connection.run("SAVEPOINT folded")
    connection.run(f"DELETE FROM {table} WHERE ctid = (SELECT min(ctid) FROM {table})")  # noqa: S608 - a name
    differences = checks.compare(connection)
    connection.run("ROLLBACK TO folded")
    return bool(differences)


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_a_whole_check_passes_each_delivery_and_finds_a_lost_row_of_each_table(
    store: Store,
) -> None:
    """The deliveries have detected each of 93 definitions that were broken on purpose."""
    stage, tables = Stage(store.url), {*definitions.TABLES}
    for delivery in broken_folds.load_deliveries():
        stage.sweep()
        stage.deliver(delivery.log, delivery.how)
        with checks.open_snapshot(stage.admin):
            checks.fold(stage.admin)
            assert checks.compare(stage.admin) == []
            tables -= {table for table in tables if is_loss_found(stage.admin, f"pg_temp.{table}")}
    stage.close()
    assert tables == set()
