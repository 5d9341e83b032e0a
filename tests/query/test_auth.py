"""Authentication: settings of the issuer, valid and invalid tokens, what a caller may read."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import operator
import time
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import jwt
import pytest
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from progress.errors import Forbidden, SettingsError, Unauthenticated
from progress.operations import records
from progress.query import auth
from progress.query.auth import Caller
from progress.settings import Settings
from tests.support import token_issuer
from tests.support.token_issuer import Issuer


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with token_issuer.serve() as made:
        yield made


class Clock:
    """A clock that advances only when the test sets it."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authenticator(issuer: Issuer, clock: Clock) -> auth.Authenticator:
    trusted = auth.Issuer(token_issuer.NAME, token_issuer.AUDIENCE, issuer.url)
    return auth.Authenticator(trusted, auth.Keys(issuer.url, clock=clock))


def caller(authenticator: auth.Authenticator, token: str | None) -> Caller:
    """Return the caller that a token authenticates."""
    return asyncio.run(authenticator.authenticate(token and f"Bearer {token}"))


def part(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def test_the_sub_claim_identifies_the_caller_and_the_default_role_is_learner(
    authenticator: auth.Authenticator,
) -> None:
    until = int(time.time()) + 300
    authenticated = caller(authenticator, token_issuer.token("ann", exp=until))
    assert authenticated == Caller("ann", "learner", float(until))


@pytest.mark.parametrize(
    ("roles", "role"),
    [
        ([], "learner"),
        (["learner"], "learner"),
        (["support"], "support"),
        (["teacher", "learner"], "teacher"),
        (["teacher", "support"], "support"),
        (["learner", "admin", "support"], "admin"),
        ("admin", "admin"),
        (["root"], "learner"),
        ({"admin": True}, "learner"),
        (7, "learner"),
    ],
)
def test_a_caller_has_the_highest_of_the_roles_in_the_token(
    authenticator: auth.Authenticator, roles: Any, role: str
) -> None:
    assert caller(authenticator, token_issuer.token(roles=roles)).role == role


def test_only_a_teacher_has_the_groups_of_the_token(authenticator: auth.Authenticator) -> None:
    def groups(role: str, claim: Any) -> tuple[str, ...]:
        return caller(authenticator, token_issuer.token(roles=[role], groups=claim)).groups

    assert groups("teacher", None) == ()
    assert groups("teacher", ["g1", "g2"]) == ("g1", "g2")
    assert len(groups("teacher", [f"g{n}" for n in range(50)])) == 50
    for role in ("learner", "support", "admin"):
        assert groups(role, ["g1"] * 51) == ()
    for bad in (["g1"] * 51, "g1", {"g1": True}, [7], [""], ["x" * 201], ["a\0"]):
        with pytest.raises(Unauthenticated, match="bad token: expected"):
            groups("teacher", bad)


def test_es256_tokens_are_accepted(authenticator: auth.Authenticator, issuer: Issuer) -> None:
    issuer.keys.append(token_issuer.public(token_issuer.ec_key(), "curve"))
    signed = jwt.encode(
        token_issuer.claims("ann"), token_issuer.ec_key(), "ES256", {"kid": "curve"}
    )
    assert caller(authenticator, signed).user_id == "ann"


RESERVED = [records.COMMAND_LINE, records.BATCH_JOB, records.DELETION]


@hypothesis.given(
    sub=st.text()
    | st.sampled_from([*RESERVED, "system:erasure"])
    | st.builds(operator.add, st.sampled_from([*RESERVED, "system:"]), st.text(max_size=3))
    | st.builds(operator.add, st.text(max_size=3), st.sampled_from(RESERVED))
)
def test_no_caller_has_the_name_of_a_caller_that_is_not_a_person(
    authenticator: auth.Authenticator, sub: str
) -> None:
    try:
        user = caller(authenticator, token_issuer.token(sub)).user_id
    except Unauthenticated:
        assert not auth.is_id(sub) or records.is_reserved(sub)
    else:
        assert user == sub
        assert not user.startswith("system:")


def with_algorithm_none() -> str:
    return f"{part({'alg': 'none', 'kid': 'first'})}.{part(token_issuer.claims())}."


def signed_with_the_public_key() -> str:
    """Return an HS256 token whose secret is the public key. PyJWT refuses to sign such a token."""
    key = token_issuer.rsa_key("first").public_key()
    secret = json.dumps(RSAAlgorithm.to_jwk(key, as_dict=True)).encode()
    signed = f"{part({'alg': 'HS256', 'kid': 'first'})}.{part(token_issuer.claims())}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def with_another_keys_signature() -> str:
    return jwt.encode(
        token_issuer.claims(), token_issuer.rsa_key("thief"), "RS256", {"kid": "first"}
    )


def with_other_claims_under_the_signature() -> str:
    header, _, signature = token_issuer.token("ann").split(".")
    return f"{header}.{part(token_issuer.claims('bob'))}.{signature}"


BAD: dict[str, Callable[[], str]] = {
    "alg none": with_algorithm_none,
    "HS256 signed with the public key": signed_with_the_public_key,
    "another key": with_another_keys_signature,
    "claims changed": with_other_claims_under_the_signature,
    "PS256": lambda: jwt.encode(
        token_issuer.claims(), token_issuer.rsa_key("first"), "PS256", {"kid": "first"}
    ),
    "another audience": lambda: token_issuer.token(aud="another"),
    "no audience": lambda: token_issuer.token(aud=None),
    "another issuer": lambda: token_issuer.token(iss="https://another.test"),
    "no issuer": lambda: token_issuer.token(iss=None),
    "expired": lambda: token_issuer.token(exp=int(time.time()) - 1),
    "no exp": lambda: token_issuer.token(exp=None),
    "not yet valid": lambda: token_issuer.token(nbf=int(time.time()) + 600),
    "issued in the future": lambda: token_issuer.token(iat=int(time.time()) + 600),
    "no sub": lambda: token_issuer.token(sub=None),
    "an empty sub": lambda: token_issuer.token(""),
    "a sub that is not text": lambda: token_issuer.token(sub=7),
    "a long sub": lambda: token_issuer.token("a" * 201),
    "U+0000 in the sub": lambda: token_issuer.token("a\0b"),
    "the sub of the command line": lambda: token_issuer.token("system:command line"),
    "a lone surrogate in the sub": lambda: token_issuer.token("\ud800"),
    "an unknown key": lambda: token_issuer.token(key_id="second"),
    "no key id": lambda: jwt.encode(token_issuer.claims(), token_issuer.rsa_key("first"), "RS256"),
    "a number for a key id": lambda: f"{part({'alg': 'RS256', 'kid': 7})}.e30.",
    "nothing": lambda: "x",
    "dots": lambda: "..",
    "no JSON": lambda: f"{part(b'{')}.{part(b'{')}.x",
    "deep": lambda: f"{part(b'[' * 50_000)}.{part({})}.x",
    "non-ASCII text": lambda: "größe.größe.größe",
    "a spare dot": lambda: token_issuer.token() + ".",
}


@pytest.mark.parametrize("name", BAD)
def test_an_invalid_token_is_rejected(authenticator: auth.Authenticator, name: str) -> None:
    with pytest.raises(Unauthenticated):
        caller(authenticator, BAD[name]())


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic YTpi", "Bearer ", "bearerx y"])
def test_a_request_without_a_bearer_token_is_rejected(
    authenticator: auth.Authenticator, issuer: Issuer, header: str | None
) -> None:
    with pytest.raises(Unauthenticated):
        asyncio.run(authenticator.authenticate(header))
    assert issuer.requests == 0


def test_a_cached_token_is_rejected_if_the_scheme_is_not_bearer(
    authenticator: auth.Authenticator,
) -> None:
    token = token_issuer.token()
    for _ in range(2):
        assert asyncio.run(authenticator.authenticate(f"Bearer {token}")).user_id
        assert asyncio.run(authenticator.authenticate(f"bearer  {token} ")).user_id
        with pytest.raises(Unauthenticated):
            asyncio.run(authenticator.authenticate(f"Basic {token}"))


def test_a_cached_token_expires_at_the_time_in_its_exp_claim(
    authenticator: auth.Authenticator,
) -> None:
    # Lifetimes in seconds. On a busy machine, a token may expire during its first use.
    for life in (1, 5, 25):
        token = token_issuer.token(exp=time.time() + life)
        with contextlib.suppress(Unauthenticated):
            caller(authenticator, token)
            break

    def ask_until(end: float) -> None:
        while time.time() < end:
            caller(authenticator, token)

    with pytest.raises(Unauthenticated):
        ask_until(time.time() + 2 * life)


def test_support_and_administrators_may_read_any_learner_and_teachers_only_their_groups() -> None:
    assert Caller("ann", "learner").authorize(None) == "ann"
    assert Caller("ann", "learner").authorize("ann") == "ann"
    assert Caller("eve", "support").authorize("ann") == "ann"
    assert Caller("eve", "admin").authorize("ann") == "ann"
    assert not Caller("eve", "support").needs_membership("ann")
    assert Caller("eve", "teacher").needs_membership("ann")
    assert not Caller("eve", "teacher").needs_membership("eve")
    with pytest.raises(Forbidden):
        Caller("ann", "learner").authorize("bob")


REAL: dict[str, Any] = {"auth_issuer": "https://login.company.com", "auth_audience": "progress"}
KEYS = "https://login.company.com/jwks"


@pytest.mark.parametrize("environment", ["staging", "production"])
@pytest.mark.parametrize(
    "changed",
    [
        {"auth_issuer": "https://development.progress.invalid"},
        {"auth_issuer": "http://login.company.com"},
        {"auth_issuer": "https://localhost:8080"},
        {"auth_issuer": "https://127.0.0.1"},
        {"auth_jwks_url": "http://login.company.com/jwks"},
        {"auth_jwks_url": "https://10.0.0.7/jwks"},
        {"auth_jwks_url": "https://[::1]/jwks"},
        {"auth_sign_in_url": "http://login.company.com/sign-in"},
        {"auth_sign_in_url": "https://localhost/sign-in"},
    ],
)
def test_a_deployed_function_does_not_start_with_a_development_issuer(
    environment: Any, changed: dict[str, str]
) -> None:
    options: dict[str, Any] = {**REAL, "auth_jwks_url": KEYS, **changed}
    with pytest.raises(SettingsError, match=next(iter(changed)).upper()):
        auth.load_issuer(Settings(environment=environment, **options))


def test_firebase_is_the_default_issuer_and_other_issuers_need_a_jwks_url() -> None:
    firebase = auth.load_issuer(Settings(auth_audience="our-project"))
    assert firebase.name == "https://securetoken.google.com/our-project"
    assert firebase.jwks_url.startswith("https://www.googleapis.com/")
    other = auth.load_issuer(Settings(auth_jwks_url=KEYS, **REAL))
    assert (other.name, other.jwks_url) == (REAL["auth_issuer"], KEYS)
    nothing: dict[str, Any] = {}
    for options in (nothing, REAL, {**REAL, "auth_jwks_url": "file:///keys"}):
        with pytest.raises(SettingsError):
            auth.load_issuer(Settings(**options))
