"""The rate limit per caller, as a client of the API sees it."""

from collections.abc import Iterator

import pytest
from starlette.responses import Response

from tests.support import api
from tests.support.api import Api

ORIGIN = "https://app.example.com"
BODY = b'{"query": "{ __typename }"}'


@pytest.fixture(params=["in Redis", "in the instance", "with a dead Redis"])
def limited(request: pytest.FixtureRequest, valkey: str) -> Iterator[Api]:
    """An API with a limit of three requests per minute for each caller."""
    url = {"in Redis": valkey, "with a dead Redis": "redis://127.0.0.1:1"}.get(request.param)
    with api.serve(
        api.NOWHERE, rate_limit_per_minute=3, redis_url=url, cors_origins=ORIGIN
    ) as made:
        yield made


def send(query_api: Api, user: str, body: bytes = BODY, **more: str) -> Response:
    return query_api.request("POST", "/graphql", body, api.headers(user, origin=ORIGIN, **more))


def exceed_limit(query_api: Api, user: str, body: bytes = BODY, **more: str) -> Response:
    """Send requests until one is rejected.

    A few requests beyond the limit may succeed, because each minute starts a new count. If Redis
    replies late, the instance also starts a count of its own.
    """
    for number in range(14):
        response = send(query_api, user, body, **more)
        if response.status_code == 429:
            assert number >= 3
            return response
    pytest.fail("no request was rejected")


@pytest.mark.parametrize("accept", ["application/json", "application/graphql-response+json"])
def test_a_request_beyond_the_rate_limit_gets_a_retry_after_header(
    limited: Api, accept: str
) -> None:
    user = f"{accept} {id(limited)}"
    refused = exceed_limit(limited, user, accept=accept)
    assert refused.headers["content-type"].startswith(accept)
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert "no-store" in refused.headers["cache-control"]
    assert refused.headers["access-control-allow-origin"] == ORIGIN
    (fault,) = api.read(refused)["errors"]
    assert fault["extensions"]["code"] == "RATE_LIMITED"
    assert send(limited, user + " another").status_code == 200


def test_get_requests_count_against_the_rate_limit_like_post_requests(limited: Api) -> None:
    for _ in range(14):
        got = limited.request("GET", "/graphql?query={__typename}", b"", api.headers("ann"))
        if got.status_code == 429:
            assert 1 <= int(got.headers["retry-after"]) <= 60
            return
    pytest.fail("no request was rejected")


@pytest.mark.parametrize("query", ["{", "{ nothing }", "query ($n: Int!) { __typename }"])
def test_rejected_requests_also_count_against_the_rate_limit(limited: Api, query: str) -> None:
    user = f"{query} {id(limited)}"
    body = b'{"query": "%s"}' % query.encode()
    exceed_limit(limited, user, body)
