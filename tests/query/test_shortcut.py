"""The shortcut for POST /graphql returns the same responses as the framework's middleware."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import functions_framework.aio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from progress.query.http import server
from progress.query.http.app import QueryApi
from progress.query.read_models.reader import Reader
from progress.settings import Settings
from tests.support import api, token_issuer

Messages = list[dict[str, Any]]

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TYPE = b'{"query": "{ __typename }"}'
ASKED: dict[str, tuple[str, str, dict[str, str], bytes]] = {
    "a query": ("POST", "/graphql", {}, TYPE),
    "an unexpected error": ("POST", "/graphql", {}, b'{"query": "{ streak { current } }"}'),
    "no JSON": ("POST", "/graphql", {}, b"{"),
    "too long": ("POST", "/graphql", {}, b" " * (1 << 20)),
    "another media type": ("POST", "/graphql", {"content-type": "text/plain"}, TYPE),
    "a bad token": ("POST", "/graphql", {"authorization": "Bearer x"}, TYPE),
    "a query in the URL": ("GET", "/graphql?query={__typename}", {}, b""),
    "the allowed methods": ("OPTIONS", "/graphql", {}, b""),
    "a rejected method": ("PATCH", "/graphql", {}, b""),
    "an unrouted method": ("TRACE", "/graphql", {}, b""),
    "a framework path": ("GET", "/robots.txt", {}, b""),
    "health": ("GET", "/health", {}, b""),
    "an unknown path": ("POST", "/graphql/", {}, TYPE),
}

_served: list[QueryApi] = []


@functions_framework.aio.http
async def query(request: Request) -> Response:
    """Return the response of the test's API."""
    return await _served[-1].answer(request)


@pytest.fixture
def query_api() -> Iterator[QueryApi]:
    with token_issuer.serve() as issuer:
        configuration = Settings(
            environment="development",
            auth_issuer=token_issuer.NAME,
            auth_audience=token_issuer.AUDIENCE,
            auth_jwks_url=issuer.url,
            database_url=api.NOWHERE,
        )
        # The reader's settings have no database URL, so the request "an unexpected error" fails.
        made = QueryApi(configuration, Reader(Settings()))
        _served.append(made)
        yield made
        _served.pop()


@pytest.fixture
def app(query_api: QueryApi, tmp_path: Path) -> Starlette:
    """The application that the framework creates for the function `query`."""
    del query_api  # the function `query` calls this API
    source = tmp_path / "main.py"
    source.write_text(f"from {__name__} import query\n", encoding="utf-8")
    made: Starlette = functions_framework.aio.create_asgi_app(  # type: ignore[no-untyped-call]
        "query", str(source), "http"
    )
    return made


def answers(app: Starlette, *names: str) -> dict[str, Messages]:
    """Return the messages that the application sends for each request."""

    async def answered(name: str) -> Messages:
        method, address, headers, body = ASKED[name]
        path, _, query = address.partition("?")
        all_headers = {**api.headers(), "traceparent": TRACE, **headers}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(key.encode(), value.encode()) for key, value in all_headers.items()],
        }
        messages: Messages = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            messages.append({**message, "headers": sorted(message.get("headers", ()))})

        await app(scope, receive, send)
        return messages

    async def all_of_them() -> dict[str, Messages]:
        return {name: await answered(name) for name in names}

    return asyncio.run(all_of_them())


def test_responses_with_the_shortcut_equal_those_with_the_framework_s_middleware(
    app: Starlette, query_api: QueryApi
) -> None:
    before = answers(app, *ASKED)
    layers = app.middleware_stack
    server.bypass_middleware(app, query_api)
    assert app.middleware_stack is not layers
    assert answers(app, *ASKED) == before
    assert {name: messages[0]["status"] for name, messages in before.items()} == {
        "a query": 200, "an unexpected error": 500, "no JSON": 400, "too long": 413,
        "another media type": 415, "a bad token": 401, "a query in the URL": 200,
        "the allowed methods": 204, "a rejected method": 405, "an unrouted method": 405,
        "a framework path": 404, "health": 200, "an unknown path": 404,
    }  # fmt: skip


def test_only_post_graphql_bypasses_the_middleware(app: Starlette, query_api: QueryApi) -> None:
    answers(app, "health")
    for _ in range(2):  # a second installation has no effect
        server.bypass_middleware(app, query_api)
    app.router.routes.clear()
    messages = answers(app, *ASKED)
    around = {
        name for name, (method, path, *_) in ASKED.items() if (method, path) == ("POST", "/graphql")
    }
    for name, (start, *_) in messages.items():
        assert (start["status"] == 404) == (name not in around), name
