"""Who logs in to the database: `DATABASE_LOGINS`, read and carried out.

The migrations make groups that cannot log in. A function's own login is a member of one of them and
has no other rights. Cloud SQL makes logins of its own, by IAM; elsewhere they are made here.
"""

from dataclasses import dataclass, field
from urllib.parse import unquote

import pg8000.exceptions

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.errors import ProgressError, SettingsError

GROUPS = ("progress_ingest", "progress_project", "progress_batch", "progress_query")

_LONGEST = 63  # bytes of a name
_EXPECTED = "expected group=login or group=login:password, with spaces between them"


@dataclass(frozen=True)
class Login:
    """One who logs in, and as a member of which group; without a password, it is there already."""

    group: str
    name: str
    password: str | None = field(repr=False)


def read(text: str) -> list[Login]:
    """`progress_ingest=name progress_query=name:password`, read; parts quoted as in a URL.

    SettingsError where it says something else; the message repeats no password.
    """
    found = [_read_one(entry, number) for number, entry in enumerate(text.split(), 1)]
    names = [login.name for login in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SettingsError(f"DATABASE_LOGINS: {twice} is there twice: a login has one group")
    return found


def _read_one(entry: str, number: int) -> Login:
    group, _, rest = entry.partition("=")
    name, has_password, password = rest.partition(":")
    if not name or (has_password and not password):
        raise SettingsError(f"DATABASE_LOGINS, the {number}. of them: {_EXPECTED}")
    if group not in GROUPS:
        raise SettingsError(
            f"DATABASE_LOGINS, the {number}. of them: expected a group of {', '.join(GROUPS)}"
        )
    login = Login(group, _plain(name, number), _plain(password, number) or None)
    if len(login.name.encode()) > _LONGEST:  # PostgreSQL would cut it, and two become one
        raise SettingsError(f"DATABASE_LOGINS: {login.name} is longer than {_LONGEST} bytes")
    if login.name in GROUPS or login.name == "progress_erasure":
        raise SettingsError(f"DATABASE_LOGINS: {login.name} is a group, not a login")
    return login


def _plain(quoted: str, number: int) -> str:
    try:
        return unquote(quoted, errors="strict")
    except UnicodeDecodeError:  # which repeats what it could not read
        raise SettingsError(
            f"DATABASE_LOGINS, the {number}. of them: expected UTF-8, quoted as in a URL"
        ) from None


def admit(connection: Connection, logins: list[Login]) -> None:
    """Make those that have a password, or change it, and give each the rights of its group alone.

    ProgressError names the first that the database does not admit; those before it are admitted.
    """
    for login in logins:
        try:
            with database.transaction(connection):
                connection.run(
                    blocks("adapters/logins")["given"],
                    login=login.name,
                    group=login.group,
                    password=login.password or "",
                )
                connection.run(blocks("adapters/logins")["admit"])
        except pg8000.exceptions.DatabaseError as fault:
            raise ProgressError(f"the login {login.name}: {database.message(fault)}") from None
