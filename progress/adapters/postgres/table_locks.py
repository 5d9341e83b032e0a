"""Commands that only read wait for a short time for a locked table, then say who blocks whom."""

import contextlib
from collections.abc import Iterator
from typing import Any

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import ProgressError, TableLocked

_FILE = "adapters/table_locks"


@contextlib.contextmanager
def limit_waits(connection: Connection) -> Iterator[None]:
    """Limit the time for which each statement of the block waits for a lock to 5 s.

    After this time, raise a TableLocked that names the sessions that block the statement.
    """
    database.run(connection, _FILE, "limit waits")
    try:
        yield
    except (ProgressError, *database.ERRORS) as error:
        if not any(map(database.is_lock_timeout, filter(None, (error, error.__cause__)))):
            raise
        connection.run("ROLLBACK")
        raise _describe(connection) from error


def _describe(connection: Connection) -> TableLocked:
    sessions = database.fetch(connection, _FILE, "blocking sessions")
    if not sessions:
        return TableLocked("a table was locked for 5 s, and is free again", "repeat the command")
    first = sessions[0]["pid"]
    return TableLocked(
        f"a table is locked by {'; '.join(map(_describe_session, sessions))}",
        f"end session {first} in its program, or with `SELECT pg_terminate_backend({first})`",
        first,
    )


def _describe_session(session: dict[str, Any]) -> str:
    since = "" if session["seconds"] is None else f" for {session['seconds']} s"
    facts = [
        session["locked"] and f"has locked {session['locked']}",
        session["waits_for"] and f"waits for {_list(session['waits_for'])}",
        session["wanted"] and f"wants to lock {session['wanted']}",
        session["blocks"] and f"blocks {_list(session['blocks'])}",
    ]
    who = f"{session['login']}, {session['application']}, {session['state']}{since}"
    return f"session {session['pid']} ({who}) {', '.join(filter(None, facts))}"


def _list(pids: list[int]) -> str:
    return f"{'session' if len(pids) == 1 else 'sessions'} {', '.join(map(str, pids))}"
