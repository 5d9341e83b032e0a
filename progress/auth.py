"""Authentication: the caller and role of a bearer token, verified with its issuer's keys."""

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

from progress.errors import BadInput, Forbidden, IssuerUnavailable, SettingsError, Unauthenticated
from progress.event_store import callers
from progress.settings import Settings

log = logging.getLogger(__name__)

Role = Literal["learner", "teacher", "support", "admin", "publisher"]

POSTS_ONLY = "a publisher may only post events"

MAX_GROUPS = 50  # in a teacher's token

# The parts of a learner's record, and the roles that may read those of others.
Part = Literal["data", "audit trail", "list of readers"]
_READERS: dict[Part, tuple[Role, ...]] = {
    "data": ("teacher", "support", "admin"),
    "audit trail": ("support", "admin"),
    "list of readers": ("admin",),
}

_ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}
_FIREBASE = "https://securetoken.google.com/"
_FIREBASE_KEYS = (
    "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
)
_GOOGLE = "https://accounts.google.com"
_GOOGLE_KEYS = "https://www.googleapis.com/oauth2/v3/certs"
# The audience of `gcloud auth print-identity-token`, which signs in anybody with a Google account.
GCLOUD = "32555940559.apps.googleusercontent.com"
_DEVELOPMENT_DOMAINS = ("localhost", "invalid", "test", "example", "local")

_KEYS_TTL_S = 3_600.0  # of fetched keys; also the maximum TTL of cached callers

# The least pause after a fetch that did not return the requested key, and after a failed refresh.
_REFETCH_INTERVAL_S = 60.0
_RETRY_INTERVAL_S = 5.0  # minimum pause between two fetches while no key is known
_FETCH_TIMEOUT_S = 5.0
_LEEWAY_S = 5.0  # The issuer's clock may be ahead by this much.
_MAX_EXPIRY = 1e12  # Seconds since 1970; a greater integer may not fit into a float.
_MAX_JWKS_BYTES = 1 << 20
_MAX_TOKENS = 10_000  # in the cache


class Issuer(msgspec.Struct, frozen=True):
    """The trusted issuer of tokens: its name, the audience, and the URL of its keys."""

    name: str
    audience: str
    jwks_url: str

    @property
    def is_public(self) -> bool:
        """Whether anybody can get a token, so that no claim of it may give a role."""
        return self.audience == GCLOUD


class Caller(msgspec.Struct, frozen=True):
    """An authenticated user, their role and, for a teacher, the groups in their token."""

    user_id: str
    role: Role
    expires_at: float = math.inf  # when the token expires, in seconds since 1970
    groups: tuple[str, ...] = ()

    def authorize(self, user_id: str | None, part: Part = "data") -> str:
        """Return the requested learner, by default the caller.

        Raise Forbidden if the role does not permit the request, even if the learner does not exist,
        and BadInput if `user_id` cannot be an id. A teacher also needs a group of which the learner
        is a member: see `needs_membership`.
        """
        if self.role == "publisher":
            raise Forbidden(POSTS_ONLY)
        learner = parse_id("userId", user_id) if isinstance(user_id, str) else self.user_id
        if self.is_learner(learner) or self.role in _READERS[part]:
            return learner
        raise Forbidden(f"a {self.role} may read their own {part} only")

    def is_learner(self, learner: str) -> bool:
        """Return whether the caller is this learner, who alone sees own lists and own words."""
        return self.user_id == learner

    def needs_membership(self, learner: str) -> bool:
        """Return whether the learner must be a member of one of the caller's groups."""
        return self.role == "teacher" and not self.is_learner(learner)

    def check_group(self, group_id: str) -> None:
        """Raise Forbidden if the caller may not read this group, even if no such group exists."""
        self.check_teacher()
        if self.role == "teacher" and group_id not in self.groups:
            raise Forbidden("a teacher may read their own groups only")

    def check_teacher(self) -> None:
        if self.role in ("learner", "publisher"):
            raise Forbidden("teachers, support and administrators only")


def load_issuer(settings: Settings) -> Issuer:
    """Return the issuer from the settings; by default, Firebase for the project `auth_audience`.

    For the audience of gcloud, the default is Google. Raise SettingsError if a setting is missing,
    or if a deployed function would trust a development issuer or the tokens of gcloud.
    """
    audience = settings.auth_audience
    if not audience:
        raise SettingsError("AUTH_AUDIENCE is missing: set it to the audience of the tokens")
    name = settings.auth_issuer or (_GOOGLE if audience == GCLOUD else _FIREBASE + audience)
    known = {_GOOGLE: _GOOGLE_KEYS, _FIREBASE + audience: _FIREBASE_KEYS}
    keys = settings.auth_jwks_url or known.get(name, "")
    if urlsplit(keys).scheme not in ("https", "http"):
        raise SettingsError("AUTH_JWKS_URL: expected an address that begins with https://")
    issuer = Issuer(name=name, audience=audience, jwks_url=keys)
    if settings.environment != "development":
        if issuer.is_public:
            why = f"AUTH_AUDIENCE: {audience} is for development, because its tokens are gcloud's"
            raise SettingsError(f"{why}: set the audience of your app in a deployed function")
        sign_in = settings.auth_sign_in_url or keys
        urls = {"AUTH_ISSUER": name, "AUTH_JWKS_URL": keys, "AUTH_SIGN_IN_URL": sign_in}
        for setting, value in urls.items():
            if _is_development(value):
                why = f"{setting}: {value} is for development"
                raise SettingsError(f"{why}: set a public https:// URL in a deployed function")
    return issuer


def _is_development(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or host.rpartition(".")[2] in _DEVELOPMENT_DOMAINS:
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def is_id(text: str, most: int = 200) -> bool:
    """Return whether the text can be a learner's or an item's id: 1 to 200 storable characters."""
    return 1 <= len(text) <= most and is_text(text)


def parse_id(name: str, text: str, most: int = 200) -> str:
    """Return the text; raise BadInput, naming the argument, if it cannot be an id."""
    if not is_id(text, most):
        raise BadInput(f"{name}: expected 1 to {most} characters, none of them U+0000")
    return text


def is_text(text: str) -> bool:
    """Return whether PostgreSQL can store the text, which must have no NUL and no surrogate."""
    return not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text)


class Keys:
    """An issuer's public keys by id, fetched on demand, with a minimum pause between fetches."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = self._tried_at = self._missed_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def get(self, key_id: str) -> jwt.PyJWK | None:
        """Return the key with this id, or None; raise IssuerUnavailable if no keys were fetched."""
        if key_id not in self._keys or self._should_refresh():
            async with self._fetching:
                if self._should_fetch(key_id):
                    await self._fetch()
                    if key_id not in self._keys:
                        self._missed_at = self._clock()
        if not self._keys:
            raise IssuerUnavailable("the keys of the token issuer cannot be fetched")
        return self._keys.get(key_id)

    def _should_refresh(self) -> bool:
        now = self._clock()
        return now - self._fetched_at > _KEYS_TTL_S and now - self._tried_at > _REFETCH_INTERVAL_S

    def _should_fetch(self, key_id: str) -> bool:
        now = self._clock()
        if not self._keys:
            return now - self._tried_at > _RETRY_INTERVAL_S
        return self._should_refresh() or (
            key_id not in self._keys and now - self._missed_at > _REFETCH_INTERVAL_S
        )

    async def _fetch(self) -> None:
        self._tried_at = self._clock()
        try:
            async with asyncio.timeout(_FETCH_TIMEOUT_S):
                keys = await asyncio.to_thread(_fetch_keys, self._url)
        except (OSError, ValueError, RecursionError, msgspec.DecodeError) as error:
            log.warning("the keys at %s cannot be fetched: %s", self._url, error)
            self._tried_at = self._clock()  # so that requests waiting for the lock do not fetch too
            return
        if keys:
            self._keys, self._fetched_at = keys, self._clock()


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


def _fetch_keys(url: str) -> dict[str, jwt.PyJWK]:
    keys = {}
    for key in msgspec.json.decode(_download(url), type=_KeySet).keys:
        algorithm = _ALGORITHMS.get(str(key.get("kty")))
        signs = key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm
        if algorithm and signs and isinstance(key.get("kid"), str):
            try:
                keys[key["kid"]] = jwt.PyJWK(key, algorithm)
            except jwt.PyJWTError as error:
                log.warning("the key %s at %s is not used: %s", key["kid"], url, error)
    return keys


def _download(url: str) -> bytes:
    from http.client import HTTPException  # imported late: the two imports take 15 ms
    from urllib.request import HTTPRedirectHandler, build_opener

    class NoRedirects(HTTPRedirectHandler):
        """A handler that rejects redirects, because they might lead into the internal network."""

        def redirect_request(self, *_: object) -> None:
            return None

    deadline, text = time.monotonic() + _FETCH_TIMEOUT_S, b""
    try:
        with build_opener(NoRedirects).open(url, timeout=_FETCH_TIMEOUT_S) as response:
            while part := response.read1(1 << 16):
                text += part
                if len(text) > _MAX_JWKS_BYTES or time.monotonic() > deadline:
                    raise ValueError("expected at most 1 MiB within 5 seconds")
    except HTTPException as error:
        raise ValueError(f"expected an HTTP response: {error!r}") from None
    return text


class Authenticator:
    """A verifier of bearer tokens. It caches callers by the hash of their Authorization header."""

    def __init__(self, trusted: Issuer, keys: Keys | None = None) -> None:
        self._trusted = trusted
        self._keys = keys or Keys(trusted.jwks_url)
        self._cached: dict[bytes, tuple[Caller, float, float]] = {}  # from when until when

    def find_cached(self, authorization: str) -> Caller | None:
        """Return the caller of a header that was verified before and has not expired."""
        cached = self._cached.get(_digest(authorization))
        return cached[0] if cached is not None and cached[1] <= time.time() < cached[2] else None

    async def authenticate(self, authorization: str | None) -> Caller:
        """Return the caller that the Authorization header identifies, or raise Unauthenticated."""
        if not authorization:
            raise Unauthenticated("a token is missing: expected Authorization: Bearer …")
        return self.find_cached(authorization) or await self._authenticate_anew(authorization)

    async def _authenticate_anew(self, authorization: str) -> Caller:
        digest, now = _digest(authorization), time.time()
        self._cached.pop(digest, None)
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token.isascii():
            raise Unauthenticated("expected Authorization: Bearer and a token")
        caller = await self._verify(token)
        self._remember(digest, caller, now)
        return caller

    def _remember(self, digest: bytes, caller: Caller, now: float) -> None:
        if len(self._cached) >= _MAX_TOKENS:
            del self._cached[next(iter(self._cached))]
        self._cached[digest] = caller, now, min(caller.expires_at, now + _KEYS_TTL_S)

    async def _verify(self, token: str) -> Caller:
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in _ALGORITHMS.values():
                raise Unauthenticated("bad token: expected one signed by RS256 or ES256")
            key = await self._keys.get(str(header.get("kid")))
            if key is None:
                raise Unauthenticated("bad token: its key is not among the issuer's keys")
            claims = jwt.decode(
                token,
                key,
                algorithms=[*_ALGORITHMS.values()],
                audience=self._trusted.audience,
                issuer=self._trusted.name,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "sub"]},
            )
        except (jwt.PyJWTError, RecursionError) as error:
            words = (text for kind, text in _FAULTS.items() if isinstance(error, kind))
            why = next(words, "expected a JSON Web Token")
            raise Unauthenticated(f"bad token: {why}") from None
        if self._trusted.is_public:  # the other claims tell who the person is
            claims = {name: claims[name] for name in ("sub", "exp")}
        return _caller(claims)


def _digest(authorization: str) -> bytes:
    return hashlib.sha256(authorization.encode()).digest()


# Words of our own, because those of the library may change.
_FAULTS: dict[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.InvalidAudienceError: "it is for another audience",
    jwt.InvalidIssuerError: "it is from another issuer",
    jwt.InvalidIssuedAtError: "its time of issue (iat) is not a number",
    jwt.exceptions.InvalidSubjectError: "expected a sub of 1 to 200 characters",
    jwt.InvalidSignatureError: "its signature is wrong",
    jwt.MissingRequiredClaimError: "expected the claims aud, exp, iss and sub",
}


def _caller(claims: dict[str, Any]) -> Caller:
    user_id, roles, expiry = claims["sub"], claims.get("roles"), claims["exp"]
    # Check the expiry without the leeway, which is only for an issuer's clock that is ahead.
    if not isinstance(expiry, int | float) or expiry <= time.time():
        raise Unauthenticated("bad token: it has expired")
    expires_at = float(min(expiry, _MAX_EXPIRY))
    if not is_id(user_id):
        raise Unauthenticated("bad token: expected a sub of 1 to 200 characters")
    if callers.is_reserved(user_id):
        raise Unauthenticated("bad token: its sub is reserved for callers that are not people")
    if roles in ("publisher", ["publisher"]):
        return Caller(user_id, "publisher", expires_at)
    for role in ("admin", "support", "teacher"):
        if roles == role or (isinstance(roles, list) and role in roles):
            groups = _parse_groups(claims.get("groups")) if role == "teacher" else ()
            return Caller(user_id, role, expires_at, groups)
    return Caller(user_id, "learner", expires_at)


def _parse_groups(groups: Any) -> tuple[str, ...]:
    if groups is None:
        return ()
    if not isinstance(groups, list) or len(groups) > MAX_GROUPS:
        raise Unauthenticated(f"bad token: expected a list of at most {MAX_GROUPS} groups")
    if not all(isinstance(group, str) and is_id(group) for group in groups):
        raise Unauthenticated("bad token: expected group ids of 1 to 200 characters")
    return tuple(groups)
