"""PgBouncer, a pooler in front of PostgreSQL."""

import functools
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from progress.adapters.postgres.url import parse_url
from progress.serve import processes, readiness, system_account
from tests.support import folders

PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")

_PORT = 5432  # in the name of the socket
_CONFIGURATION = """
[databases]
* = host={host} port={port}
[pgbouncer]
pool_mode = {mode}
default_pool_size = {sessions}
server_round_robin = {round_robin:d}
unix_socket_dir = {folder}
listen_port = {listen_port}
auth_type = trust
auth_file = {folder}/users
"""


def _is_listening(address: str) -> bool:
    """Return whether the socket accepts connections; its file exists a moment earlier."""
    with socket.socket(socket.AF_UNIX) as one:
        return one.connect_ex(address) == 0


@contextmanager
def run(url: str, mode: str, *, sessions: int, round_robin: bool = False) -> Iterator[str]:
    assert PROGRAM
    at, account = parse_url(url), system_account.find()
    with folders.create("pgbouncer") as folder:
        (folder / "users").write_text(f'"{at.user}" ""\n')
        configuration = folder / "pgbouncer.ini"
        values = {"mode": mode, "sessions": sessions, "round_robin": round_robin, "folder": folder}
        configuration.write_text(
            _CONFIGURATION.format(host=at.host, port=at.port, listen_port=_PORT, **values)
        )
        if account:  # PgBouncer refuses to run as root
            shutil.chown(folder, account)
        with (folder / "log").open("wb") as output:
            process = processes.start([PROGRAM, configuration], output=output, account=account)
        try:
            address = str(folder / f".s.PGSQL.{_PORT}")
            readiness.wait(functools.partial(_is_listening, address), "PgBouncer")
            yield f"postgresql://{at.user}@/{at.database}?host={quote(str(folder), safe='/')}"
        finally:
            processes.end(process, by=signal.SIGINT, seconds=5)
