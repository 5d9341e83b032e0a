"""Processes that end with the one that started them."""

import ctypes
import functools
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


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
        group=account and _group(account),
        extra_groups=[] if account else None,
        start_new_session=True,
        preexec_fn=functools.partial(_die_with_parent, at_parent_death),
    )


def _group(account: str) -> int:
    import pwd  # not on Windows

    return pwd.getpwnam(account).pw_gid


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
