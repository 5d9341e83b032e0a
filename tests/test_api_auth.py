"""Who may ask: tokens that are good, tokens that are not, and how seldom the keys are asked for."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import issuing
import jwt
import pytest
from issuing import Issuer
from jwt.algorithms import RSAAlgorithm

from progress import auth
from progress.auth import Caller
from progress.errors import Forbidden, Unauthenticated, Unavailable


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing.serving() as made:
        yield made


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(issuer: Issuer, clock: Clock) -> auth.Tokens:
    trusted = auth.Issuer(issuing.NAME, issuing.AUDIENCE, issuer.url)
    return auth.Tokens(trusted, auth.Keys(issuer.url, clock=clock))


def caller(tokens: auth.Tokens, token: str | None) -> Caller:
    """Whose token it is."""
    return asyncio.run(tokens.caller(token and f"Bearer {token}"))


def part(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def test_sub_is_the_caller_and_a_learner_by_default(tokens: auth.Tokens) -> None:
    until = int(time.time()) + 300
    found = caller(tokens, issuing.token("ann", exp=until))
    assert found == Caller("ann", "learner", float(until))


@pytest.mark.parametrize(
    ("roles", "role"),
    [
        ([], "learner"),
        (["learner"], "learner"),
        (["support"], "support"),
        (["learner", "admin", "support"], "admin"),
        ("admin", "admin"),
        (["root"], "learner"),
        ({"admin": True}, "learner"),
        (7, "learner"),
    ],
)
def test_the_highest_role_counts(tokens: auth.Tokens, roles: Any, role: str) -> None:
    assert caller(tokens, issuing.token(roles=roles)).role == role


def test_es256_is_taken(tokens: auth.Tokens, issuer: Issuer) -> None:
    issuer.keys.append(issuing.public(issuing.ec_key(), "curve"))
    signed = jwt.encode(issuing.claims("ann"), issuing.ec_key(), "ES256", {"kid": "curve"})
    assert caller(tokens, signed).user_id == "ann"


def with_algorithm_none() -> str:
    return f"{part({'alg': 'none', 'kid': 'first'})}.{part(issuing.claims())}."


def signed_with_the_public_key() -> str:
    """HS256, with the public key's text as the secret: PyJWT itself refuses to make one."""
    key = issuing.rsa_key("first").public_key()
    secret = json.dumps(RSAAlgorithm.to_jwk(key, as_dict=True)).encode()
    signed = f"{part({'alg': 'HS256', 'kid': 'first'})}.{part(issuing.claims())}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def with_another_keys_signature() -> str:
    return jwt.encode(issuing.claims(), issuing.rsa_key("thief"), "RS256", {"kid": "first"})


def with_other_claims_under_the_signature() -> str:
    header, _, signature = issuing.token("ann").split(".")
    return f"{header}.{part(issuing.claims('bob'))}.{signature}"


BAD: dict[str, Callable[[], str]] = {
    "alg none": with_algorithm_none,
    "HS256 signed with the public key": signed_with_the_public_key,
    "another key": with_another_keys_signature,
    "claims changed": with_other_claims_under_the_signature,
    "PS256": lambda: jwt.encode(
        issuing.claims(), issuing.rsa_key("first"), "PS256", {"kid": "first"}
    ),
    "another audience": lambda: issuing.token(aud="another"),
    "no audience": lambda: issuing.token(aud=None),
    "another issuer": lambda: issuing.token(iss="https://another.test"),
    "no issuer": lambda: issuing.token(iss=None),
    "expired": lambda: issuing.token(exp=int(time.time()) - 1),
    "without end": lambda: issuing.token(exp=None),
    "not yet valid": lambda: issuing.token(nbf=int(time.time()) + 600),
    "issued in the future": lambda: issuing.token(iat=int(time.time()) + 600),
    "nobody's": lambda: issuing.token(sub=None),
    "an empty sub": lambda: issuing.token(""),
    "a sub that is no text": lambda: issuing.token(sub=7),
    "a long sub": lambda: issuing.token("a" * 201),
    "U+0000 in the sub": lambda: issuing.token("a\0b"),
    "half a character in the sub": lambda: issuing.token("\ud800"),
    "an unknown key": lambda: issuing.token(key_id="second"),
    "no key id": lambda: jwt.encode(issuing.claims(), issuing.rsa_key("first"), "RS256"),
    "a number for a key id": lambda: f"{part({'alg': 'RS256', 'kid': 7})}.e30.",
    "nothing": lambda: "x",
    "dots": lambda: "..",
    "no JSON": lambda: f"{part(b'{')}.{part(b'{')}.x",
    "deep": lambda: f"{part(b'[' * 50_000)}.{part({})}.x",
    "no ASCII": lambda: "größe.größe.größe",
    "a spare dot": lambda: issuing.token() + ".",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_is_refused(tokens: auth.Tokens, name: str) -> None:
    with pytest.raises(Unauthenticated):
        caller(tokens, BAD[name]())


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic YTpi", "Bearer ", "bearerx y"])
def test_a_request_without_a_bearer_token_is_refused(
    tokens: auth.Tokens, issuer: Issuer, header: str | None
) -> None:
    with pytest.raises(Unauthenticated):
        asyncio.run(tokens.caller(header))
    assert issuer.asked == 0


def test_a_known_token_is_refused_under_another_scheme(tokens: auth.Tokens) -> None:
    token = issuing.token()
    for _ in range(2):
        assert asyncio.run(tokens.caller(f"Bearer {token}")).user_id
        assert asyncio.run(tokens.caller(f"bearer  {token} ")).user_id
        with pytest.raises(Unauthenticated):
            asyncio.run(tokens.caller(f"Basic {token}"))


def test_the_keys_are_asked_for_once(tokens: auth.Tokens, issuer: Issuer) -> None:
    for n in range(20):
        caller(tokens, issuing.token(f"learner {n}"))
    assert issuer.asked == 1


def test_an_unknown_key_asks_once_a_minute(
    tokens: auth.Tokens, issuer: Issuer, clock: Clock
) -> None:
    caller(tokens, issuing.token())
    for asked in (2, 3):
        for n in range(1_000):
            with pytest.raises(Unauthenticated):
                caller(tokens, f"{part({'alg': 'RS256', 'kid': f'unknown {n}'})}.{part({})}.AAAA")
        assert issuer.asked == asked
        clock.now += 61


def test_unknown_keys_asked_at_once_ask_once(tokens: auth.Tokens, issuer: Issuer) -> None:
    async def all_at_once() -> None:
        unknown = [f"Bearer {issuing.token(key_id='second', n=n)}" for n in range(50)]
        found = await asyncio.gather(*map(tokens.caller, unknown), return_exceptions=True)
        assert all(isinstance(each, Unauthenticated) for each in found)

    asyncio.run(all_at_once())
    assert issuer.asked == 1


def test_a_new_key_is_found_and_a_withdrawn_one_goes(
    tokens: auth.Tokens, issuer: Issuer, clock: Clock
) -> None:
    caller(tokens, issuing.token())
    issuer.keys = [issuing.public(issuing.rsa_key("second"), "second")]
    assert caller(tokens, issuing.token("bob", key_id="second")).user_id == "bob"
    clock.now += 3_601
    with pytest.raises(Unauthenticated):
        caller(tokens, issuing.token("eve"))


def test_an_issuer_that_is_away_is_no_fault_of_the_token(
    tokens: auth.Tokens, issuer: Issuer, clock: Clock
) -> None:
    issuer.fails = True
    for _ in range(10):
        with pytest.raises(Unavailable):
            caller(tokens, issuing.token())
    assert issuer.asked == 1
    issuer.fails = False
    clock.now += 6
    assert caller(tokens, issuing.token()).user_id == "ann"
    issuer.fails = True
    clock.now += 3_601
    assert caller(tokens, issuing.token("bob")).user_id == "bob"


def test_keys_that_are_none_of_ours_are_passed_over(tokens: auth.Tokens, issuer: Issuer) -> None:
    first = issuer.keys[0]
    issuer.keys = [
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "broken", "n": "x"},
        {"kty": "EC", "kid": "curve", "crv": "P-999", "x": "AA", "y": "AA"},
        {**first, "kid": "for encryption", "use": "enc"},
        {**first, "kid": "of another algorithm", "alg": "RS512"},
        {**first, "kid": None},
        first,
    ]
    assert caller(tokens, issuing.token()).user_id == "ann"
    for key_id in ("secret", "broken", "curve", "for encryption", "of another algorithm"):
        token = jwt.encode(issuing.claims(), issuing.rsa_key("first"), "RS256", {"kid": key_id})
        with pytest.raises(Unauthenticated):
            caller(tokens, token)


def test_a_remembered_token_ends_when_it_says(tokens: auth.Tokens) -> None:
    for life in (1, 5, 25):  # seconds; on a busy machine the first question may take that long
        token = issuing.token(exp=time.time() + life)
        with contextlib.suppress(Unauthenticated):
            caller(tokens, token)
            break

    def ask_until(end: float) -> None:
        while time.time() < end:
            caller(tokens, token)

    with pytest.raises(Unauthenticated):
        ask_until(time.time() + 2 * life)


def test_only_a_role_opens_anothers_data() -> None:
    assert Caller("ann", "learner").learner(None) == "ann"
    assert Caller("ann", "learner").learner("ann") == "ann"
    assert Caller("eve", "support").learner("ann") == "ann"
    assert Caller("eve", "admin").learner("ann") == "ann"
    with pytest.raises(Forbidden):
        Caller("ann", "learner").learner("bob")
