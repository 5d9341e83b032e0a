"""The address of the database: `DATABASE_URL` or a Cloud SQL instance."""

import contextlib
import logging
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from progress.errors import DatabaseUnavailable, SettingsError
from progress.settings import Settings

log = logging.getLogger(__name__)

_EXPECTED = "expected postgresql://user:password@host:port/database, each part quoted as in a URL"

_INSTANCE = re.compile(r"([^:]+:){2,3}[^:]+")  # a project id may have two parts: domain:name


@dataclass(frozen=True)
class Address:
    """The address of a database; a `host` that begins with `/` is the folder of a Unix socket."""

    user: str
    password: str | None
    host: str
    port: int
    database: str
    sslmode: str

    def __repr__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.database}"


def parse_url(url: str) -> Address:
    """Parse `postgresql://user:password@host:port/database?host=/dir&sslmode=require`.

    The parameters `port`, `user` and `password` are accepted, too; others are ignored with a
    warning. Raise SettingsError if the URL is invalid.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # the error's own message may contain the password
        raise SettingsError(f"DATABASE_URL: {_EXPECTED}") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise SettingsError(f"DATABASE_URL: {_EXPECTED}")
    query = dict(parse_qsl(parts.query))
    for unknown in query.keys() - {"host", "port", "user", "password", "sslmode"}:
        hint = ": SSL_CERT_FILE names the authorities" if unknown == "sslrootcert" else ""
        log.warning("DATABASE_URL: the parameter %s is ignored%s", unknown, hint)
    try:
        port = int(query.get("port") or parts.port or 5432)
    except ValueError:
        raise SettingsError(f"DATABASE_URL: the port is not a number; {_EXPECTED}") from None
    return Address(
        user=query.get("user") or unquote(parts.username or "postgres"),
        password=query.get("password") or unquote(parts.password or "") or None,
        host=query.get("host") or unquote(parts.hostname or "127.0.0.1"),
        port=port,
        database=unquote(parts.path.lstrip("/")) or "postgres",
        sslmode=query.get("sslmode", "prefer"),
    )


def create_tls(sslmode: str) -> ssl.SSLContext:
    """Return a context that requires TLS 1.3.

    Only with `require`, the server's certificate is not verified; otherwise, the system must trust
    the certificate.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if sslmode == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def instance_name(settings: Settings) -> str:
    """Return the Cloud SQL instance name.

    Raise SettingsError if the name is invalid, or if DB_NAME or DB_IAM_USER is not set.
    """
    name = settings.instance_connection_name or ""
    if not _INSTANCE.fullmatch(name):
        raise SettingsError(f"INSTANCE_CONNECTION_NAME: expected PROJECT:REGION:NAME; found {name}")
    for setting, value in (("DB_NAME", settings.db_name), ("DB_IAM_USER", settings.db_iam_user)):
        if not value:
            raise SettingsError(f"{setting} is missing: INSTANCE_CONNECTION_NAME needs it")
    return name


@contextlib.contextmanager
def translate_connector_errors(instance: str) -> Iterator[None]:
    """Raise DatabaseUnavailable if one of the connector's calls to Google's API fails."""
    try:
        yield
    except _connector_errors() as error:
        raise DatabaseUnavailable(f"no connection to {instance}: {error}") from error


def _connector_errors() -> tuple[type[Exception], ...]:
    import aiohttp  # takes no time: the connector has already imported both modules
    import google.auth.exceptions

    return aiohttp.ClientError, google.auth.exceptions.GoogleAuthError
