"""`REDIS_URL`, read."""

from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from progress.errors import SettingsError
from progress.redis.resp import Command


@dataclass(frozen=True)
class Address:
    """Where a Redis is; `path` is a Unix socket."""

    host: str
    port: int
    path: str | None
    is_encrypted: bool
    greeting: tuple[Command, ...] = field(repr=False)  # it may hold a password


def address(url: str) -> Address:
    """`redis://user:password@host:port/db`, `rediss://` or `unix:///path?db=1`, read."""
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    is_unix = parts.scheme == "unix"
    user = unquote(parts.username or query.get("username", ""))
    password = unquote(parts.password or query.get("password", ""))
    number = query.get("db") or ("" if is_unix else parts.path.strip("/"))
    greeting: list[Command] = []
    try:
        port = parts.port
    except ValueError:
        raise SettingsError("REDIS_URL: the port is no number") from None
    if password:
        greeting.append(("AUTH", user, password) if user else ("AUTH", password))
    if number and number != "0":
        greeting.append(("SELECT", number))
    return Address(
        host=parts.hostname or "127.0.0.1",
        port=port or 6379,
        path=unquote(parts.path) if is_unix else None,
        is_encrypted=parts.scheme == "rediss",
        greeting=(*greeting, ("PING",)),
    )
