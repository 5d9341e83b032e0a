"""Processes that end with the one that started them, and how to know them again."""

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

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Process(msgspec.Struct, frozen=True):
    """A process on this machine: its number alone may be another's by now."""

    pid: int
    started: float  # as the system counts it


def start(
    command: Sequence[str | Path],
    *,
    output: IO[bytes] | int,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    account: str | None = None,
    at_parent_death: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """A process in a session of its own; where `account` is given, it runs as that system user.

    On Linux it is sent `at_parent_death` when the thread that started it ends, however hard.
    """
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
        # Safe here: the starting processes have one thread.
        preexec_fn=functools.partial(_die_with_parent, at_parent_death),  # noqa: PLW1509
    )


def _die_with_parent(with_signal: signal.Signals) -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(with_signal))


def end(process: subprocess.Popen[bytes], *, by: signal.Signals, seconds: float) -> None:
    """Ask the process to end; kill it where it has not within `seconds`."""
    if process.poll() is None:
        process.send_signal(by)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def known(pid: int) -> Process:
    """The process that has this number now."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return Process(pid, psutil.Process(pid).create_time())
    return Process(pid, 0.0)


def is_alive(process: Process) -> bool:
    """Whether this very process runs."""
    try:
        there = psutil.Process(process.pid)
        alive: bool = there.create_time() == process.started
        return alive and there.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(process: Process) -> list[int]:
    """The numbers of this process and of all that it started; empty where it runs no more."""
    if not is_alive(process):
        return []
    with contextlib.suppress(psutil.NoSuchProcess):
        return [
            process.pid,
            *(child.pid for child in psutil.Process(process.pid).children(recursive=True)),
        ]
    return []


def kill_group(process: Process) -> None:
    """Kill what is left of the session that this process began, though it is dead itself.

    A number is not given anew as long as a group bears it: where another process has
    the number, the group is gone.
    """
    if is_alive(process) or not psutil.pid_exists(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def kill_within(folder: Path, name: str) -> None:
    """Kill every process of that name that works in this folder."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name() == name and Path(process.cwd()) == folder:
                process.kill()


def end_all(several: list[Process], *, seconds: float) -> None:
    """End these processes and their groups: asked first, killed after `seconds`."""
    alive = [psutil.Process(process.pid) for process in several if is_alive(process)]
    for each in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            # PostgreSQL takes SIGTERM for "when all have left".
            each.send_signal(signal.SIGINT if each.name() == "postgres" else signal.SIGTERM)
    psutil.wait_procs(alive, timeout=seconds)
    for process in several:
        kill_group(process)
