"""Who asks: a bearer token, checked against its issuer's keys, tells the caller and their role."""

import asyncio
import hashlib
import ipaddress
import logging
import math
import time
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import urlsplit

import jwt
import msgspec

from progress.errors import Forbidden, SettingsError, Unauthenticated, Unavailable
from progress.settings import Settings

log = logging.getLogger(__name__)

Role = Literal["learner", "support", "admin"]

_ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}
_FIREBASE = "https://securetoken.google.com/"
_FIREBASE_KEYS = (
    "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
)
_NO_REAL_HOST = ("localhost", "invalid", "test", "example", "local")

_KEYS_LIVE = 3_600.0  # seconds until the keys are asked for again, so that a withdrawn one goes
_ASK_AGAIN = 60.0  # seconds between two questions about a key that is not there
_TRY_AGAIN = 5.0  # seconds between two tries while there is no key at all
_PATIENCE = 5.0  # seconds that the keys may take
_LEEWAY = 5.0  # seconds that the issuer's clock may be ahead of ours
_FAR = 1e12  # seconds since 1970: beyond any token's end
_LARGEST = 1 << 20  # bytes that the keys may have
_REMEMBERED = 10_000


class Issuer(msgspec.Struct, frozen=True):
    """Who signs the tokens, for whom, and where the keys are."""

    name: str
    audience: str
    jwks_url: str


class Caller(msgspec.Struct, frozen=True):
    """The learner whose token it is, and what it gives the right to."""

    user_id: str
    role: Role
    until: float = math.inf  # when the token expires, in seconds since 1970

    def learner(self, asked: str | None) -> str:
        """The learner to answer about, the caller if none is named; Forbidden for another's data.

        Whether the other one exists plays no part in it.
        """
        if asked is None or asked == self.user_id or self.role != "learner":
            return self.user_id if asked is None else asked
        raise Forbidden("a learner may read their own data only")


def issuer(settings: Settings) -> Issuer:
    """The issuer that the settings name, else Firebase Authentication of the audience's project.

    SettingsError if one is missing, or if a deployed function is to trust a development issuer.
    """
    if not settings.auth_audience:
        raise SettingsError("AUTH_AUDIENCE is missing: whom are the tokens made for?")
    name = settings.auth_issuer or _FIREBASE + settings.auth_audience
    keys = settings.auth_jwks_url or (_FIREBASE_KEYS if name.startswith(_FIREBASE) else "")
    if urlsplit(keys).scheme not in ("https", "http"):
        raise SettingsError("AUTH_JWKS_URL: expected an address that begins with https://")
    if settings.environment != "development":
        sign_in = settings.auth_sign_in_url or keys
        found = {"AUTH_ISSUER": name, "AUTH_JWKS_URL": keys, "AUTH_SIGN_IN_URL": sign_in}
        for setting, value in found.items():
            if _is_development(value):
                raise SettingsError(f"{setting}: {value} is for development, and this is deployed")
    return Issuer(name=name, audience=settings.auth_audience, jwks_url=keys)


def _is_development(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or host.rpartition(".")[2] in _NO_REAL_HOST:
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def is_id(text: str) -> bool:
    """Whether it can be the id of a learner or an item: 1 to 200 characters that text can hold."""
    return 1 <= len(text) <= 200 and is_text(text)


def is_text(text: str) -> bool:
    """Whether the database can hold it."""
    return not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text)


class Keys:
    """An issuer's public keys by id, asked for when needed and no more often than that."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = self._tried_at = self._missed_at = float("-inf")
        self._asking = asyncio.Lock()

    async def get(self, key_id: str) -> jwt.PyJWK | None:
        """The key, or None; Unavailable where the issuer never told any key."""
        if key_id not in self._keys or self._aged():
            async with self._asking:
                if self._wanted(key_id):
                    await self._ask()
                    if key_id not in self._keys:
                        self._missed_at = self._clock()
        if not self._keys:
            raise Unavailable("the issuer of the tokens does not tell its keys")
        return self._keys.get(key_id)

    def _aged(self) -> bool:
        """Whether to ask again; not while somebody does: the old keys are good meanwhile."""
        now = self._clock()
        return now - self._fetched_at > _KEYS_LIVE and now - self._tried_at > _ASK_AGAIN

    def _wanted(self, key_id: str) -> bool:
        now = self._clock()
        if not self._keys:
            return now - self._tried_at > _TRY_AGAIN
        return self._aged() or (key_id not in self._keys and now - self._missed_at > _ASK_AGAIN)

    async def _ask(self) -> None:
        self._tried_at = self._clock()
        try:
            async with asyncio.timeout(_PATIENCE):
                found = await asyncio.to_thread(_fetched, self._url)
        except (OSError, ValueError, RecursionError, msgspec.DecodeError) as fault:
            log.warning("the keys at %s cannot be had: %s", self._url, fault)
            self._tried_at = self._clock()  # who waited meanwhile does not wait as long again
            return
        if found:
            self._keys, self._fetched_at = found, self._clock()


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


def _fetched(url: str) -> dict[str, jwt.PyJWK]:
    keys = {}
    for key in msgspec.json.decode(_told(url), type=_KeySet).keys:
        algorithm = _ALGORITHMS.get(str(key.get("kty")))
        signs = key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm
        if algorithm and signs and isinstance(key.get("kid"), str):
            try:
                keys[key["kid"]] = jwt.PyJWK(key, algorithm)
            except jwt.PyJWTError as fault:
                log.warning("the key %s at %s is not used: %s", key["kid"], url, fault)
    return keys


def _told(url: str) -> bytes:
    from http.client import HTTPException  # 15 ms with the next one, once in an hour
    from urllib.request import HTTPRedirectHandler, build_opener

    class Refused(HTTPRedirectHandler):
        """What an issuer tells lies at the address that the operator gave, and nowhere inside."""

        def redirect_request(self, *_: object) -> None:
            return None

    end, text = time.monotonic() + _PATIENCE, b""
    try:
        with build_opener(Refused).open(url, timeout=_PATIENCE) as answer:
            while part := answer.read1(1 << 16):
                text += part
                if len(text) > _LARGEST or time.monotonic() > end:
                    raise ValueError("expected them sooner, or fewer of them")
    except HTTPException as fault:
        raise ValueError(f"expected an answer in HTTP: {fault!r}") from None
    return text


class Tokens:
    """Tells callers by their tokens; a header with a good one is remembered by its hash."""

    def __init__(self, trusted: Issuer, keys: Keys | None = None) -> None:
        self._trusted = trusted
        self._keys = keys or Keys(trusted.jwks_url)
        self._known: dict[bytes, tuple[Caller, float]] = {}

    async def caller(self, authorization: str | None) -> Caller:
        """Whose token the header holds; Unauthenticated without a good one."""
        if not authorization:
            raise Unauthenticated("a token is missing: expected Authorization: Bearer …")
        digest = hashlib.sha256(authorization.encode()).digest()
        known = self._known.get(digest)
        now = time.time()
        if known is not None and now < known[1]:
            return known[0]
        self._known.pop(digest, None)
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token.isascii():
            raise Unauthenticated("expected Authorization: Bearer and a token")
        caller = await self._checked(token)
        self._remember(digest, caller, now)
        return caller

    def _remember(self, digest: bytes, caller: Caller, now: float) -> None:
        """Until the token ends, but no longer than the key that signed it is trusted unasked."""
        if len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[digest] = caller, min(caller.until, now + _KEYS_LIVE)

    async def _checked(self, token: str) -> Caller:
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in _ALGORITHMS.values():
                raise Unauthenticated("bad token: expected one signed by RS256 or ES256")
            key = await self._keys.get(str(header.get("kid")))
            if key is None:
                raise Unauthenticated("bad token: its key is not one of the issuer's")
            claims = jwt.decode(
                token,
                key,
                algorithms=[*_ALGORITHMS.values()],
                audience=self._trusted.audience,
                issuer=self._trusted.name,
                leeway=_LEEWAY,
                options={"require": ["exp", "sub"]},
            )
        except (jwt.PyJWTError, RecursionError) as fault:
            why = str(fault).encode(errors="replace").decode()  # it may tell half a character
            raise Unauthenticated(f"bad token: {why}") from None
        return _caller(claims)


def _caller(claims: dict[str, Any]) -> Caller:
    user_id, roles, end = claims["sub"], claims.get("roles"), claims["exp"]
    # A clock that is ahead is let pass, a token that has ended is not.
    if not isinstance(end, int | float) or end <= time.time():
        raise Unauthenticated("bad token: it has expired")
    until = float(min(end, _FAR))
    if not is_id(user_id):
        raise Unauthenticated("bad token: expected a sub of 1 to 200 characters")
    for role in ("admin", "support"):
        if roles == role or (isinstance(roles, list) and role in roles):
            return Caller(user_id, role, until)
    return Caller(user_id, "learner", until)
