"""Authentication: the issuer's settings and keys, tokens, and what a caller may read."""

import asyncio
import base64
import hashlib
import hmac
import json
import operator
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import hypothesis
import jwt
import pytest
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from progress import auth
from progress.auth import Caller
from progress.errors import IssuerUnavailable, SettingsError, Unauthenticated
from progress.event_store import callers
from progress.operations import records
from progress.settings import Settings
from tests.support import token_issuer
from tests.support.token_issuer import Issuer


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with token_issuer.serve() as made:
        yield made


@dataclass
class Clock:
    now: float = 1_000.0

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
    return asyncio.run(authenticator.authenticate(token and f"Bearer {token}"))


def part(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


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
        (["publisher"], "publisher"),
        ("publisher", "publisher"),
        (["publisher", "support"], "support"),
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
        assert not auth.is_id(sub) or callers.is_reserved(sub)
    else:
        assert user == sub
        assert not user.startswith("system:")


def signed_with_the_public_key() -> str:
    """Return an HS256 token whose secret is the public key. PyJWT refuses to sign such a token."""
    key = token_issuer.rsa_key("first").public_key()
    secret = json.dumps(RSAAlgorithm.to_jwk(key, as_dict=True)).encode()
    signed = f"{part({'alg': 'HS256', 'kid': 'first'})}.{part(token_issuer.claims())}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def encode(key: str, algorithm: str, **header: Any) -> str:
    return jwt.encode(token_issuer.claims(), token_issuer.rsa_key(key), algorithm, header)


def with_other_claims_under_the_signature() -> str:
    header, _, signature = token_issuer.token("ann").split(".")
    return f"{header}.{part(token_issuer.claims('bob'))}.{signature}"


BAD: dict[str, Callable[[], str]] = {
    "alg none": lambda: f"{part({'alg': 'none', 'kid': 'first'})}.{part(token_issuer.claims())}.",
    "HS256 signed with the public key": signed_with_the_public_key,
    "another key": lambda: encode("thief", "RS256", kid="first"),
    "claims changed": with_other_claims_under_the_signature,
    "PS256": lambda: encode("first", "PS256", kid="first"),
    "a critical header": lambda: encode("first", "RS256", kid="first", crit=["x"], x=1),
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
    "no key id": lambda: encode("first", "RS256"),
    "a number for a key id": lambda: f"{part({'alg': 'RS256', 'kid': 7})}.e30.",
    "nothing": lambda: "x",
    "dots": lambda: "..",
    "no JSON": lambda: f"{part(b'{')}.{part(b'{')}.x",
    "deep": lambda: f"{part(b'[' * 50_000)}.{part({})}.x",
    "non-ASCII text": lambda: "größe.größe.größe",
    "a spare dot": lambda: token_issuer.token() + ".",
}


OWN_TEXTS = {
    "expected a JSON Web Token",
    "expected a sub of 1 to 200 characters",
    "expected one signed by RS256 or ES256",
    "expected the claims aud, exp, iss and sub",
    "it has expired",
    "it is for another audience",
    "it is from another issuer",
    "it is not valid yet",
    "its key is not among the issuer's keys",
    "its signature is wrong",
    "its sub is reserved for callers that are not people",
}


@pytest.mark.parametrize("name", BAD)
def test_an_invalid_token_is_rejected(authenticator: auth.Authenticator, name: str) -> None:
    with pytest.raises(Unauthenticated) as rejected:
        caller(authenticator, BAD[name]())
    texts = {f"bad token: {text}" for text in OWN_TEXTS} | {
        "expected Authorization: Bearer and a token"
    }
    assert str(rejected.value) in texts, "the text is not that of a library"
    expected = {
        "claims changed": "its signature is wrong",
        "another audience": "it is for another audience",
        "another issuer": "it is from another issuer",
        "expired": "it has expired",
        "not yet valid": "it is not valid yet",
        "issued in the future": "it is not valid yet",
        "no exp": "expected the claims aud, exp, iss and sub",
        "nothing": "expected a JSON Web Token",
        "no JSON": "expected a JSON Web Token",
    }
    if name in expected:
        assert str(rejected.value) == f"bad token: {expected[name]}"


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


def test_a_cached_token_is_valid_from_its_verification_until_its_exp_claim(
    authenticator: auth.Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    token = token_issuer.token(exp=now + 5_000)
    for later, is_cached in ((3_600, True), (4_999, True), (5_001, False), (0, False)):
        monkeypatch.setattr(time, "time", lambda later=later: now + later)
        if later == 3_600:
            caller(authenticator, token)
        assert bool(authenticator.find_cached(f"Bearer {token}")) == is_cached


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


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_only_development_accepts_the_tokens_of_gcloud(environment: Any) -> None:
    google = auth.load_issuer(Settings(environment="development", auth_audience=auth.GCLOUD))
    assert google.name == "https://accounts.google.com"
    assert google.jwks_url.startswith("https://www.googleapis.com/oauth2/")
    with pytest.raises(SettingsError, match=r"^AUTH_AUDIENCE: 32555940559"):
        auth.load_issuer(Settings(environment=environment, auth_audience=auth.GCLOUD))
    # Google also signs tokens for the audience of an app.
    own: dict[str, Any] = {"auth_issuer": google.name, "auth_audience": "7.apps.company.com"}
    assert auth.load_issuer(Settings(environment=environment, **own)).jwks_url == google.jwks_url


def test_a_token_of_gcloud_gives_no_role_and_no_group(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    trusted = auth.Issuer(token_issuer.NAME, auth.GCLOUD, issuer.url)
    person: dict[str, Any] = {"email": "ann@gmail.com", "hd": "company.com", "groups": ["g1"]}
    caplog.set_level("DEBUG")
    for roles in ("admin", ["teacher"], [], None):
        token = token_issuer.token("7", aud=auth.GCLOUD, exp=2**32, roles=roles, **person)
        found = caller(auth.Authenticator(trusted), token)
        assert found == Caller("7", "learner", float(2**32))
    assert "ann@" not in caplog.text


def test_firebase_is_the_default_issuer_and_other_issuers_need_a_jwks_url() -> None:
    firebase = auth.load_issuer(Settings(auth_audience="our-project"))
    assert firebase.name == "https://securetoken.google.com/our-project"
    assert firebase.jwks_url.startswith("https://www.googleapis.com/")
    other = auth.load_issuer(Settings(auth_jwks_url=KEYS, **REAL))
    assert (other.name, other.jwks_url) == (REAL["auth_issuer"], KEYS)
    for options in (REAL, {**REAL, "auth_jwks_url": "file:///keys"}, dict[str, Any]()):
        with pytest.raises(SettingsError):
            auth.load_issuer(Settings(**options))


def unknown(number: int) -> str:
    return f"{part({'alg': 'RS256', 'kid': f'unknown {number}'})}.{part({})}.AAAA"


async def all_refused(authenticator: auth.Authenticator, number: int) -> None:
    calls = [authenticator.authenticate(f"Bearer {unknown(n)}") for n in range(number)]
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in errors} == {Unauthenticated}


def test_a_thousand_concurrent_unknown_keys_cause_one_fetch_per_minute(
    authenticator: auth.Authenticator, issuer: Issuer, clock: Clock
) -> None:
    async def minutes() -> None:
        for requests in (1, 2, 3):
            await all_refused(authenticator, 1_000)
            for _ in range(100):
                await all_refused(authenticator, 1)
            await authenticator.authenticate(f"Bearer {token_issuer.token()}")
            assert issuer.requests == requests
            clock.now += 61

    asyncio.run(minutes())


@pytest.mark.parametrize("are_old", [True, False], ids=["old keys", "an unknown key"])
def test_valid_tokens_do_not_wait_for_a_fetch(
    authenticator: auth.Authenticator, issuer: Issuer, clock: Clock, are_old: bool
) -> None:
    caller(authenticator, token_issuer.token())
    issuer.may_answer.clear()
    clock.now += 3_601 if are_old else 0
    token = token_issuer.token("eve") if are_old else unknown(1)

    async def at_once() -> None:
        first = asyncio.create_task(authenticator.authenticate(f"Bearer {token}"))
        while issuer.requests < 2:
            await asyncio.sleep(0.001)
        second = await authenticator.authenticate(f"Bearer {token_issuer.token('bob')}")
        assert (second.user_id, first.done()) == ("bob", False)
        issuer.may_answer.set()
        (answer,) = await asyncio.gather(first, return_exceptions=True)
        assert isinstance(answer, Caller if are_old else Unauthenticated)

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


GARBAGE = [
    *(b"", b"<html>", b"[]", b"{}", b'{"keys": null}', b'{"keys": [1]}', b'{"keys": []}', b"\xff"),
    *(b"HTTP/1.1 ", pytest.param(b'{"keys": ' + b"[" * 100_000, id="deep")),
    pytest.param(b" " * (1 << 22), id="4 MiB"),
]


@pytest.mark.parametrize("body", GARBAGE)
@pytest.mark.parametrize("speaks_http", [True, False])
def test_the_issuer_is_unavailable_if_its_response_is_malformed(
    authenticator: auth.Authenticator, issuer: Issuer, clock: Clock, body: bytes, speaks_http: bool
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


@hypothesis.given(odd=st.lists(keys | st.dictionaries(st.text(), scalars), max_size=3))
def test_malformed_keys_next_to_valid_keys_are_ignored(odd: list[dict[str, Any]]) -> None:
    with token_issuer.serve() as issuer:
        issuer.keys = [*odd, *issuer.keys]
        trusted = auth.Issuer(token_issuer.NAME, token_issuer.AUDIENCE, issuer.url)
        authenticator = auth.Authenticator(trusted)
        assert caller(authenticator, token_issuer.token()).user_id == "ann"


def test_a_key_verifies_only_tokens_of_its_algorithm(
    authenticator: auth.Authenticator, issuer: Issuer
) -> None:
    issuer.keys.append(token_issuer.public(token_issuer.ec_key(), "curve"))
    good = token_issuer.token()
    caller(authenticator, good)
    curved = jwt.encode(token_issuer.claims(), token_issuer.ec_key(), "ES256", {"kid": "curve"})
    assert caller(authenticator, curved).user_id == "ann"
    _, claims, signature = good.split(".")
    for algorithm, key_id in (("ES256", "first"), ("RS256", "curve")):
        with pytest.raises(Unauthenticated):
            caller(authenticator, f"{part({'alg': algorithm, 'kid': key_id})}.{claims}.{signature}")


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


@hypothesis.given(
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


def test_new_keys_are_accepted_and_withdrawn_keys_invalidate_their_tokens(
    issuer: Issuer, clock: Clock, authenticator: auth.Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "_KEYS_TTL_S", 0.0)
    known = token_issuer.token(exp=int(time.time()) + 86_400)
    caller(authenticator, known)
    issuer.keys = [token_issuer.public(token_issuer.rsa_key("second"), "second")]
    assert caller(authenticator, token_issuer.token("bob", key_id="second")).user_id == "bob"
    clock.now += 61
    for token in (known, token_issuer.token("eve")):
        with pytest.raises(Unauthenticated):
            caller(authenticator, token)


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
        with pytest.raises(Unauthenticated):
            caller(authenticator, encode("first", "RS256", kid=key_id))
