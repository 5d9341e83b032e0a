"""Who may post events to ingest, and who may push them."""

import base64
import contextlib
import hmac
import threading
from typing import TYPE_CHECKING, Any

import msgspec
from werkzeug.datastructures import Headers

from progress.errors import Forbidden, SettingsError, Unauthenticated
from progress.settings import Settings

if TYPE_CHECKING:
    from progress.auth import Authenticator

_MACHINE = "the machine"  # the account of commands that post with the system's key


class Senders:
    """Check who may post and push events.

    On Cloud Run, IAM has admitted the request. Elsewhere, it needs a token of the API's issuer with
    the role `publisher` or, from a command on the same machine, the key of `progress serve` or
    `up`. The code that verifies tokens is imported with the first such request, because an instance
    that only gets pushes would start more slowly.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._has_iam = bool(settings.k_service and not settings.auth_audience)
        # Under `progress serve`, ingest takes none, because anybody on its network could push.
        self.takes_pushes = settings.is_local() or not settings.serve_key
        self._key = f"Bearer {settings.serve_key}".encode() if settings.serve_key else b""
        self._authenticator: Authenticator | None = None
        self._lock = threading.Lock()

    def find_poster(self, authorization: str) -> str:
        """Return the sender's account; raise Unauthenticated, Forbidden or IssuerUnavailable."""
        if self._has_iam:
            return _read_claim(authorization, "sub")
        if self._key and hmac.compare_digest(authorization.encode(), self._key):
            return _MACHINE
        import asyncio

        with self._lock:
            authenticator = self._authenticator = self._authenticator or self._load()
        caller = authenticator.find_cached(authorization)
        if caller is None:
            with self._lock:  # each call has an event loop of its own, and they cannot share a lock
                caller = asyncio.run(authenticator.authenticate(authorization))
        if caller.role != "publisher":
            raise Forbidden("expected a token whose only role is publisher")
        return caller.user_id

    def _load(self) -> "Authenticator":
        from progress.auth import Authenticator, load_issuer

        try:
            return Authenticator(load_issuer(self._settings))
        except SettingsError as error:
            raise Unauthenticated(f"no token is accepted here: {error}") from None


def may_be_forged(headers: Headers) -> bool:
    """Return whether Cloud Run may have checked another token than that of `Authorization`.

    If `X-Serverless-Authorization` is there, too, Cloud Run checks that one, and passes on the
    other one unchecked, although this function believes what it says. gunicorn joins two lines of
    `Authorization` by a comma; Cloud Run may have checked either.
    """
    return "X-Serverless-Authorization" in headers or "," in headers.get("Authorization", "")


def _read_claim(authorization: str, name: str) -> str:
    """Return a claim of a token that IAM has verified; "" if there is none."""
    _, _, rest = authorization.partition(".")
    claims = rest.partition(".")[0]
    with contextlib.suppress(ValueError, msgspec.DecodeError):
        content = base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))
        return str(msgspec.json.decode(content, type=dict[str, Any]).get(name, ""))
    return ""
