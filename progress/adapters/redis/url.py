"""`REDIS_URL`, read."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from progress.adapters.redis.resp import Command
from progress.errors import SettingsError


@dataclass(frozen=True)
class Address:
    """Where a Redis is; `path` is a Unix socket."""

    host: str
    port: int
    path: str | None
    tls: ssl.SSLContext | None = field(repr=False, compare=False)
    greeting: tuple[Command, ...] = field(repr=False)  # it may hold a password


def address(url: str) -> Address:
    """`redis://user:password@host:port/db`, `rediss://` or `unix:///path?db=1`, read.

    `rediss://…?ssl_ca_data=…&ssl_check_hostname=false`, as redis-py has them: the certificates of
    the only authorities to trust, and whether what one signed must name the host. SettingsError
    where the URL is none.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # whose message may hold the password
        raise SettingsError(
            "REDIS_URL: the port is no number, or a password is not quoted as in a URL"
        ) from None
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    is_unix = parts.scheme == "unix"
    user = unquote(parts.username or "") or query.get("username", "")
    password = unquote(parts.password or "") or query.get("password", "")
    number = query.get("db") or ("" if is_unix else parts.path.strip("/"))
    greeting: list[Command] = []
    if password:
        greeting.append(("AUTH", user, password) if user else ("AUTH", password))
    if number and number != "0":
        greeting.append(("SELECT", number))
    return Address(
        host=parts.hostname or "127.0.0.1",
        port=port or 6379,
        path=unquote(parts.path) if is_unix else None,
        tls=_tls(query) if parts.scheme == "rediss" else None,
        greeting=(*greeting, ("PING",)),
    )


def _tls(query: Mapping[str, str]) -> ssl.SSLContext:
    checked = {"true": True, "false": False}.get(query.get("ssl_check_hostname", "true").lower())
    if checked is None:
        raise SettingsError("REDIS_URL: ssl_check_hostname: expected true or false")
    if not checked and "ssl_ca_data" not in query:
        # Else whoever has any certificate could be our Redis.
        raise SettingsError("REDIS_URL: ssl_check_hostname=false needs an authority, ssl_ca_data")
    try:
        context = ssl.create_default_context(cadata=query.get("ssl_ca_data"))
    except (ssl.SSLError, TypeError):
        raise SettingsError("REDIS_URL: ssl_ca_data: expected certificates in PEM") from None
    context.check_hostname = checked
    return context
