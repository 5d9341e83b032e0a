"""Database logins: those that `DATABASE_LOGINS` lists, and those of `progress serve`.

The migrations create groups that cannot log in. Each function's login belongs to one group and has
only this group's privileges. Cloud SQL creates logins from IAM; on other servers, this module
creates them.
"""

import hashlib
import secrets
from collections.abc import Sequence
from urllib.parse import unquote

from progress.adapters.postgres import database, roles
from progress.adapters.postgres.database import Connection, Failure
from progress.adapters.postgres.roles import Login
from progress.errors import ProgressError, SettingsError

GROUPS = (
    *("progress_ingest", "progress_project", "progress_batch", "progress_query"),
    *("progress_load", "progress_analyst", "progress_backup"),
)

_OF_SYSTEM = ("ingest", "project", "query", "batch")
_FILE = "adapters/logins"
_MAX_BYTES = 63  # PostgreSQL's limit for the length of a name
_MOST_NAMED = 40  # bytes of a database's name in the names of its logins
_EXPECTED = "expected group=login or group=login:password, with spaces between entries"


def parse(text: str) -> list[Login]:
    """Parse `progress_ingest=name progress_query=name:password`.

    Names and passwords are percent-encoded, as in a URL. Raise SettingsError if an entry is invalid
    or if two entries have the same name. The message of the error does not contain a password.
    """
    logins = [_parse_entry(entry, number) for number, entry in enumerate(text.split(), 1)]
    names = [login.name for login in logins]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SettingsError(
            f"DATABASE_LOGINS: {twice} is listed twice, but a login has only one group"
        )
    return logins


def _parse_entry(entry: str, number: int) -> Login:
    group, _, rest = entry.partition("=")
    name, has_password, password = rest.partition(":")
    if not name or (has_password and not password):
        raise SettingsError(f"DATABASE_LOGINS, entry {number}: {_EXPECTED}")
    if group not in GROUPS:
        raise SettingsError(
            f"DATABASE_LOGINS, entry {number}: expected one of the groups {', '.join(GROUPS)}"
        )
    login = Login(group, _unquote(name, number), _unquote(password, number) or None)
    if (
        len(login.name.encode()) > _MAX_BYTES
    ):  # PostgreSQL would truncate the name, which could make two names equal
        raise SettingsError(f"DATABASE_LOGINS: {login.name} is longer than {_MAX_BYTES} bytes")
    if login.name in GROUPS or login.name == "progress_erasure":
        raise SettingsError(f"DATABASE_LOGINS: {login.name} is a group, not a login")
    return login


def _unquote(quoted: str, number: int) -> str:
    try:
        return unquote(quoted, errors="strict")
    except UnicodeDecodeError:  # the error's own message may contain the password
        raise SettingsError(
            f"DATABASE_LOGINS, entry {number}: expected UTF-8, quoted as in a URL"
        ) from None


def name_after(group: str, database_name: str) -> str:
    """Return the name of a system's login, which no other database of the server has.

    A long name of a database is cut; its digest makes the login longer than any that is not cut.
    """
    raw = database_name.encode()
    if len(raw) > _MOST_NAMED:
        cut = raw[:20].decode(errors="ignore")
        database_name = f"{cut}_{hashlib.sha256(raw).hexdigest()[: _MOST_NAMED - 15]}"
    return f"{group}_{database_name}"


def of_system(database_name: str, *, dumps: bool) -> list[Login]:
    """Return the logins of `progress serve` in this database, with new passwords."""
    groups = [f"progress_{part}" for part in (*_OF_SYSTEM, *(("backup",) if dumps else ()))]
    return [Login(each, name_after(each, database_name), secrets.token_hex()) for each in groups]


def restrict(connection: Connection) -> bool:
    """Let only who has rights in this database connect to it; return whether others still may.

    Drop the logins of the transport of version 0.4, unless something uses them.
    """
    if database.run(connection, _FILE, "is public")[0][0]:
        with database.transaction(connection):
            database.run(connection, _FILE, "restrict")
    database.run(connection, _FILE, "drop former")
    return bool(database.run(connection, _FILE, "is public")[0][0])


def apply(connection: Connection, logins: Sequence[Login]) -> None:
    """Make each login a member of its group and of no other group.

    A login with a password is created if it does not exist; an existing login gets this password. A
    login without a password must exist already. If the database rejects a login, raise a
    ProgressError that names the login. Earlier logins in the list keep their changes.
    """
    for login in logins:
        _apply_one(connection, login)
    roles.apply(connection, logins)


def _apply_one(connection: Connection, login: Login) -> None:
    def translate(failure: Failure) -> ProgressError | None:
        if not failure.is_refusal:
            return None
        return ProgressError(f"the login {login.name}: {failure.message}")

    with database.translate_errors(translate), database.transaction(connection):
        database.run(
            connection,
            _FILE,
            "set parameters",
            login=login.name,
            group=login.group,
            password=login.password or "",
        )
        database.run(connection, _FILE, "apply")
