"""Checks that the log is complete and that the read models were made from it."""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from progress.adapters.postgres import database, migrations, roles
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.roles import Login
from progress.adapters.postgres.statements import blocks, fill
from progress.projections import definitions, schema
from progress.recovery import ledger_erasures

_RESTORE = "restore the log (docs/runbook.md, Restore the event store)"
_REBUILD = "run `progress rebuild`"
_MIGRATE = "run `progress migrate`"
ERASE = "run `progress erasures apply`"
_SHOWN_DIGESTS = 3
_FILE = "recovery/checks"
_COMPARISON = "recovery/comparison"
_TABLES_BY_SHARD = "item_difficulty", "group_items"


class Finding(msgspec.Struct, frozen=True):
    """A defect: what was found, and what to do."""

    found: str
    do: str


class Shard(msgspec.Struct, frozen=True):
    """A shard's checkpoints.

    `ahead` is true if a checkpoint lies after the end of the log. `other` is true if a checkpoint
    belongs to another log.
    """

    shard: int
    position: int
    batch_position: int
    events_behind: int
    ahead: bool
    other: bool


class CheckReport(msgspec.Struct, frozen=True):
    """The log's number of events and its end, the shards' checkpoints, and the defects."""

    events: int
    head: int
    recorded_at: datetime | None  # the time of the last event
    shards: list[Shard]
    findings: list[Finding]


def run(
    connection: Connection, erased: Collection[str] = (), *, with_rows: bool = False
) -> CheckReport:
    """Check the whole log, without changing it; `connection` must be that of the log's owner.

    `erased` are the digests of the erased learners, from the ledger of erasures. If `with_rows`,
    fold the log, and compare the result with every row of the read models.
    """
    events, first, head, recorded_at = database.run(connection, _FILE, "log")[0]
    shards: list[Shard] = []
    findings = _check_log(connection, events, first, head)
    findings += _check_erasures(connection, erased)
    if schema.exists(connection, schema.schema_name()):
        schema.set_search_path(connection)
        shards = [Shard(*row) for row in database.run(connection, _FILE, "checkpoints")]
        findings += _check_shards(shards, head)
        findings += _check_rows(connection) if with_rows else []
    else:
        findings.append(Finding("there are no read models", _MIGRATE))
    return CheckReport(events, head, recorded_at, shards, findings)


def check_migrations(connection: Connection) -> list[Finding]:
    """Compare the migrations and the functions with those that `progress migrate` applies."""
    if not (missing := migrations.find_missing(connection)):
        return []
    listed = ", ".join(missing[:3]) + (" …" if missing[3:] else "")
    return [Finding(f"the database lacks, or has otherwise, {listed}", _MIGRATE)]


def check_roles(connection: Connection, wanted: Sequence[Login] = ()) -> list[Finding]:
    """Compare the roles, logins, owners and privileges with those that `progress migrate` gives."""
    if not (differences := roles.find_differences(connection, wanted)):
        return []
    count = len(differences)
    found = f"{count} roles, logins, owners or privileges differ, as without {differences[0]}"
    return [Finding(found, _MIGRATE)]


def _check_log(connection: Connection, events: int, first: int, head: int) -> list[Finding]:
    findings = []
    if events != head or first > 1:
        gaps = ", ".join(
            f"{starts} to {ends}" for starts, ends in database.run(connection, _FILE, "gaps")
        )
        findings.append(Finding(f"the log has gaps: positions {gaps} are missing", _RESTORE))
    if streams := database.run(connection, _FILE, "streams")[0][0]:
        found = f"the versions of {streams} streams are not consecutive numbers from 1"
        findings.append(Finding(found, _RESTORE))
    if strays := database.run(connection, _FILE, "strays")[0][0]:
        found = (
            f"this server hashes the streams of {strays} events to other shards than the server "
            "that recorded the events did"
        )
        findings.append(Finding(found, "use that server's PostgreSQL version"))
    if senders := database.run(connection, _FILE, "letter bytes"):
        found = f"the sums of the dead letters' bytes are wrong for {len(senders)} senders"
        do = "run SELECT event_store.count_all_letter_bytes() as the owner of the database"
        findings.append(Finding(found, do))
    for (table,) in database.run(connection, _FILE, "numbers"):
        found = f"the sequence of {table} lags behind the rows: its value was not restored"
        findings.append(Finding(found, "restore the dump again, with `progress load`"))
    return findings


def _check_erasures(connection: Connection, erased: Collection[str]) -> list[Finding]:
    findings = []
    if missing := ledger_erasures.find_missing(connection, erased):
        names = _list_digests(missing)
        found = f"the ledger has {len(missing)} erasures that the database does not have: {names}"
        findings.append(Finding(found, ERASE))
    if left := ledger_erasures.find_left(connection):
        found = f"{len(left)} erased learners still have rows: {_list_digests([*left])}"
        findings.append(Finding(found, ERASE))
    if abandoned := ledger_erasures.count_abandoned(connection):
        findings.append(
            Finding(f"{abandoned} erasures have not ended, and nobody runs them", ERASE)
        )
    return findings


def _list_digests(digests: list[str]) -> str:
    return ", ".join(digests[:_SHOWN_DIGESTS]) + (" …" if len(digests) > _SHOWN_DIGESTS else "")


def _check_shards(shards: list[Shard], head: int) -> list[Finding]:
    findings = []
    if missing := 16 - len(shards):
        findings.append(Finding(f"{missing} of 16 checkpoints are missing", _REBUILD))
    if ahead := [shard for shard in shards if shard.ahead]:
        furthest = max(max(shard.position, shard.batch_position) for shard in ahead)
        found = f"{_name(ahead)} ahead of the log: folded to {furthest}, the log ends at {head}"
        findings.append(Finding(found, _REBUILD))
    if other := [shard for shard in shards if shard.other]:
        found = f"{_name(other)} those of another log: their last event is not in this log"
        findings.append(Finding(found, _REBUILD))
    return findings


def _check_rows(connection: Connection) -> list[Finding]:
    return [
        Finding(
            f"{table} differs from a fold of the log: it lacks {missing} rows and has {extra} "
            f"surplus rows; one of these rows is {example}",
            _REBUILD,
        )
        for table, missing, extra, example in find_differences(connection)
    ]


def _name(shards: list[Shard]) -> str:
    numbers = ", ".join(str(shard.shard) for shard in shards)
    return f"the read models of shard{'s' if len(shards) > 1 else ''} {numbers} are"


class Difference(NamedTuple):
    """A live table that differs from the definition of the log."""

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
    """Run the definitions into temporary tables; the end of the transaction drops these tables."""
    sql = blocks(_COMPARISON)
    _read_live_tables(connection)
    sources = [
        *definitions.event_statements("postgresql"),
        definitions.zone_statement("postgresql"),
    ]
    sources += [sql["waiting"]]
    folds = definitions.fold_statements("postgresql").values()
    # One message for all statements, because a round trip takes longer than reading a small table.
    connection.run("\n".join([*sources, sql["read only temporary tables"], *folds]))
    _read_live_tables(connection)


def compare(connection: Connection) -> list[Difference]:
    """Return the live tables that differ from the temporary tables that `fold` filled."""
    columns = dict(database.run(connection, _COMPARISON, "columns"))
    # All statements are sent in one round trip; each returns one row.
    statements = [_comparison(table, columns[table]) for table in definitions.TABLES]
    rows = connection.run("\n".join([*statements, *map(_comparison_by_shard, _TABLES_BY_SHARD)]))
    each = [Difference(*row) for row in rows or []]
    of_tables, of_shards = each[: len(statements)], each[len(statements) :]
    # The sums of a shard are compared with live rows, which are right if no table differs.
    return [*filter(_differs, of_tables)] or [*filter(_differs, of_shards)]


def _differs(compared: Difference) -> bool:
    return compared.missing > 0 or compared.extra > 0


def _comparison(table: str, columns: str) -> str:
    sql = blocks(_COMPARISON)
    live = definitions.live_query(table) or sql["live"]
    default = "compared batch" if table in definitions.BATCH else "compared"
    compared = sql.get(f"compared {table}", sql[default])
    texts = {"table": table, "compared": compared}
    folded = fill(_COMPARISON, "folded", **texts)
    return fill(_COMPARISON, "compare", folded=folded, live=live, columns=columns, **texts)


def _comparison_by_shard(table: str) -> str:
    sql = blocks(_COMPARISON)
    texts = {"table": table, "compared": sql["compared"], "columns": "*"}
    return fill(_COMPARISON, "compare", folded=sql[f"of {table}"], live=f"TABLE {table}", **texts)


def _read_live_tables(connection: Connection) -> None:
    database.run(connection, _COMPARISON, "read live tables", schema=schema.schema_name())


@contextlib.contextmanager
def open_snapshot(connection: Connection) -> Iterator[None]:
    """Let all statements of a `with` block read one snapshot; then drop their temporary tables."""
    database.run(connection, _COMPARISON, "begin")
    try:
        yield
    finally:
        with contextlib.suppress(*database.ERRORS):  # the connection may be broken
            database.run(connection, _COMPARISON, "end")
