"""The roles of the functions, their logins and privileges, and what they own.

`sql/adapters/roles.sql` says what they are. They are compared at each `migrate`, because a restored
database has the state that its restorer gave it, a new server has no roles, and a new version of
PostgreSQL has other rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from progress.adapters import retries
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import DatabaseUnavailable, ProgressError

_FILE = "adapters/roles"
_GRANTS = (
    "GRANT EXECUTE ON ROUTINE event_store.",
    "GRANT EXECUTE ON ROUTINE operations.",
)


@dataclass(frozen=True)
class Login:
    """A login and its group; a login without a password must already exist."""

    group: str
    name: str
    password: str | None = field(repr=False)


def apply(connection: Connection, logins: Sequence[Login] = ()) -> None:
    """Change what differs from the file, in one transaction; logins get no passwords.

    Raise ProgressError with the statements that this connection's user may not run, or
    DatabaseUnavailable if other sessions keep tables locked.
    """
    for attempt in range(retries.ATTEMPTS):
        if not find_differences(connection, logins):
            return
        try:
            with database.transaction(connection):
                database.run(connection, _FILE, "apply")
            break
        except database.ERRORS as error:
            if not database.read_failure(error).is_blocked:
                raise
            if attempt == retries.ATTEMPTS - 1:
                raise DatabaseUnavailable(
                    "other sessions use tables whose owners must change: repeat the command later"
                ) from error
            retries.pause(attempt, None)
    if left := find_differences(connection, logins):
        raise ProgressError(
            "this user may not give the functions' roles and logins their rights; let a superuser "
            "run these statements in this database, then repeat the command:\n"
            + "".join(f"{each};\n" for each in left)
        )


def find_differences(connection: Connection, logins: Sequence[Login] = ()) -> list[str]:
    """Return the statements that `apply` would run."""
    rows = [{"name": e.name, "group": e.group, "has_password": bool(e.password)} for e in logins]
    database.run(connection, _FILE, "set logins", logins=msgspec.json.encode(rows).decode())
    return [statement for (statement,) in database.run(connection, _FILE, "differences")]


def close_functions(connection: Connection) -> None:
    """Take new functions from PUBLIC, and give them to those who need them, with the migrations.

    Without this, the former version could not call a function that a migration has created anew
    until `apply` has ended. What else differs, such as a missing role, is left to `apply`.
    """
    statements = find_differences(connection)
    lacks_roles = any(each.startswith("CREATE ROLE ") for each in statements)
    for statement in statements:
        is_grant = statement.startswith(_GRANTS) and not lacks_roles
        if is_grant or statement.endswith(" FROM PUBLIC"):
            connection.run(statement)
