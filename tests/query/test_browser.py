"""CORS in a real Chromium: only pages of allowed origins can read responses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Error

from progress.local import ports, readiness
from tests.query.test_process import started
from tests.support import api, token_issuer

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
def url(origins: tuple[str, str], tmp_path: Path) -> Iterator[str]:
    """The URL of a query function that allows the first origin."""
    port = ports.reserve()
    environment = {
        "AUTH_ISSUER": token_issuer.NAME,
        "AUTH_AUDIENCE": token_issuer.AUDIENCE,
        "AUTH_JWKS_URL": origins[0],
        "CORS_ORIGINS": f"http://{urlsplit(origins[0]).netloc}",
        "DATABASE_URL": api.NOWHERE,
        "ENVIRONMENT": "development",
    }
    with started(tmp_path, port, **environment):
        readiness.wait(lambda: ports.is_listening(port), "the query function")
        yield f"http://{ports.HOST}:{port}/graphql"


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
