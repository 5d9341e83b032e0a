"""Fetches of the issuer's keys, and the validity of the fetched keys."""

import asyncio

import jwt
import pytest

from progress.errors import IssuerUnavailable, Unauthenticated
from progress.query import auth
from tests.query.test_auth import Clock, authenticator, caller, clock, issuer, part
from tests.support import token_issuer
from tests.support.token_issuer import Issuer

__all__ = ["authenticator", "clock", "issuer"]


def test_the_keys_are_fetched_once(authenticator: auth.Authenticator, issuer: Issuer) -> None:
    for n in range(20):
        caller(authenticator, token_issuer.token(f"learner {n}"))
    assert issuer.requests == 1


def test_unknown_keys_cause_at_most_one_fetch_per_minute(
    authenticator: auth.Authenticator, issuer: Issuer, clock: Clock
) -> None:
    caller(authenticator, token_issuer.token())
    for requests in (2, 3):
        for n in range(1_000):
            with pytest.raises(Unauthenticated):
                caller(
                    authenticator,
                    f"{part({'alg': 'RS256', 'kid': f'unknown {n}'})}.{part({})}.AAAA",
                )
        assert issuer.requests == requests
        clock.now += 61


def test_concurrent_unknown_keys_cause_one_fetch(
    authenticator: auth.Authenticator, issuer: Issuer
) -> None:
    async def all_at_once() -> None:
        unknown = [f"Bearer {token_issuer.token(key_id='second', n=n)}" for n in range(50)]
        errors = await asyncio.gather(
            *map(authenticator.authenticate, unknown), return_exceptions=True
        )
        assert all(isinstance(error, Unauthenticated) for error in errors)

    asyncio.run(all_at_once())
    assert issuer.requests == 1


def test_new_keys_are_accepted_and_withdrawn_keys_expire(
    authenticator: auth.Authenticator, issuer: Issuer, clock: Clock
) -> None:
    caller(authenticator, token_issuer.token())
    issuer.keys = [token_issuer.public(token_issuer.rsa_key("second"), "second")]
    assert caller(authenticator, token_issuer.token("bob", key_id="second")).user_id == "bob"
    clock.now += 3_601
    with pytest.raises(Unauthenticated):
        caller(authenticator, token_issuer.token("eve"))


def test_known_keys_stay_valid_while_the_issuer_is_unreachable(
    authenticator: auth.Authenticator, issuer: Issuer, clock: Clock
) -> None:
    issuer.fails = True
    for _ in range(10):
        with pytest.raises(IssuerUnavailable):
            caller(authenticator, token_issuer.token())
    assert issuer.requests == 1
    issuer.fails = False
    clock.now += 6
    assert caller(authenticator, token_issuer.token()).user_id == "ann"
    issuer.fails = True
    clock.now += 3_601
    assert caller(authenticator, token_issuer.token("bob")).user_id == "bob"


def test_unusable_keys_are_ignored(authenticator: auth.Authenticator, issuer: Issuer) -> None:
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
    assert caller(authenticator, token_issuer.token()).user_id == "ann"
    for key_id in ("secret", "broken", "curve", "for encryption", "of another algorithm"):
        token = jwt.encode(
            token_issuer.claims(), token_issuer.rsa_key("first"), "RS256", {"kid": key_id}
        )
        with pytest.raises(Unauthenticated):
            caller(authenticator, token)
