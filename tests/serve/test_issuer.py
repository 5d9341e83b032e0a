"""The sign-in of a local stack gives tokens only to that stack's page."""

import asyncio
import html
import json
import re
import stat
import time
import urllib.parse
from pathlib import Path

import jwt
import pytest
from aiohttp import web

from progress.serve import data_folder, development_key
from progress.serve.laptop import sign_in_codes
from progress.serve.laptop.issuer import DISCOVERY, SIGN_IN, Issuer

PORT, PAGE = 4321, 8080
OWN = f"127.0.0.1:{PORT}"
STATE = "0123456789abcdef"
HOME = f"http://127.0.0.1:{PAGE}/?state={STATE}"


class IssuerClient:
    def __init__(self, path: Path):
        self.folder = data_folder.at(str(path))
        self._issuer = Issuer(self.folder, port=PORT, page_port=PAGE)

    def ask(
        self, method: str, target: str, form: dict[str, str] | None = None, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        """Return the status, headers and body of the response; without a response, status 0."""
        body = urllib.parse.urlencode(form or {}).encode()
        sent = {"host": OWN, "content-length": str(len(body)), "connection": "close", **headers}
        lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in sent.items()), "", ""]
        return asyncio.run(self.send("\r\n".join(lines).encode() + body))

    async def send(self, request: bytes) -> tuple[int, dict[str, str], str]:
        answers = web.Server(self._issuer.answer)
        server = await asyncio.get_running_loop().create_server(answers, "127.0.0.1", 0)
        async with server:
            address = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(*address)
            writer.write(request)
            if b"connection: close" not in request:
                writer.write_eof()
            answer = (await reader.read()).decode()
            writer.close()
        head, _, body = answer.partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines)}
        return int(first.split()[1]) if first else 0, headers, body


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


def test_any_path_except_sign_in_returns_the_key_set(client: IssuerClient) -> None:
    status, headers, body = client.ask("GET", "/jwks.json")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body)["keys"][0]["alg"] == "RS256"


def test_sign_in_redirects_to_the_page_with_a_token(client: IssuerClient) -> None:
    for page, back in [
        (HOME, HOME),
        (f"http://localhost:{PAGE}?x=1&state={STATE}", HOME.replace("127.0.0.1", "localhost")),
    ]:
        form = {"user": "ann", "role": "support", "return": page}
        status, headers, _ = client.ask("POST", SIGN_IN, form, origin=f"http://{OWN}")
        assert status == 303
        assert parse_redirect(client, headers["location"]) == (back, "ann", ["support"])


def parse_redirect(client: IssuerClient, location: str) -> tuple[str, str, list[str]]:
    back, _, token = location.partition("#token=")
    key = jwt.PyJWK(json.loads(development_key.jwks(client.folder.key))["keys"][0]).key
    claims = jwt.decode(token, key, algorithms=["RS256"], audience=development_key.AUDIENCE)
    return back, claims["sub"], claims["roles"]


def test_a_teacher_signs_in_with_the_id_of_a_group(client: IssuerClient) -> None:
    form = {"user": "tess", "role": "teacher", "return": HOME}
    status, _, body = client.ask("POST", SIGN_IN, form)
    assert status == 400
    assert "Give the id of the teacher’s group" in body
    _, headers, _ = client.ask("POST", SIGN_IN, form | {"group": "g1"})
    assert parse_redirect(client, headers["location"]) == (HOME, "tess", ["teacher"])
    assert parse_groups(headers["location"]) == ["g1"]


def parse_groups(location: str) -> list[str]:
    claims = jwt.decode(location.partition("#token=")[2], options={"verify_signature": False})
    return list(claims["groups"])


def sign_in_path(code: str, page: str = HOME) -> str:
    return f"{SIGN_IN}?{urllib.parse.urlencode({'return': page, 'login_hint': code})}"


CLIENT = "http://localhost:8090/sign-in/"
VERIFIER = "a" * 43
CHALLENGE = "ZtNPunH49FD35FWYhT5Tv8I7vRKQJ8uxMaL0_9eHjNA"


def authorize(client: IssuerClient, page: str = CLIENT) -> tuple[int, dict[str, str], str]:
    asked = {
        "response_type": "code", "client_id": "app", "redirect_uri": page, "state": STATE,
        "code_challenge": CHALLENGE, "code_challenge_method": "S256",
    }  # fmt: skip
    endpoint = endpoints(client)["authorization_endpoint"].removeprefix(f"http://{OWN}")
    status, headers, form = client.ask("GET", f"{endpoint}?{urllib.parse.urlencode(asked)}")
    assert status == 200
    if page == CLIENT:  # otherwise, the browser would block the redirect
        assert " http://localhost:8090;" in headers["content-security-policy"]
    (back,) = re.findall('name="return" value="(.*?)"', form)
    fields = {"user": "ann", "role": "teacher", "group": "g1", "return": html.unescape(back)}
    return client.ask("POST", SIGN_IN, fields, origin=f"http://{OWN}")


def endpoints(client: IssuerClient) -> dict[str, str]:
    status, headers, body = client.ask("GET", DISCOVERY)
    assert (status, headers["access-control-allow-origin"]) == (200, "*")
    found: dict[str, str] = json.loads(body)
    assert found["issuer"] == development_key.ISSUER
    return found


def exchange(client: IssuerClient, code: str, verifier: str) -> tuple[int, dict[str, str]]:
    endpoint = endpoints(client)["token_endpoint"].removeprefix(f"http://{OWN}")
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": verifier}
    status, headers, body = client.ask("POST", endpoint, form, origin="http://localhost:8090")
    assert headers["access-control-allow-origin"] == "*"
    return status, json.loads(body)


def test_a_page_on_this_machine_gets_a_token_for_a_code(client: IssuerClient) -> None:
    status, headers, _ = authorize(client)
    back, _, code = headers["location"].partition("&code=")
    assert (status, back) == (303, f"{CLIENT}?state={STATE}")
    assert exchange(client, code, "b" * 43) == (400, {"error": "invalid_grant"})
    assert client.ask("GET", sign_in_path(code))[0] == 410  # nor does it sign in without a verifier
    status, answer = exchange(client, code, VERIFIER)
    location = f"#token={answer['id_token']}"
    assert (status, answer["token_type"]) == (200, "Bearer")
    assert parse_redirect(client, location) == ("", "ann", ["teacher"])
    assert parse_groups(location) == ["g1"]
    assert exchange(client, code, VERIFIER) == (400, {"error": "invalid_grant"})


def test_a_page_elsewhere_gets_no_code(client: IssuerClient) -> None:
    for page in [
        *("https://evil.example/", "http://localhost.evil.example:80/", "http://localhost/"),
        *("http://localhost:a@evil.example/", "http://127.0.0.1:8090@evil.example/", ""),
        "http://localhost:80;script-src/",
    ]:
        status, headers, _ = authorize(client, page)
        assert (status, "location" in headers) == (400, False)


def test_a_sign_in_code_with_groups_works_once(client: IssuerClient) -> None:
    code = sign_in_codes.issue(client.folder.codes, "tess", ["teacher"], ["g1", "g2"])
    status, headers, _ = client.ask("GET", sign_in_path(code))
    assert (status, headers["cache-control"]) == (303, "no-store")
    assert parse_redirect(client, headers["location"]) == (HOME, "tess", ["teacher"])
    assert parse_groups(headers["location"]) == ["g1", "g2"]
    status, headers, body = client.ask("GET", sign_in_path(code))
    assert (status, "location" in headers) == (410, False)
    assert "works only once and only for ten minutes" in body
    assert html.escape(HOME) in body  # the form links back to the page


def test_only_one_of_two_concurrent_uses_of_a_code_succeeds(
    client: IssuerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, removed = sign_in_codes.issue(client.folder.codes, "ann", []), Path.unlink
    others: list[object] = []

    def unlink_second(file: Path) -> None:
        if not others:
            others.append(None)
            others.append(sign_in_codes.redeem(client.folder.codes, code))
        removed(file)

    monkeypatch.setattr(Path, "unlink", unlink_second)
    assert sign_in_codes.redeem(client.folder.codes, code) is None
    assert others[1] == ("ann", [], [])


def test_a_code_expires_after_ten_minutes(
    client: IssuerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = sign_in_codes.issue(client.folder.codes, "ann", ["learner"])
    (file,) = client.folder.codes.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    later = file.stat().st_mtime + 601
    monkeypatch.setattr(time, "time", lambda: later)
    assert sign_in_codes.issue(client.folder.codes, "ben", [])  # removes expired codes
    assert not file.exists()
    file.write_text(f'{{"user": "ann", "roles": [], "expires_at": {later - 1}}}')
    assert client.ask("GET", sign_in_path(old))[0] == 410


def test_a_request_for_another_page_does_not_use_up_the_code(client: IssuerClient) -> None:
    for page in ["https://evil.example/", HOME.partition("?")[0], ""]:
        code = sign_in_codes.issue(client.folder.codes, "ann", ["learner"])
        status, headers, _ = client.ask("GET", sign_in_path(code, page))
        assert (status, "location" in headers) == (200, False)
        assert sign_in_codes.redeem(client.folder.codes, code)


def test_an_unknown_code_is_rejected(client: IssuerClient) -> None:
    for code in ["../key", "/etc/passwd", "x" * 8_000, "\0", "%00"]:
        assert client.ask("GET", sign_in_path(code))[0] == 410


@pytest.mark.parametrize(
    "page",
    ["https://evil.example/", "//evil.example/", f"http://127.0.0.1:{PAGE}@evil.example/",
     f"http://127.0.0.1:{PAGE + 1}/", f"http://127.0.0.1:{PAGE}/graphql", "javascript:alert(1)",
     "", HOME.partition("?")[0], f"{HOME}%0d%0aX-Evil:1", HOME[:-2],
     f"https://127.0.0.1:{PAGE}/", "http://[", f"http://127.0.0.1:{PAGE}.evil.example/"],
)  # fmt: skip
def test_a_token_is_sent_only_to_the_page_of_the_stack(client: IssuerClient, page: str) -> None:
    status, headers, _ = client.ask("POST", SIGN_IN, {"user": "a", "role": "admin", "return": page})
    assert status in (0, 400)
    assert "location" not in headers


@pytest.mark.parametrize(
    "headers",
    [{"host": "rebound.example:4321"}, {"host": f"127.0.0.1:{PORT + 1}"},
     {"origin": "https://evil.example"}, {"origin": "null"}, {"host": ""}],
)  # fmt: skip
def test_a_request_from_another_site_is_rejected(
    client: IssuerClient, headers: dict[str, str]
) -> None:
    status, response_headers, _ = client.ask(
        "POST", SIGN_IN, {"user": "a", "role": "admin", "return": HOME}, **headers
    )
    assert (status, "location" in response_headers) == (403, False)


@pytest.mark.parametrize(
    "form", [{}, {"user": "a"}, {"user": "a", "role": "root"}, {"user": "a" * 201, "role": "admin"},
             {"user": "\0", "role": "admin"}, {"user": " ", "role": "learner"}]
)  # fmt: skip
def test_a_form_without_a_valid_user_and_role_is_shown_again(
    client: IssuerClient, form: dict[str, str]
) -> None:
    status, _, body = client.ask("POST", SIGN_IN, {**form, "return": HOME})
    assert status == 400
    assert "Give an id" in body


def test_the_form_escapes_its_input_and_does_not_allow_scripts(client: IssuerClient) -> None:
    page = urllib.parse.quote('"><script>alert(1)</script>')
    status, headers, body = client.ask("GET", f"{SIGN_IN}?return={page}")
    assert status == 200
    assert "<script>" not in body
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    "request_",
    [b"", b"GET\r\n\r\n", b"\r\n\r\n", b"POST /sign-in HTTP/1.1\r\ncontent-length: x\r\n\r\n",
     b"POST /sign-in HTTP/1.1\r\ncontent-length: -5\r\n\r\n", b"x" * 70_000],
)  # fmt: skip
def test_a_malformed_request_does_not_get_a_token(client: IssuerClient, request_: bytes) -> None:
    status, headers, _ = asyncio.run(client.send(request_))
    assert status in (0, 400, 403)
    assert "location" not in headers
