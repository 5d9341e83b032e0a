"""One-time sign-in codes: the URL that the demo prints signs one learner in once.

Each code has a file, which is named after the hash of the code. Removing the file uses the code up.
"""

import contextlib
import hashlib
import secrets
import time
from pathlib import Path

import msgspec

LIFETIME_S = 600


class _Code(msgspec.Struct, frozen=True):
    user: str
    roles: list[str]
    expires_at: float


def issue(folder: Path, user: str, roles: list[str]) -> str:
    """Return a new code that signs in as `user`, and remove the expired codes."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for file in folder.iterdir():
        _remove_if_expired(file)
    code = secrets.token_urlsafe(24)
    file = _file(folder, code)
    file.touch(mode=0o600)
    file.write_bytes(msgspec.json.encode(_Code(user, roles, time.time() + LIFETIME_S)))
    return code


def redeem(folder: Path, code: str) -> tuple[str, list[str]] | None:
    """Use a code up; return its user and roles, or None if it is unknown, used or expired."""
    file = _file(folder, code)
    try:
        stored = msgspec.json.decode(file.read_bytes(), type=_Code)
        file.unlink()  # if two callers read the file, only one of them can remove it
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return (stored.user, stored.roles) if time.time() < stored.expires_at else None


def _remove_if_expired(file: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # another process may have redeemed the code
        if time.time() - file.stat().st_mtime > LIFETIME_S:
            file.unlink()


def _file(folder: Path, code: str) -> Path:
    return folder / hashlib.sha256(code.encode()).hexdigest()
