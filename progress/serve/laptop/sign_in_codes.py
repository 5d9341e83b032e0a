"""One-time sign-in codes. A URL with a code, such as the demo's, signs one user in once.

Each code has a file, which is named after the hash of the code. `redeem` removes the file, so that
the code works only once.
"""

import contextlib
import hashlib
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

LIFETIME_S = 600


class _Code(msgspec.Struct, frozen=True):
    user: str
    roles: list[str]
    expires_at: float
    groups: list[str] = []


def issue(
    folder: Path, user: str, roles: list[str], groups: Sequence[str] = (), *, challenge: str = ""
) -> str:
    """Return a new code that signs `user` in; `groups` are the groups that a teacher may read.

    With a `challenge`, `redeem` expects it after the code. Also remove expired codes.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process may have redeemed the code
            if time.time() - file.stat().st_mtime > LIFETIME_S:
                file.unlink()
    code = secrets.token_urlsafe(24)
    file = _file(folder, code + challenge)
    file.touch(mode=0o600)
    stored = _Code(user, roles, time.time() + LIFETIME_S, list(groups))
    file.write_bytes(msgspec.json.encode(stored))
    return code


def redeem(folder: Path, code: str) -> tuple[str, list[str], list[str]] | None:
    """Use a code up; return its user, roles and groups, or None for an unknown or expired code."""
    file = _file(folder, code)
    try:
        stored = msgspec.json.decode(file.read_bytes(), type=_Code)
        file.unlink()  # if two callers read the file, only one of them can remove it
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    if time.time() >= stored.expires_at:
        return None
    return stored.user, stored.roles, stored.groups


def _file(folder: Path, code: str) -> Path:
    return folder / hashlib.sha256(code.encode()).hexdigest()
