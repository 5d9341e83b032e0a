"""Fetches of the issuer's keys and their limits; issuers that hang, redirect or send garbage."""

import asyncio
import json
import socket
import threading
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.errors import IssuerUnavailable, Unauthenticated
from progress.query import auth
from progress.settings import Settings
from tests.query.test_auth import Clock, authenticator, caller, clock, issuer, part
from tests.support import token_issuer
from tests.support.token_issuer import Issuer

__all__ = ["authenticator", "clock", "issuer"]


def unknown(number: int) -> str:
    return f"{part({'alg': 'RS256', 'kid': f'unknown {number}'})}.{part({})}.AAAA"


async def all_refused(authenticator: auth.Authenticator, number: int) -> None:
    """Send `number` tokens with unknown keys concurrently; assert that all are rejected."""
    calls = [authenticator.authenticate(f"Bearer {unknown(n)}") for n in range(number)]
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in errors} == {Unauthenticated}


def test_a_thousand_concurrent_unknown_keys_cause_one_fetch_per_minute(
    authenticator: auth.Authenticator, issuer: Issuer, clock: Clock
) -> None:
    async def minutes() -> None:
        await authenticator.authenticate(f"Bearer {token_issuer.token()}")
        for requests in (2, 3):
            await all_refused(authenticator, 1_000)
            for _ in range(100):
                await all_refused(authenticator, 1)
            assert issuer.requests == requests
            clock.now += 61

    asyncio.run(minutes())


def test_valid_tokens_do_not_wait_for_a_fetch_caused_by_an_unknown_key(
    authenticator: auth.Authenticator, issuer: Issuer, clock: Clock
) -> None:
    caller(authenticator, token_issuer.token())
    issuer.may_answer.clear()

    async def at_once() -> None:
        bad = asyncio.create_task(authenticator.authenticate(f"Bearer {unknown(1)}"))
        while issuer.requests < 2:
            await asyncio.sleep(0.001)
        assert (
            await authenticator.authenticate(f"Bearer {token_issuer.token('bob')}")
        ).user_id == "bob"
        assert not bad.done()
        issuer.may_answer.set()
        with pytest.raises(Unauthenticated):
            await bad

    asyncio.run(at_once())


def test_old_keys_stay_valid_while_new_keys_are_fetched(
    authenticator: auth.Authenticator, issuer: Issuer, clock: Clock
) -> None:
    caller(authenticator, token_issuer.token())
    clock.now += 3_601
    issuer.may_answer.clear()

    async def at_once() -> None:
        first = asyncio.create_task(
            authenticator.authenticate(f"Bearer {token_issuer.token('bob')}")
        )
        while issuer.requests < 2:
            await asyncio.sleep(0.001)
        assert (
            await authenticator.authenticate(f"Bearer {token_issuer.token('eve')}")
        ).user_id == "eve"
        issuer.may_answer.set()
        assert (await first).user_id == "bob"

    asyncio.run(at_once())


def test_a_fetch_of_the_keys_times_out(
    authenticator: auth.Authenticator, issuer: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "_FETCH_TIMEOUT_S", 1)
    issuer.may_answer.clear()
    for _ in range(3):
        with pytest.raises(IssuerUnavailable):
            caller(authenticator, token_issuer.token())
    assert issuer.requests == 1
    issuer.may_answer.set()
    clock.now += 6
    monkeypatch.undo()
    assert caller(authenticator, token_issuer.token()).user_id == "ann"


def test_a_response_of_4_mib_from_the_issuer_is_rejected(
    authenticator: auth.Authenticator, issuer: Issuer
) -> None:
    issuer.body = b" " * (1 << 22)
    with pytest.raises(IssuerUnavailable):
        caller(authenticator, token_issuer.token())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_from_the_issuer_are_not_followed(
    authenticator: auth.Authenticator, issuer: Issuer, status: int
) -> None:
    """A redirect could lead to an internal address."""
    with token_issuer.serve() as inside:
        head = f"HTTP/1.1 {status} Elsewhere\r\nLocation: {inside.url}\r\nContent-Length: 0"
        issuer.speaks_http, issuer.body = False, f"{head}\r\n\r\n".encode()
        with pytest.raises(IssuerUnavailable):
            caller(authenticator, token_issuer.token())
        assert (issuer.requests, inside.requests) == (1, 0)


GARBAGE = [b"", b"<html>", b"[]", b"{}", b'{"keys": null}', b'{"keys": [1]}', b'{"keys": []}']


@pytest.mark.parametrize("body", [*GARBAGE, b"\xff", b'{"keys": ' + b"[" * 100_000, b"HTTP/1.1 "])
@pytest.mark.parametrize("speaks_http", [True, False])
def test_the_issuer_is_unavailable_if_its_response_is_malformed(
    authenticator: auth.Authenticator,
    issuer: Issuer,
    clock: Clock,
    body: bytes,
    speaks_http: bool,
) -> None:
    issuer.body, issuer.speaks_http = body, speaks_http
    with pytest.raises(IssuerUnavailable):
        caller(authenticator, token_issuer.token())
    clock.now += 6
    issuer.body, issuer.speaks_http = None, True
    assert caller(authenticator, token_issuer.token()).user_id == "ann"
    clock.now += 3_601
    issuer.body, issuer.speaks_http = body, speaks_http
    assert caller(authenticator, token_issuer.token("bob")).user_id == "bob"


scalars = st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["AQAB", "AA"])
keys = st.fixed_dictionaries(
    {"kty": st.sampled_from(["RSA", "EC"]), "kid": st.just("odd")},
    optional={
        name: scalars | st.sampled_from(["P-256", "P-384", "sig", "RS256", "ES256"])
        for name in ("n", "e", "d", "p", "q", "x", "y", "crv", "use", "alg", "oth")
    },
)


@given(odd=st.lists(keys | st.dictionaries(st.text(), scalars), max_size=3))
def test_malformed_keys_next_to_valid_keys_are_ignored(odd: list[dict[str, Any]]) -> None:
    with token_issuer.serve() as issuer:
        issuer.keys = [*odd, *issuer.keys]
        trusted = auth.Issuer(token_issuer.NAME, token_issuer.AUDIENCE, issuer.url)
        authenticator = auth.Authenticator(trusted)
        assert caller(authenticator, token_issuer.token()).user_id == "ann"


def test_a_withdrawn_key_invalidates_its_tokens(
    issuer: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "_KEYS_TTL_S", 0.0)
    trusted = auth.Issuer(token_issuer.NAME, token_issuer.AUDIENCE, issuer.url)
    authenticator = auth.Authenticator(trusted, auth.Keys(issuer.url, clock=clock))
    token = token_issuer.token(exp=int(time.time()) + 86_400)
    caller(authenticator, token)
    issuer.keys = [token_issuer.public(token_issuer.rsa_key("second"), "second")]
    clock.now += 61
    with pytest.raises(Unauthenticated):
        caller(authenticator, token)


def test_a_key_verifies_only_tokens_of_its_algorithm(
    authenticator: auth.Authenticator, issuer: Issuer
) -> None:
    issuer.keys.append(token_issuer.public(token_issuer.ec_key(), "curve"))
    good = token_issuer.token()
    caller(authenticator, good)
    _, claims, signature = good.split(".")
    for algorithm, key_id in (("ES256", "first"), ("RS256", "curve")):
        with pytest.raises(Unauthenticated):
            caller(authenticator, f"{part({'alg': algorithm, 'kid': key_id})}.{claims}.{signature}")


def test_a_token_with_critical_headers_is_rejected(authenticator: auth.Authenticator) -> None:
    critical = {"kid": "first", "crit": ["x"], "x": 1}
    signed = jwt.encode(token_issuer.claims(), token_issuer.rsa_key("first"), "RS256", critical)
    with pytest.raises(Unauthenticated):
        caller(authenticator, signed)


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_token_is_valid_if_the_issuer_s_clock_is_slightly_ahead(
    authenticator: auth.Authenticator, claim: str
) -> None:
    def ahead(seconds: int) -> str:
        changed: dict[str, Any] = {claim: int(time.time()) + seconds}
        return token_issuer.token(**changed)

    assert caller(authenticator, ahead(3)).user_id == "ann"
    with pytest.raises(Unauthenticated):
        caller(authenticator, ahead(60))


@pytest.mark.parametrize(
    "end", ["9" * 12, pytest.param(10**400, id="huge"), 1e308, "x", [], {}, True]
)
def test_an_unusual_exp_claim_does_not_cause_an_internal_error(
    authenticator: auth.Authenticator, end: Any
) -> None:
    signed = token_issuer.token(exp=end)
    if isinstance(end, int | float) and end > 1:
        assert caller(authenticator, signed).expires_at < float("inf")
    else:
        with pytest.raises(Unauthenticated):
            caller(authenticator, signed)


@given(
    head=st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "b64", "x"]),
        st.sampled_from(["RS256", "ES256", "first", ""])
        | st.integers()
        | st.none()
        | st.lists(st.text()),
    ),
    claims=st.binary() | st.dictionaries(st.text(), st.integers() | st.text()).map(json.dumps),
    signature=st.binary(max_size=300),
)
def test_malformed_tokens_do_not_cause_internal_errors(
    authenticator: auth.Authenticator, head: Any, claims: bytes | str, signature: bytes
) -> None:
    text = claims.encode() if isinstance(claims, str) else claims
    with pytest.raises(Unauthenticated):
        caller(authenticator, ".".join(map(part, (head, text, signature))))


def test_threads_do_not_accumulate_if_the_issuer_hangs(
    authenticator: auth.Authenticator, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "_FETCH_TIMEOUT_S", 0.05)
    issuer.may_answer.clear()
    before = threading.active_count()
    for _ in range(50):
        with pytest.raises(IssuerUnavailable):
            caller(authenticator, token_issuer.token())
    assert threading.active_count() <= before + 3


def test_the_project_name_is_enough_to_trust_a_firebase_project(issuer: Issuer) -> None:
    trusted = auth.load_issuer(
        Settings(auth_audience="p", auth_jwks_url=issuer.url, environment="development")
    )
    authenticator = auth.Authenticator(trusted)
    for project, is_ours in (("p", True), ("another", False)):
        token = token_issuer.token(iss=f"https://securetoken.google.com/{project}", aud=project)
        if is_ours:
            assert caller(authenticator, token).user_id == "ann"
        else:
            with pytest.raises(Unauthenticated):
                caller(authenticator, token)


def test_concurrent_requests_share_one_failed_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_FETCH_TIMEOUT_S", 0.2)
    monkeypatch.setattr(auth, "_RETRY_INTERVAL_S", 0.2)

    async def all_at_once(port: int) -> None:
        keys = auth.Keys(f"http://127.0.0.1:{port}")
        waiting = (keys.get("first") for _ in range(20))
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(error, IssuerUnavailable) for error in errors)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(all_at_once(silent.getsockname()[1]))
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):  # there is no second connection
            silent.accept()


def test_the_keys_are_fetched_once(authenticator: auth.Authenticator, issuer: Issuer) -> None:
    for n in range(20):
        caller(authenticator, token_issuer.token(f"learner {n}"))
    assert issuer.requests == 1


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
