"""Who holds a shard, and how it is taken away from them: a fold has its shard's advisory lock."""

import msgspec
import pg8000.exceptions

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.errors import ProjectionError
from progress.projections import schema

_DENIED = "42501"


class Held(msgspec.Struct, frozen=True):
    """A shard, and the session that has it; `pid` is None where nobody has."""

    shard: int
    position: int
    events_behind: int
    pid: int | None
    login: str | None
    application: str | None
    state: str | None
    seconds: float  # since its transaction began
    waits_for: list[int]


def look(connection: Connection) -> list[Held]:
    """Every shard of the live read models."""
    schema.set_search_path(connection)
    return [Held(*row) for row in connection.run(blocks("recovery/shard_locks")["list"]) or []]


def release(connection: Connection, shard: int) -> list[str]:
    """End the session that holds the shard or, where it waits, those it waits for; who they were.

    The window that was being folded is rolled back: the next worker folds it. ProjectionError
    where nobody holds the shard, and where the database refuses.
    """
    held = next(each for each in look(connection) if each.shard == shard)
    if held.pid is None:
        raise ProjectionError(f"nobody holds shard {shard}: `progress batch` folds what waits")
    ended = []
    for pid, login, application in connection.run(
        blocks("recovery/shard_locks")["at the bottom"], pid=held.pid
    ):
        _end(connection, pid)
        ended.append(f"session {pid} ({login}, {application})")
    return ended


def _end(connection: Connection, pid: int) -> None:
    try:
        connection.run(blocks("recovery/shard_locks")["end"], pid=pid)
    except pg8000.exceptions.DatabaseError as fault:
        if database.sqlstate(fault) != _DENIED:
            raise
        raise ProjectionError(
            f"session {pid} may not be ended: grant the owner pg_signal_backend, or start anew "
            "what it belongs to"
        ) from fault
