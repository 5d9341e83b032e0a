"""Shard locks: list and end the sessions that hold them. A fold holds its shard's advisory lock."""

import contextlib
from urllib.parse import urlsplit

import msgspec

from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection, Failure
from progress.adapters.postgres.url import parse_url
from progress.errors import ProjectionError
from progress.projections import schema

_FILE = "recovery/shard_locks"
_DENIED = "42501"
_END_TIMEOUT_MS = 10_000


class ShardLock(msgspec.Struct, frozen=True):
    """A shard and the session that holds its lock; `pid` is None if no session holds it."""

    shard: int
    position: int
    events_behind: int
    pid: int | None
    login: str | None
    application: str | None
    state: str | None
    seconds: float  # the time since the session's transaction began
    waits_for: list[int]


def list_shards(connection: Connection) -> list[ShardLock]:
    schema.set_search_path(connection)
    return [ShardLock(*row) for row in database.run(connection, _FILE, "list")]


def release(connection: Connection, shard: int) -> list[str]:
    """End the session that holds the shard's lock; return the names of the ended sessions.

    If the holder waits for other sessions, end the sessions that block it instead. The window of an
    ended session is rolled back, and the next worker folds it. Raise ProjectionError if no session
    holds the shard, or if the database denies the request.
    """
    schema.set_search_path(connection)
    holders = database.run(connection, _FILE, "holder", shard=shard)
    if not holders:
        raise ProjectionError(f"nobody holds shard {shard}: run `progress batch` to fold it")
    ended = []
    blocking = database.run(connection, _FILE, "blocking sessions", pid=holders[0][0])
    for pid, login, application in blocking:
        _end_session(connection, pid)
        ended.append(f"session {pid} ({login}, {application})")
    return ended


def end_all(url: str) -> int:
    """Let nobody open a session of the database any more, and end those that are open.

    The owner calls it through the server's database `postgres`, also if it has been called before.
    Return how many sessions were ended; raise ProjectionError as `release` does.
    """
    name = parse_url(url).database
    server = urlsplit(url)._replace(path="/postgres").geturl()
    with contextlib.closing(database.connect(server)) as connection:
        connection.run(statements.fill(_FILE, "refuse sessions", name=schema.quote(name)))
        sessions = database.run(connection, _FILE, "sessions of a database", name=name)
        for (pid,) in sessions:
            _end_session(connection, pid)
    return len(sessions)


def _end_session(connection: Connection, pid: int) -> None:
    def translate(failure: Failure) -> ProjectionError | None:
        if failure.sqlstate != _DENIED:
            return None
        return ProjectionError(
            f"the database does not permit ending session {pid}: grant pg_signal_backend to the "
            "owner, or restart the client that opened the session"
        )

    with database.translate_errors(translate):
        values = {"pid": pid, "milliseconds": _END_TIMEOUT_MS}
        (row,) = database.run(connection, _FILE, "end session", **values)
    if row != [True]:
        raise ProjectionError(
            f"session {pid} has not ended yet: run `progress shards list` to see whether it still "
            "holds the shard, or restart the client that opened the session"
        )
