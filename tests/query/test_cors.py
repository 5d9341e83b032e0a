"""CORS headers allow only pages of allowed origins to read responses, also in a real Chromium."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Error
from starlette.responses import Response

from progress.errors import SettingsError
from progress.local import ports
from progress.query.http.protocol import Cors
from progress.settings import Settings
from tests.support import api, function_process, token_issuer
from tests.support.api import Api

OURS, LOCAL, OTHER = "https://app.example.com", "http://localhost:3000", "https://evil.example.com"
HEADERS = "authorization,content-type,x-apollo-operation-name"
TYPE = b'{"query": "{ __typename }"}'


@pytest.fixture(scope="module")
def offline_api() -> Iterator[Api]:
    with api.serve(api.NOWHERE, cors_origins=f"{OURS}, {LOCAL}") as made:
        yield made


def preflight(query_api: Api, origin: str) -> Response:
    """Send the preflight request of a page's POST."""
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": HEADERS}
    return query_api.request("OPTIONS", "/graphql", b"", {"origin": origin, **preflight})


def post(query_api: Api, origin: str | None, **more: str) -> Response:
    named = {"origin": origin} if origin else {}
    return query_api.request("POST", "/graphql", TYPE, {**api.headers(), **named, **more})


@pytest.mark.parametrize("origin", [OURS, LOCAL])
def test_an_allowed_origin_may_send_requests_and_read_responses(
    offline_api: Api, origin: str
) -> None:
    allowed = preflight(offline_api, origin)
    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == origin
    assert allowed.headers["access-control-allow-headers"] == HEADERS
    assert "POST" in allowed.headers["access-control-allow-methods"]
    for response in (post(offline_api, origin), post(offline_api, origin, authorization="")):
        assert response.headers["access-control-allow-origin"] == origin
        assert response.headers["access-control-allow-credentials"] == "true"
        assert "Origin" in response.headers.getlist("vary")
        exposed = response.headers["access-control-expose-headers"].split(", ")
        assert {"ETag", "Retry-After"} <= {*exposed}


@pytest.mark.parametrize(
    "origin", [OTHER, "null", "", OURS + ".evil.com", OURS.upper(), "http://app.example.com"]
)
def test_an_origin_that_is_not_allowed_does_not_get_cors_headers(
    offline_api: Api, origin: str
) -> None:
    for response in (preflight(offline_api, origin), post(offline_api, origin)):
        assert not [name for name in response.headers if name.startswith("access-control")]
        assert "Origin" in response.headers.getlist("vary")


def test_a_response_varies_by_origin_even_if_the_request_has_no_origin(offline_api: Api) -> None:
    assert "Origin" in post(offline_api, None).headers.getlist("vary")


def test_no_origin_is_allowed_if_cors_origins_is_not_set() -> None:
    with api.serve(api.NOWHERE) as closed:
        for response in (preflight(closed, OURS), post(closed, OURS)):
            assert not [name for name in response.headers if name.startswith("access-control")]


def test_a_wildcard_does_not_allow_credentials() -> None:
    with api.serve(api.NOWHERE, cors_origins="*") as opened:
        for response in (preflight(opened, OTHER), post(opened, OTHER)):
            assert response.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in response.headers


def test_a_local_stack_may_allow_every_port_of_this_machine() -> None:
    local = Cors(f"{OURS},http://localhost:*,http://127.0.0.1:*", is_local=True)
    ours = ("http://localhost:5173", "http://127.0.0.1:1", "http://localhost", OURS)
    others = (
        *("https://localhost:5173", "http://localhost.evil.com", "http://localhost:5173.evil.com"),
        *("http://localhost:*", "http://localhost:", "http://127.0.0.2:80", "http://[::1]:5173"),
        *(f"{OURS}:5173", "http://evil.com:5173", "null"),
    )
    assert [origin for origin in (*ours, *others) if allows(local, origin)] == [*ours]


def allows(cors: Cors, origin: str) -> bool:
    """Return whether the origin's pages may read responses and open sockets."""
    headers, response = {b"origin": origin.encode()}, Response()
    cors.add_headers(headers, response)
    may_read = response.headers.get("access-control-allow-origin") == origin
    assert cors.allows_socket(headers) == may_read
    return may_read


@pytest.mark.parametrize(
    "deployed",
    [
        Settings(environment="development"),
        Settings(environment="staging", pubsub_emulator_host="127.0.0.1:8085"),
        Settings(environment="production"),
    ],
)
@pytest.mark.parametrize("origin", ["http://localhost:*", "http://127.0.0.1:*"])
def test_a_deployed_function_does_not_start_with_every_port(
    deployed: Settings, origin: str
) -> None:
    with pytest.raises(SettingsError, match="is for a local stack"):
        Cors(origin, is_local=deployed.is_local())


def test_an_options_request_lists_the_allowed_methods(offline_api: Api) -> None:
    response = offline_api.request("OPTIONS", "/graphql")
    assert (response.status_code, response.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "bad",
    [
        *("app.example.com", "https://App.example.com", "ftp://app.example.com", "https://[::1"),
        *("https://*.example.com", "https://user@app.example.com", "https://größe.example.com"),
        *(f"{OURS}{end}" for end in ("/", "/path", ":port", ":443", ":0", ":123456", f" {LOCAL}")),
        *("https://", "null", "*"),
    ],
)
def test_the_startup_error_names_an_invalid_origin(bad: str) -> None:
    with pytest.raises(SettingsError, match="CORS_ORIGINS") as refused:
        Cors(f"{OURS},{bad}")
    assert (repr(bad) if bad != "*" else "expected * alone") in str(refused.value)


@pytest.mark.parametrize("good", ["", OURS, f" {OURS} , {LOCAL},", "http://[::1]:3000"])
def test_valid_origins_are_accepted(good: str) -> None:
    cors: Any = Cors(good)
    assert cors


ASK = """async ({ url, authorization, method }) => {
  const body = method === 'POST' ? JSON.stringify({ query: '{ __typename }' }) : undefined;
  const headers = {
    authorization, 'content-type': 'application/json', 'x-apollo-operation-name': 'a', pragma: 'x',
  };
  const answer = await fetch(url, { method, headers, body, credentials: 'include' });
  return [answer.status, answer.headers.get('etag')?.slice(0, 2), (await answer.json()).data];
}"""
FOUND = {"__typename": "Query"}


@pytest.fixture
def origins() -> Iterator[tuple[str, str]]:
    """The URLs of two pages: the first has an allowed origin, the second another origin."""
    with token_issuer.serve() as ours, token_issuer.serve() as other:
        yield ours.url, other.url


@pytest.fixture
def url(origins: tuple[str, str]) -> Iterator[str]:
    """The URL of a query function that allows the first origin."""
    allowed = {"CORS_ORIGINS": f"http://{urlsplit(origins[0]).netloc}"}
    environment = token_issuer.Issuer(origins[0]).environment(api.NOWHERE)
    with function_process.run("query", environment | allowed) as function:
        yield f"http://{ports.HOST}:{function.port}/graphql"


def call_api(chromium: Browser, page: str, url: str, method: str = "POST") -> Any:
    """Send a request from a script in the page; return what the script sees of the response."""
    authorization = api.headers()["authorization"]
    with chromium.new_context() as context:
        opened = context.new_page()
        opened.goto(page)
        arguments = {"url": url, "authorization": authorization, "method": method}
        return opened.evaluate(ASK, arguments)


def test_a_page_of_an_allowed_origin_can_read_responses(
    chromium: Browser, origins: tuple[str, str], url: str
) -> None:
    ours, _ = origins
    assert call_api(chromium, ours, url) == [200, None, FOUND]
    assert call_api(chromium, ours, f"{url}?query={{__typename}}", "GET") == [200, "W/", FOUND]
    status, *_ = call_api(chromium, ours, f"{url}?query=mutation{{__typename}}", "GET")
    assert status == 405


def test_a_page_of_an_origin_that_is_not_allowed_cannot_read_responses(
    chromium: Browser, origins: tuple[str, str], url: str
) -> None:
    _, other = origins
    for method in ("GET", "POST"):
        with pytest.raises(Error, match="Failed to fetch"):
            call_api(chromium, other, f"{url}?query={{__typename}}", method)
