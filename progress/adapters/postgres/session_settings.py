"""The settings of each session, and the refusal of a pooler that does not keep sessions.

Progress keeps settings, temporary tables and advisory locks in its sessions. A pooler in
transaction mode may run each transaction in another session, where these are missing.

The server tells its process id when a connection opens. If the session has this id, the connection
is direct. A pooler tells an id of its own, as do some proxies that keep sessions. In this case, a
second connection takes a session in a transaction: a pooler in transaction mode gives it the first
connection's session, or gives the first connection another one.
"""

import json
from uuid import uuid4

from progress.adapters.postgres import statements
from progress.errors import DatabaseUnavailable, SettingsError

ROUNDS = 2  # a pooler that gives out the least recently used of two sessions shows in the second
# If the second connection has no session after this time, each session may belong to a connection.
WAIT_S = 2.0

_FILE = "adapters/sessions"

_kept: set[str] = set()  # the addresses of poolers and proxies that keep sessions


def configure(pid: int, settings: dict[str, str]) -> str:
    """Return the text that configures a session; it returns a last row if its process is `pid`."""
    text = json.dumps(settings)
    if "'" in text or "\\" in text:
        raise ValueError(f"expected settings without quotes and backslashes - found {text}")
    return statements.fill(_FILE, "configure", settings=text, pid=str(pid))


class MarkTexts:
    """The texts of one test: `begin` and `find` return a row if the session has the mark."""

    def __init__(self) -> None:
        mark, begin, find, end = "set mark", "begin and find mark", "find mark", "end"
        token = uuid4().hex
        self.mark, self.begin, self.find, self.end = (
            statements.fill(_FILE, block, token=token) for block in (mark, begin, find, end)
        )


def is_known(address: str) -> bool:
    """Return whether a test has found that sessions are kept at this address."""
    return address in _kept


def record(address: str, *, keeps: bool) -> None:
    """Remember that sessions are kept at this address; if not, raise DatabaseUnavailable."""
    if keeps:
        _kept.add(address)
        return
    raise DatabaseUnavailable(
        f"no connection to {address}: a pooler there gives each transaction another session, but "
        "Progress keeps locks and settings in its sessions. In DATABASE_URL, name the direct "
        "endpoint of the database (Neon: without -pooler), or set the pooler to session mode"
    ) from SettingsError("DATABASE_URL names a pooler in transaction mode")
