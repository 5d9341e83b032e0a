"""The address of Redis: `REDIS_URL`."""

import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from progress.errors import SettingsError

log = logging.getLogger(__name__)

_OF_TLS = {"ssl_ca_data", "ssl_check_hostname"}


@dataclass(frozen=True)
class Address:
    """The address of a Redis server; `path` is the path of a Unix socket."""

    host: str
    port: int
    path: str | None
    database: int
    user: str | None
    password: str | None = field(repr=False)
    tls: ssl.SSLContext | None = field(repr=False, compare=False)


def parse_url(url: str) -> Address:
    """Parse `redis://user:password@host:port/db`, `rediss://…` or `unix:///path?db=1`.

    `rediss://` accepts two parameters of redis-py: `ssl_ca_data` (CA certificates that replace the
    system's) and `ssl_check_hostname`. Unknown parameters are ignored with a warning. Raise
    SettingsError if the URL is invalid.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # the error's own message may contain the password
        raise SettingsError(
            "REDIS_URL: the port is not a number, or the password is not quoted as in a URL"
        ) from None
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    known = {"db", "username", "password", *(_OF_TLS if parts.scheme == "rediss" else ())}
    for unknown in query.keys() - known:
        hint = ": SSL_CERT_FILE names the authorities" if unknown == "ssl_ca_certs" else ""
        log.warning("REDIS_URL: the parameter %s is ignored%s", unknown, hint)
    is_unix = parts.scheme == "unix"
    password = unquote(parts.password or "") or query.get("password")
    return Address(
        host=parts.hostname or "127.0.0.1",
        port=port or 6379,
        path=unquote(parts.path) if is_unix else None,
        database=_database(query.get("db") or ("" if is_unix else parts.path.strip("/"))),
        user=unquote(parts.username or "") or query.get("username"),
        password=password,
        tls=_tls(query) if parts.scheme == "rediss" else None,
    )


def _database(text: str) -> int:
    if not text:
        return 0
    if not text.isdecimal():  # the text may be a part of the password
        raise SettingsError(
            "REDIS_URL: the database is not a number, or the password is not quoted as in a URL"
        )
    return int(text)


def _tls(query: Mapping[str, str]) -> ssl.SSLContext:
    checks_hostname = {"true": True, "false": False}.get(
        query.get("ssl_check_hostname", "true").lower()
    )
    if checks_hostname is None:
        raise SettingsError("REDIS_URL: ssl_check_hostname: expected true or false")
    if not checks_hostname and "ssl_ca_data" not in query:
        # Otherwise the owner of any certificate could impersonate the Redis server.
        raise SettingsError(
            "REDIS_URL: ssl_check_hostname=false needs CA certificates in ssl_ca_data"
        )
    try:
        context = ssl.create_default_context(cadata=query.get("ssl_ca_data"))
    except (ssl.SSLError, TypeError):
        raise SettingsError("REDIS_URL: ssl_ca_data: expected certificates in PEM") from None
    context.check_hostname = checks_hostname
    return context
