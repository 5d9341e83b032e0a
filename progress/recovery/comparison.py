"""Compare the live read models with whole folds of the log."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks, fill
from progress.projections import schema, whole

_FILE = "recovery/comparison"


class Difference(NamedTuple):
    """A live table that differs from the whole fold of the log."""

    table: str
    missing: int  # Rows that the table should have, but lacks.
    extra: int  # Rows that the table should not have.
    example: str  # The beginning of a missing or extra row, as JSON.


def find_differences(connection: Connection) -> list[Difference]:
    """Fold the log up to the shards' checkpoints, and compare every table.

    Skip rows that the batch job still has to update. All rows are read in one snapshot.
    """
    with open_snapshot(connection):
        fold(connection)
        return compare(connection)


def fold(connection: Connection) -> None:
    """Run the whole folds into temporary tables; the end of the transaction drops these tables."""
    sql = blocks(_FILE)
    _read_live_tables(connection)
    sources = [*whole.source_statements("postgresql").values(), sql["waiting"]]
    # One message for all statements, because a round trip takes longer than reading a small table.
    connection.run(
        "\n".join([*sources, sql["read only temporary tables"], *whole.fold_statements().values()])
    )
    _read_live_tables(connection)


def compare(connection: Connection) -> list[Difference]:
    """Return the live tables that differ from the temporary tables that `fold` filled."""
    columns = dict(connection.run(blocks(_FILE)["columns"]) or [])
    # All statements are sent in one round trip; each returns one row.
    rows = connection.run("\n".join(_comparison(table, columns[table]) for table in whole.TABLES))
    return [Difference(*row) for row in rows or [] if row[1] or row[2]]


def _comparison(table: str, columns: str) -> str:
    sql = blocks(_FILE)
    live = whole.live_query(table) or sql["live"]
    compared = sql.get(f"compared {table}", sql["compared"])
    return fill(_FILE, "compare", live=live, compared=compared, columns=columns, table=table)


def _read_live_tables(connection: Connection) -> None:
    connection.run(blocks(_FILE)["read live tables"], schema=schema.schema_name())


@contextlib.contextmanager
def open_snapshot(connection: Connection) -> Iterator[None]:
    """Let all statements of a `with` block read one snapshot; then drop their temporary tables."""
    connection.run(blocks(_FILE)["begin"])
    try:
        yield
    finally:
        with contextlib.suppress(*database.ERRORS):  # the connection may be broken
            connection.run(blocks(_FILE)["end"])
