"""Classify the errors of both database drivers as transient or permanent.

pg8000's errors are translated in `database.translate_errors`, and asyncpg's errors in
`async_client.Database.run`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from progress.errors import DatabaseUnavailable

# These SQLSTATEs speak of the session and not of the statement's data: the session is ended, is
# read-only since a failover, or its prepared statements are not those that the client knows.
_OF_SESSION = ("08", "25006", "26000", "42P05", "57P", "0A000")
# SQLSTATE prefixes: lost connections, rollbacks, exhausted resources, shutdowns and timeouts.
_TRANSIENT = ("40", "53", "55P03", "57", "25P03", *_OF_SESSION)
_BLOCKED = ("55P03", "40P01")  # a lock timeout, and a deadlock


@dataclass(frozen=True)
class Failure:
    """A failed statement or connection; `sqlstate` is empty if the server reported none."""

    error: BaseException
    message: str
    sqlstate: str
    detail: str
    is_transient: bool  # The same call may succeed on another connection.
    is_refusal: bool  # The server responded with an error.
    context: str = ""  # The statements and functions in which it failed, the innermost first.

    @property
    def is_blocked(self) -> bool:
        """Return whether other sessions kept locks that the statement needed."""
        return self.sqlstate in _BLOCKED

    def to_unavailable(self) -> DatabaseUnavailable | None:
        if not self.is_transient:
            return None
        return DatabaseUnavailable(f"the database did not respond: {self.message}")


# If the translation is None, the driver's error is raised.
Translate = Callable[[Failure], Exception | None]


def is_of_session(sqlstate: str) -> bool:
    """Return whether the session must be closed after an error with this SQLSTATE."""
    return sqlstate.startswith(_OF_SESSION)


def is_transient_state(sqlstate: str) -> bool:
    """Return whether a retry may succeed after an error with this SQLSTATE."""
    return sqlstate.startswith(_TRANSIENT)
