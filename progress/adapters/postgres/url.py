"""Where the database is, read; and which errors pass by themselves: for pg8000 and asyncpg."""

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from progress.errors import SettingsError, Unavailable
from progress.settings import Settings

log = logging.getLogger(__name__)

_EXPECTED = "expected postgresql://user:password@host:port/database, each part quoted as in a URL"

# What the server says when it is going away, or when a wait was cut short: worth another try.
_PASSING = ("08", "40", "53", "55P03", "57", "25P03")

_INSTANCE = re.compile(r"([^:]+:){2,3}[^:]+")  # a project's name may have a domain before it


@dataclass(frozen=True)
class Address:
    """Where a database is. `host` that begins with `/` is the folder of a Unix socket."""

    user: str
    password: str | None
    host: str
    port: int
    database: str
    sslmode: str

    def __repr__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.database}"


def address(url: str) -> Address:
    """`postgresql://user:password@host:port/database?host=/dir&sslmode=require`, read.

    Other parameters are dropped with a warning. SettingsError where the URL is none.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # whose message may hold the password
        raise SettingsError(f"DATABASE_URL: {_EXPECTED}") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise SettingsError(f"DATABASE_URL: {_EXPECTED}")
    query = dict(parse_qsl(parts.query))
    for unknown in query.keys() - {"host", "port", "user", "password", "sslmode"}:
        log.warning("DATABASE_URL: the parameter %s is not used", unknown)
    try:
        port = int(query.get("port") or parts.port or 5432)
    except ValueError:
        raise SettingsError(f"DATABASE_URL: the port is no number; {_EXPECTED}") from None
    return Address(
        user=query.get("user") or unquote(parts.username or "postgres"),
        password=query.get("password") or unquote(parts.password or "") or None,
        host=query.get("host") or unquote(parts.hostname or "127.0.0.1"),
        port=port,
        database=unquote(parts.path.lstrip("/")) or "postgres",
        sslmode=query.get("sslmode", "prefer"),
    )


def is_passing_state(state: str) -> bool:
    """Whether another try may succeed, by the five characters that PostgreSQL names an error by."""
    return state.startswith(_PASSING)


def instance(where: Settings) -> str:
    """Cloud SQL's instance; SettingsError where that, its database or its login is not told."""
    name = where.instance_connection_name or ""
    if not _INSTANCE.fullmatch(name):
        raise SettingsError(f"INSTANCE_CONNECTION_NAME: expected PROJECT:REGION:NAME; found {name}")
    for setting, value in (("DB_NAME", where.db_name), ("DB_IAM_USER", where.db_iam_user)):
        if not value:
            raise SettingsError(f"{setting} is missing: INSTANCE_CONNECTION_NAME needs it")
    return name


@contextlib.contextmanager
def by_connector(instance: str) -> Iterator[None]:
    """Cloud SQL's connector asks Google first: Unavailable where that refuses or is away."""
    try:
        yield
    except _faults_of_google() as fault:
        raise Unavailable(f"no connection to {instance}: {fault}") from fault


def _faults_of_google() -> tuple[type[Exception], ...]:
    import aiohttp  # the connector has imported both
    import google.auth.exceptions

    return aiohttp.ClientError, google.auth.exceptions.GoogleAuthError
