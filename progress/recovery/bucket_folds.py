"""Run the whole folds in DuckDB, over the archive's files of one bucket or of the catalogue."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from progress.adapters.postgres import statements
from progress.archive import files
from progress.event_store import time_zones
from progress.projections import whole
from progress.recovery.archive_loads import Rebuild

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# Relations that every bucket needs. A rebuild computes them once and stores them, because the
# offsets of the time zones take a second to compute.
SHARED = ("items", "zone_offsets")

_MEMORY = "2GB"


class Catalogue(NamedTuple):
    """The folded catalogue: a CSV file for each table, a Parquet file for each shared relation."""

    tables: dict[str, Path]
    shared: dict[str, Path]


def fold_catalogue(folder: Path, log: Sequence[Path], rebuild: Rebuild) -> Catalogue:
    """Fold the Parquet files of the streams that belong to no learner."""
    sources, folds = whole.source_statements("duckdb"), whole.fold_statements()
    with _open(folder, log, rebuild) as duck:
        _run(duck, sources["zone_offsets"], rules=time_zones.encode_rules())
        for statement in (sources["facts"], *(folds[name] for name in whole.CATALOGUE)):
            _run(duck, statement)
        tables = [table for table in whole.TABLES if table in whole.CATALOGUE]
        return Catalogue(_write_tables(duck, folder, tables), _write_shared(duck, folder))


def fold_bucket(
    folder: Path, log: Sequence[Path], shared: Mapping[str, Path], rebuild: Rebuild
) -> dict[str, Path]:
    """Fold the Parquet files of a bucket; return a CSV file for each table of learners' rows."""
    folds = whole.fold_statements()
    with _open(folder, log, rebuild) as duck:
        for name, path in shared.items():
            _run(duck, _block("read shared", table=name), file=str(path))
        _run(duck, whole.source_statements("duckdb")["facts"])
        for name, statement in folds.items():
            if name not in ("items", "catalogue_counts", *whole.SUMS):
                _run(duck, statement)
        return _write_tables(duck, folder, whole.LEARNERS)


@contextlib.contextmanager
def _open(folder: Path, log: Sequence[Path], rebuild: Rebuild) -> Iterator["DuckDBPyConnection"]:
    """Open a DuckDB database that has the relations `log`, `set_aside` and `rebuild`."""
    threads = os.cpu_count() or 1
    with files.open_duck(folder, memory=_MEMORY, threads=threads) as duck:
        if log:
            _run(duck, _block("log files"), files=[str(path) for path in log])
        _run(duck, _block("log" if log else "no log"))
        _run(duck, _block("set aside"), positions=rebuild.set_aside)
        _run(duck, _block("rebuild"), version=rebuild.version)
        yield duck


def _write_tables(
    duck: "DuckDBPyConnection", folder: Path, tables: Iterable[str]
) -> dict[str, Path]:
    written = {}
    for table in tables:
        query = whole.loaded_query(table) or _block("loaded", table=table)
        written[table] = folder / f"{table}.csv"
        _run(duck, _block("write csv", query=query), file=str(written[table]))
    return written


def _write_shared(duck: "DuckDBPyConnection", folder: Path) -> dict[str, Path]:
    written = {name: folder / f"{name}.parquet" for name in SHARED}
    for name, path in written.items():
        _run(duck, _block("write shared", table=name), file=str(path))
    return written


def _block(name: str, **parts: str) -> str:
    return statements.fill("recovery/bucket_folds", name, **parts)


def _run(duck: "DuckDBPyConnection", statement: str, **values: object) -> None:
    files.execute(duck, statement, values)
