"""One-time codes: an address signs one learner in once, and no token is printed.

A code is a file, named by the code's hash: whoever removes it has used the code.
"""

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
    """Make a code that signs in as `user`, and remove the expired ones."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for each in folder.iterdir():
        if time.time() - each.stat().st_mtime > LIFETIME_S:
            each.unlink(missing_ok=True)
    code = secrets.token_urlsafe(24)
    kept = _Code(user, roles, time.time() + LIFETIME_S)
    file = _file(folder, code)
    file.touch(mode=0o600)
    file.write_bytes(msgspec.json.encode(kept))
    return code


def redeem(folder: Path, code: str) -> tuple[str, list[str]] | None:
    """Use a code up: the user and the roles that it signs in, or None if it is not good."""
    file = _file(folder, code)
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=_Code)
        file.unlink()  # of two who read it, one removes it
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return (kept.user, kept.roles) if time.time() < kept.expires_at else None


def _file(folder: Path, code: str) -> Path:
    return folder / hashlib.sha256(code.encode()).hexdigest()
