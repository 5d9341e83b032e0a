"""The example of a page that signs in, in Chromium: with OpenID Connect, and with Firebase."""

import base64
import hashlib
import json
import mimetypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.support import browser, http_servers
from tests.support.local_stack import Stack

EXAMPLE = Path(__file__).parents[2] / "examples" / "sign-in"
ISSUER = "https://login.example.com"
_SDK = {
    "firebase-app.js": "export const initializeApp = (config) => config;",
    "firebase-auth.js": """
        export const getAuth = (app) => app;
        export class GoogleAuthProvider {}
        export const signInWithPopup = async ({ projectId }) =>
          ({ user: { getIdToken: async () => projectId } });
    """,
}


@dataclass
class Example:
    address: str
    values: dict[str, object]


@pytest.fixture
def example(demo: Stack) -> Iterator[Example]:
    oidc = {"issuer": ISSUER, "client": "example"}
    values: dict[str, object] = {"PAGES": [demo.page], "FIREBASE": None, "OIDC": oidc}

    class Handler(http_servers.Handler):
        def do_GET(self) -> None:
            name = urlsplit(self.path).path.removeprefix("/") or "index.html"
            body = (EXAMPLE / name).read_bytes()
            if name == "config.js":
                assert {*re.findall(rb"export const (\w+) =", body)} == {
                    each.encode() for each in values
                }
                lines = [f"export const {n} = {json.dumps(v)};" for n, v in values.items()]
                body = "\n".join(lines).encode()
            kind = {"Content-Type": mimetypes.guess_type(name)[0] or ""}
            self.respond(200, body, cut=None, **kind)

    with http_servers.serve(Handler) as address:
        yield Example(f"{address}/", values)


@pytest.fixture
def page(chromium: Browser, demo: Stack, example: Example) -> Iterator[Page]:
    """A tab whose learner's page has the example as its sign-in page."""
    context = chromium.new_context()

    def configure(route: Route) -> None:
        served = route.fetch()
        meta = f'<meta name="sign-in" content="{example.address}">'
        text = re.sub(r'<meta name="sign-in" content="[^"]*">', meta, served.text())
        assert meta in text
        route.fulfill(response=served, body=text)

    context.route(re.compile(rf"^{re.escape(demo.page)}(\?.*)?$"), configure)
    yield context.new_page()
    context.close()


def expect_signed_in(page: Page) -> None:
    year = page.get_by_role("region", name="The year")
    expect(year).to_contain_text("61 study days", timeout=60_000)


def test_a_learner_signs_in_with_an_issuer_of_openid_connect(page: Page, demo: Stack) -> None:
    asked, exchanged = dict[str, str](), dict[str, str]()

    def answer(route: Route) -> None:
        url = urlsplit(route.request.url)
        found = {"authorization_endpoint": f"{ISSUER}/begin", "token_endpoint": f"{ISSUER}/token"}
        if url.path == "/begin":
            asked.update(parse_qsl(url.query))
            back = json.dumps(f"{asked['redirect_uri']}?code=c1&state={asked['state']}")
            script = f"<script>location.replace({back})</script>"
            return route.fulfill(body=script, content_type="text/html")
        if url.path == "/token":
            exchanged.update(parse_qsl(route.request.post_data or ""))
            found = {"id_token": demo.token(browser.DEMO)}
        return route.fulfill(json=found, headers={"Access-Control-Allow-Origin": "*"})

    page.route(f"{ISSUER}/**", answer)
    page.goto(demo.page)
    page.get_by_role("link", name="Sign in").click()
    expect_signed_in(page)
    assert page.url == demo.page
    assert (asked["client_id"], asked["response_type"]) == ("example", "code")
    assert (exchanged["code"], exchanged["redirect_uri"]) == ("c1", asked["redirect_uri"])
    digest = hashlib.sha256(exchanged["code_verifier"].encode()).digest()  # RFC 7636
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]


def test_a_learner_signs_in_with_firebase(page: Page, demo: Stack, example: Example) -> None:
    example.values["FIREBASE"] = {"projectId": demo.token(browser.DEMO)}

    def serve_sdk(route: Route) -> None:
        body = _SDK[route.request.url.rpartition("/")[2]]
        headers = {"Access-Control-Allow-Origin": "*"}
        route.fulfill(body=body, content_type="text/javascript", headers=headers)

    page.route("https://www.gstatic.com/firebasejs/*/*", serve_sdk)
    page.goto(demo.page)
    page.get_by_role("link", name="Sign in").click()
    page.get_by_role("button", name="Sign in with Google").click()
    expect_signed_in(page)


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({}, "open this page from the learner’s page"),
        ({"return": "https://evil.example/?state=1"}, "https://evil.example/ is not in PAGES"),
        ({"code": "1"}, "this tab did not begin the sign-in"),
        ({"code": "1", "state": "2"}, "this tab did not begin the sign-in"),
        ({"error": "access_denied"}, "access_denied"),
    ],
)
def test_nobody_else_gets_a_token(
    page: Page, example: Example, query: dict[str, str], reason: str
) -> None:
    address = f"{example.address}?{urlencode(query)}"
    page.goto(address)
    expect(page.get_by_role("status")).to_have_text(f"You are not signed in: {reason}")
    assert page.url == address
