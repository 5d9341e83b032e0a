"""The issuer of a local stack exchanges a sign-in token once, and only for that stack's page."""

import asyncio
import json
import time
import urllib.parse
from pathlib import Path

import jwt
import pytest
from aiohttp import test_utils, web

from progress.serve import data_folder, development_key
from progress.serve.laptop.issuer import SIGN_IN, Issuer

PORT, PAGE = 4321, 8080
OWN = f"127.0.0.1:{PORT}"
STATE = "0123456789abcdef"
HOME = f"http://127.0.0.1:{PAGE}/?state={STATE}"


class IssuerClient:
    def __init__(self, path: Path):
        self.folder = data_folder.at(str(path))
        self._issuer = Issuer(self.folder, port=PORT, page_port=PAGE)

    def ask(self, target: str, host: str = OWN) -> web.Response:
        request = test_utils.make_mocked_request("GET", target, {"Host": host})
        return asyncio.run(self._issuer.answer(request))

    def sign_in(self, hint: str, page: str = HOME, host: str = OWN) -> web.Response:
        asked = urllib.parse.urlencode({"return": page, "login_hint": hint})
        return self.ask(f"{SIGN_IN}?{asked}", host)

    def token(self, *groups: str) -> str:
        return development_key.sign_in_token(self.folder.key, "tess", ["teacher"], groups)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A key of a stack; to make one takes as long as several tests."""
    file = tmp_path_factory.mktemp("key") / "key"
    development_key.ensure(file)
    return file.read_bytes()


@pytest.fixture
def client(tmp_path: Path, key: bytes) -> IssuerClient:
    data_folder.at(str(tmp_path)).key.write_bytes(key)
    return IssuerClient(tmp_path)


def read(client: IssuerClient, token: str) -> dict[str, object]:
    key = jwt.PyJWK(json.loads(development_key.jwks(client.folder.key))["keys"][0])
    audience = development_key.AUDIENCE
    claims: dict[str, object] = jwt.decode(token, key, algorithms=["RS256"], audience=audience)
    return claims


def test_any_path_except_sign_in_returns_the_key_set(client: IssuerClient) -> None:
    answer = client.ask("/jwks.json")
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert json.loads(answer.text or "")["keys"][0]["alg"] == "RS256"


def test_a_sign_in_token_is_exchanged_once_for_the_day_s(client: IssuerClient) -> None:
    hint, page = client.token("g1", "g2"), HOME.replace("127.0.0.1", "localhost")
    answer = client.sign_in(hint, page)
    assert (answer.status, answer.headers["Cache-Control"]) == (303, "no-store")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    back, _, token = answer.headers["Location"].partition("#token=")
    claims = read(client, token)
    assert (back, claims["sub"], claims["roles"]) == (page, "tess", ["teacher"])
    assert claims["groups"] == ["g1", "g2"]
    again = client.sign_in(hint, page)
    assert (again.status, "Location" in again.headers) == (403, False)
    assert "Run `progress open --user ID`" in (again.text or "")
    assert client.sign_in(client.token()).status == 303  # another token of the same second


def test_a_sign_in_token_lives_ten_minutes_and_not_beyond_a_restart(
    client: IssuerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = development_key.read_sign_in(client.folder.key, client.token())
    assert claims
    now = claims["iat"]
    assert claims["exp"] == now + 600
    monkeypatch.setattr(time, "time", lambda: now - 601)
    early, expired = IssuerClient(client.folder.path), client.token()
    monkeypatch.setattr(time, "time", lambda: now - 300)
    hint = client.token()
    monkeypatch.undo()
    assert early.sign_in(expired).status == 403
    assert client.sign_in(hint).status == 403  # a later start has forgotten whether it was used
    assert early.sign_in(hint).status == 303


def test_no_other_token_signs_in(client: IssuerClient) -> None:
    token = development_key.token(client.folder.key, "ann", ["admin"])  # of the API
    with pytest.raises(jwt.InvalidAlgorithmError):
        read(client, client.token())
    head, claims, _ = client.token().split(".")
    claimed = jwt.decode(client.token(), options={"verify_signature": False})
    keys = [development_key.jwks(client.folder.key)[:64], b"k" * 32]
    forged = [jwt.encode(claimed, key, algorithm="HS256") for key in keys]
    forged += [jwt.encode(claimed, "", algorithm="none"), f"{head}.{claims}."]
    for hint in (token, *forged, f"{client.token()[:-9]}AAAAAAAAA", "", "x" * 7_000, "\0", "%00"):
        assert client.sign_in(hint).status == 403


@pytest.mark.parametrize(
    "page",
    ["https://evil.example/", "//evil.example/", f"http://127.0.0.1:{PAGE}@evil.example/",
     f"http://127.0.0.1:{PAGE + 1}/", f"http://127.0.0.1:{PAGE}/graphql", "javascript:alert(1)",
     "", HOME.partition("?")[0], f"{HOME}%0d%0aX-Evil:1", HOME[:-2],
     f"https://127.0.0.1:{PAGE}/", "http://[", f"http://127.0.0.1:{PAGE}.evil.example/"],
)  # fmt: skip
def test_a_token_is_sent_only_to_the_page_of_the_stack(client: IssuerClient, page: str) -> None:
    hint = client.token()
    answer = client.sign_in(hint, page)
    assert (answer.status, "Location" in answer.headers) == (403, False)
    assert client.sign_in(hint).status == 303  # it is not used up


@pytest.mark.parametrize("host", ["rebound.example:4321", f"127.0.0.1:{PORT + 1}", ""])
def test_a_request_to_another_host_is_rejected(client: IssuerClient, host: str) -> None:
    answer = client.sign_in(client.token(), host=host)
    assert (answer.status, "Location" in answer.headers) == (403, False)
