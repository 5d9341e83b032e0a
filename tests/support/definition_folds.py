"""Definitions of a log by PostgreSQL and by DuckDB, compared with the live rows.

`python -m tests.support.definition_folds` reads a log from its standard input, and prints the
result of `Duck.fold` as JSON.
"""

import functools
import sys
from pathlib import Path

import duckdb
import msgspec
import pg8000.native

from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection
from progress.event_store import time_zones
from progress.projections import definitions
from progress.recovery import checks
from progress.recovery.checks import Difference

BLOCKS = statements.blocks(str(Path(__file__).with_suffix("")))


class Duck:
    def __init__(self) -> None:
        self._duck = duckdb.connect(":memory:", config={"threads": "1"})
        rules = msgspec.json.encode(list(time_zones.rules())).decode()
        self._duck.execute(definitions.zone_statement("duckdb"), {"rules": rules})
        # One query returns the rows of all tables.
        self._rows = " UNION ALL ".join(_of(table, "rows") for table in definitions.TABLES)

    def fold(self, log: str) -> dict[str, str]:
        """Return the rows of each table as JSON; `log` is the result of `read_log`."""
        self._duck.begin()
        try:
            self._duck.execute(BLOCKS["delivered"], {"log": log})
            self._duck.execute(BLOCKS["log"])
            for statement in (
                *definitions.event_statements("duckdb"),
                *definitions.fold_statements("duckdb").values(),
            ):
                self._duck.execute(statement)
            return dict(self._duck.execute(self._rows).fetchall())
        finally:
            self._duck.rollback()


@functools.cache
def duck() -> Duck:
    """Return this process's only DuckDB database; creating another one would take a second."""
    return Duck()


def find_differences(connection: Connection) -> list[Difference]:
    """Return the tables whose definition in PostgreSQL or DuckDB differs from the live rows."""
    with checks.open_snapshot(connection):
        checks.fold(connection)
        differences = checks.compare(connection)
        folded = duck().fold(read_log(connection))
        # One round trip for all tables saves time, because tests compare many logs.
        connection.run("".join(_replace(table, rows) for table, rows in folded.items()))
        return [*differences, *checks.compare(connection)]


def read_log(connection: Connection) -> str:
    return str(connection.run(BLOCKS["read log"])[0][0])


def _replace(table: str, rows: str) -> str:
    return _of(table, "replace").replace("{rows}", pg8000.native.literal(rows))


def _of(table: str, block: str) -> str:
    return BLOCKS[block].replace("{table}", table)


if __name__ == "__main__":
    print(msgspec.json.encode(Duck().fold(sys.stdin.buffer.read().decode())).decode())
