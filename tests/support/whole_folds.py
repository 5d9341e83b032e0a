"""Whole folds of a log by PostgreSQL and by DuckDB, compared with the live rows."""

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection
from progress.archive import log_rows
from progress.archive.log_rows import Positions
from progress.event_store import time_zones
from progress.projections import whole
from progress.recovery import comparison
from progress.recovery.comparison import Difference

_BUCKETS = 16


def blocks() -> dict[str, str]:
    """Return the blocks of whole_folds.sql."""
    return statements.blocks(str(Path(__file__).with_suffix("")))


class Duck:
    """A DuckDB that folds logs."""

    def __init__(self) -> None:
        self._duck = duckdb.connect(":memory:")
        self._duck.execute("SET TimeZone = 'Pacific/Chatham'")  # the zone must change nothing
        rules = msgspec.json.encode(list(time_zones.rules())).decode()
        self._create_offsets, self._create_events = (
            whole.source_statements("duckdb")[name] for name in ("zone_offsets", "typed_events")
        )
        self._duck.execute(self._create_offsets, {"rules": rules})

    def find_differences(self, connection: Connection) -> list[Difference]:
        """Return the tables whose rows in DuckDB are not the live rows."""
        with tempfile.TemporaryDirectory() as name, comparison.open_snapshot(connection):
            comparison.fold(connection)  # for the tables, whose rows are replaced
            self._write_tables(connection, Path(name))
            for table in whole.TABLES:
                connection.run(blocks()["empty table"].replace("{table}", table))
                with (Path(name) / table).open("rb") as rows:
                    connection.run(blocks()["read table"].replace("{table}", table), stream=rows)
            return comparison.compare(connection)

    def _write_tables(self, connection: Connection, folder: Path) -> None:
        """Fold the connection's log; write each table as a CSV file named after it."""
        log = folder / "log.csv"
        log_rows.copy(connection, Positions(1, log_rows.find_end(connection)), _BUCKETS, log)
        with self._transaction():
            self._run("read log", csv=str(log))
            self._run("set aside", positions=[row[0] for row in _list_poisoned(connection)])
            for statement in (self._create_events, *whole.fold_statements().values()):
                self._duck.execute(statement)
            for table in whole.TABLES:
                self._run("write table", table=table, csv=str(folder / table))

    def _run(self, block: str, table: str = "", **values: object) -> None:
        self._duck.execute(blocks()[block].replace("{table}", table), values)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Drop at the end of the block what it created."""
        self._duck.begin()
        try:
            yield
        finally:
            self._duck.rollback()


def _list_poisoned(connection: Connection) -> list[list[Any]]:
    return connection.run(blocks()["poisoned"]) or []


@functools.cache
def duck() -> Duck:
    """Return the DuckDB of this process, because reading the time zones takes a second."""
    return Duck()
