"""CORS headers allow only pages of allowed origins to read responses."""

from collections.abc import Iterator

import pytest
from starlette.responses import Response

from progress.errors import SettingsError
from progress.query.http.protocol import Cors
from progress.settings import Settings
from tests.support import api
from tests.support.api import Api

OURS, LOCAL, OTHER = "https://app.example.com", "http://localhost:3000", "https://evil.example.com"
HEADERS = "authorization,content-type,x-apollo-operation-name"
TYPE = b'{"query": "{ __typename }"}'


@pytest.fixture(scope="module")
def offline_api() -> Iterator[Api]:
    with api.serve(api.NOWHERE, cors_origins=f"{OURS}, {LOCAL}") as made:
        yield made


def preflight(query_api: Api, origin: str) -> Response:
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
def test_an_origin_that_is_not_allowed_gets_no_cors_headers(offline_api: Api, origin: str) -> None:
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
    headers, response = {b"origin": origin.encode()}, Response()
    cors.add_headers(headers, response)
    may_read = response.headers.get("access-control-allow-origin") == origin
    assert cors.allows_socket(headers) == may_read
    return may_read


@pytest.mark.parametrize(
    "deployed",
    [
        Settings(environment="development"),
        Settings(environment="staging", serve_key="key"),
        Settings(environment="production"),
    ],
)
@pytest.mark.parametrize("origin", ["http://localhost:*", "http://127.0.0.1:*"])
def test_no_deployed_function_starts_with_every_port(deployed: Settings, origin: str) -> None:
    with pytest.raises(SettingsError, match="is for a local stack"):
        Cors(origin, is_local=deployed.is_local())


def test_an_options_request_lists_the_allowed_methods(offline_api: Api) -> None:
    response = offline_api.request("OPTIONS", "/graphql")
    assert (response.status_code, response.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "bad",
    [
        *("app.example.com", "https://App.example.com", "https://[::1"),
        *("capacitor:localhost", "capacitor:///", "1app://x", "app://x/", "://x", "app://*"),
        *("https://*.example.com", "https://user@app.example.com", "https://größe.example.com"),
        *(f"{OURS}{end}" for end in ("/", ":port", ":443", ":0", ":65536", ":٤", f" {LOCAL}")),
        *("https://", "null", "*"),
    ],
)
def test_the_startup_error_names_an_invalid_origin(bad: str) -> None:
    with pytest.raises(SettingsError, match="CORS_ORIGINS") as refused:
        Cors(f"{OURS},{bad}")
    assert (repr(bad) if bad != "*" else "expected * alone") in str(refused.value)


@pytest.mark.parametrize(
    "origin",
    [
        *("http://[::1]:3000", "https://my_app.example.com", "http://127.0.0.1:65535", OURS),
        *("capacitor://localhost", "ionic://localhost", "tauri://localhost", "https://localhost"),
        *("app://obsidian.md", "app://-", "app://Main", "app.zen+x://localhost:8100"),
        *("chrome-extension://abcdefghijklmnopabcdefghijklmnop", "ftp://app.example.com:80"),
        "moz-extension://0d1f6f3e-9f4b-4c3a-8f0e-2b7f7b1c9a55",
    ],
)
def test_an_app_in_a_web_view_or_an_extension_is_allowed_by_its_origin(origin: str) -> None:
    cors = Cors(f" https://other.example.com , {origin},")
    asking = (origin, f"{origin}x", "null", OTHER)
    assert [each for each in asking if allows(cors, each)] == [origin]
