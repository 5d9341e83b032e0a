"""Start processes that end with their parent, identify them later, and end them."""

import contextlib
import ctypes
import functools
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec
import psutil

# gRPC handles a fork by starting threads in the child. They crash the child when Popen closes their
# files before the child runs its command. gRPC reads this variable when it is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Process(msgspec.Struct, frozen=True):
    """A process on this machine; a later process with the same pid has another start time."""

    pid: int
    started: float  # psutil's create_time()


def start(
    command: Sequence[str | Path],
    *,
    output: IO[bytes] | int,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    account: str | None = None,
    at_parent_death: signal.Signals | None = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a process in its own session, as the system user `account` if given.

    On Linux, the process receives the signal `at_parent_death` when the calling thread ends or is
    killed. If `at_parent_death` is None, the process outlives its parent.
    """
    on_start = None
    if at_parent_death:
        on_start = functools.partial(die_with_parent, at_parent_death, os.getpid())
    return subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=folder,
        user=account,
        group=account and pwd.getpwnam(account).pw_gid,
        extra_groups=[] if account else None,
        start_new_session=True,
        # preexec_fn is safe, because the calling processes have only one thread.
        preexec_fn=on_start,  # noqa: PLW1509
    )


def die_with_parent(with_signal: signal.Signals, parent: int) -> None:
    """Get the signal when the parent ends, and now if it has ended.

    Until it runs its command, a child has the handlers of its parent, which would lose the signal.
    """
    if _LIBC is not None:
        signal.signal(with_signal, signal.SIG_DFL)
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(with_signal))
        if os.getppid() != parent:
            os.kill(os.getpid(), with_signal)


def end(process: subprocess.Popen[bytes], *, by: signal.Signals, seconds: float) -> None:
    if process.poll() is None:
        process.send_signal(by)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def identify(pid: int) -> Process:
    with contextlib.suppress(psutil.NoSuchProcess):
        return Process(pid, psutil.Process(pid).create_time())
    return Process(pid, 0.0)


def is_alive(process: Process) -> bool:
    """Return whether this process runs; another process with the same pid does not count."""
    try:
        current = psutil.Process(process.pid)
        is_same: bool = current.create_time() == process.started
        return is_same and current.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(process: Process) -> list[int]:
    """Return the pids of this process and its descendants; [] if the process has ended."""
    if not is_alive(process):
        return []
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
        return [process.pid, *(child.pid for child in children)]
    return []


def kill_group(process: Process) -> None:
    """Kill the process group that this process leads, even if the process itself is already dead.

    The system does not reuse a pid while a process group has the same number. If another process
    has the pid, the group has therefore ended.
    """
    if is_alive(process) or not psutil.pid_exists(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def kill_sessions(folder: Path) -> None:
    """Kill the sessions that a killed PostgreSQL left behind, so that a new one can start.

    Most sessions end by themselves, but a session never ends if it waits for a lock of a dead
    session.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name() == "postgres" and Path(process.cwd()) == folder.resolve():
                process.kill()


def end_all(targets: list[Process], *, seconds: float) -> None:
    """Ask the processes to end; after at most `seconds`, kill their process groups."""
    alive = [psutil.Process(process.pid) for process in targets if is_alive(process)]
    for running in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            # On SIGTERM, PostgreSQL would wait until all sessions have ended.
            running.send_signal(signal.SIGINT if running.name() == "postgres" else signal.SIGTERM)
    psutil.wait_procs(alive, timeout=seconds)
    for process in targets:
        kill_group(process)
