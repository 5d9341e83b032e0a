"""Checks after the load: each event is stored once, and every table equals a definition."""

import contextlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from bench.local_stack import LocalStack
from bench.soak.commands import Commands
from bench.soak.events import BROKEN, Load
from bench.soak.queries import NO_RESPONSE, OK, Queries
from bench.statements import blocks
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import DatabaseUnavailable
from progress.local import readiness
from progress.projections import batch, schema
from progress.recovery import checks

OTHER = "progress_0123456789ab"  # the read models of another revision, which workers fold, too
_DRAIN_TIMEOUT_S = 900.0
# The expected outcomes. During an outage, a response is a 503, or it contains only some of the
# fields and the error UNAVAILABLE.
_OUTAGES = (OK, "503", "UNAVAILABLE")


def add_schema(url: str) -> None:
    with contextlib.closing(connect(url)) as connection:
        schema.create(connection, OTHER)


def drain(url: str) -> None:
    """Wait until all messages are delivered, all events folded and all operations ended.

    Then run the batch job.
    """

    def is_drained() -> bool:
        try:
            with contextlib.closing(connect(url)) as connection:
                sql = blocks("soak/soak")
                left = [connection.run(sql[name])[0][0] for name in ("behind", "unfinished")]
                return not any([*left, connection.run(sql["counts"])[0][1]])
        except (DatabaseUnavailable, *database.ERRORS):
            return False

    readiness.wait(is_drained, "the drain", seconds=_DRAIN_TIMEOUT_S)
    with contextlib.closing(connect(url)) as connection:
        while batch.run(connection).learners is None:
            pass  # another run of the batch job holds the lock


def connect(url: str) -> Connection:
    """Connect as the database's owner, with the live read models in the search path."""
    connection = database.connect(url, name="soak")
    schema.set_search_path(connection)
    return connection


def find_defects(
    local: LocalStack, load: Load, commands: Commands, queries: Queries
) -> Iterator[str]:
    url = local.addresses["database_url"]
    yield from _check_queries(queries)
    yield from _find_in_logs(local.folder.logs, commands)
    with contextlib.closing(connect(url)) as connection:
        for finding in checks.run(connection, with_rows=True).findings:
            yield f"progress check: {finding.found}"
        schema.set_search_path(connection)
        yield from _compare_schemas(connection)
        yield from _compare_log(connection, load, commands)
        yield from _check_dead_letters(connection, load)
        yield from _check_operations(connection)
        yield from _find_erased(connection, commands)


def _check_queries(queries: Queries) -> Iterator[str]:
    """Yield a line for each unexpected outcome; only the killed instance may give no response."""
    for (instance, outcome), count in queries.outcomes.items():
        is_expected = outcome in _OUTAGES or (
            outcome.startswith(NO_RESPONSE) and instance != "steady"
        )
        if not is_expected:
            yield f"{count} queries to the {instance} instance ended with {outcome}"


def _compare_schemas(connection: Connection) -> Iterator[str]:
    """Yield a line for each table that differs, and for milestones that are not told once."""
    for (statement,) in connection.run(blocks("soak/soak")["comparisons"], other=OTHER):
        table, rows = connection.run(statement)[0]
        if rows:
            yield f"{rows} rows of {table} differ between the schemas"
    counts = connection.run(blocks("soak/soak")["untold"])[0]
    for count, what in zip(counts, ("have no mark", "are not told", "are told twice"), strict=True):
        if count:
            yield f"{count} milestones {what}"


def _compare_log(connection: Connection, load: Load, commands: Commands) -> Iterator[str]:
    stored = [row[0].bytes for row in connection.run(blocks("soak/soak")["event ids"])]
    gone = set().union(*(load.source.leavers.get(name, ()) for name in commands.erased))
    if load.failed:
        yield f"{load.failed} messages were not published"
    if len(stored) != len(set(stored)):
        yield f"{len(stored) - len(set(stored))} events are stored twice"
    if missing := load.acknowledged - gone - set(stored):
        yield f"{len(missing)} acknowledged events are missing"
    if kept := gone & set(stored):
        yield f"{len(kept)} events of erased learners are stored"
    if pending := connection.run(blocks("soak/soak")["pending"])[0][0]:
        yield f"{pending} events wait for the start of their session"


def _check_dead_letters(connection: Connection, load: Load) -> Iterator[str]:
    """Check all dead letters; a message that was published twice may have two dead letters."""
    letters = connection.run(blocks("soak/soak")["dead letters"])
    if unexpected := [payload for payload, _ in letters if payload and BROKEN not in payload]:
        yield f"{len(unexpected)} unexpected dead letters, for example {unexpected[0][:200]}"
    kept = {digest for _, digest in letters}
    if missing := {text for text in load.broken if sha256(text.encode()).hexdigest() not in kept}:
        yield f"{len(missing)} rejected messages did not become dead letters"


def _check_operations(connection: Connection) -> Iterator[str]:
    for kind, state, count, error in connection.run(blocks("soak/soak")["operations"]):
        if state != "SUCCEEDED":
            yield f"{count} operations {kind} are {state}: {error}"


def _find_erased(connection: Connection, commands: Commands) -> Iterator[str]:
    for learner in commands.erased:
        for (statement,) in connection.run(blocks("soak/soak")["texts"]):
            if rows := connection.run(statement, needle=learner)[0][0]:
                yield f"{rows} rows still name {learner}: {statement}"


def _find_in_logs(folder: Path, commands: Commands) -> Iterator[str]:
    names = [name.encode() for name in commands.erased]
    for file in folder.iterdir():
        with file.open("rb") as lines:
            if found := sum(any(name in line for name in names) for line in lines):
                yield f"{found} lines of {file.name} name an erased learner"
