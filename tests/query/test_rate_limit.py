"""The rate limit per caller, across all instances, and as a client of the API sees it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import redis
from starlette.responses import Response

from progress.errors import RateLimited
from tests.support import api, cache_instances
from tests.support.api import Api
from tests.support.cache_instances import Instance

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


NOON = datetime(2024, 4, 4, 12, 0, 10, tzinfo=UTC)


def count_allowed(instances: list[Instance], caller: str, at: datetime, maximum: int = 20) -> int:
    """Send requests to the instances in turn; return how many were allowed."""
    for number in range(maximum):
        instance = instances[number % len(instances)]
        try:
            instance.run(instance.cache.lookup(caller, (), at=at))
        except RateLimited:
            return number
    return maximum


@pytest.fixture
def both(redis_with_notifications: str) -> Iterator[list[Instance]]:
    instances = [
        Instance("postgresql://nobody", redis_with_notifications, per_minute=5) for _ in range(2)
    ]
    yield instances
    for instance in instances:
        instance.close()


def test_a_rejection_says_when_to_retry(both: list[Instance]) -> None:
    count_allowed(both, "ann", NOON)
    with pytest.raises(RateLimited, match="at most 5 requests a minute: wait 50 s") as rejection:
        both[0].run(both[0].limiter.count("ann", NOON))
    assert rejection.value.seconds == 50


def test_instances_share_a_count_that_starts_at_zero_each_minute(both: list[Instance]) -> None:
    assert count_allowed(both, "ann", NOON) == 5
    assert count_allowed(both, "ann", NOON + timedelta(seconds=49)) == 0
    assert count_allowed(both, "ben", NOON) == 5
    assert count_allowed(both, "ann", NOON + timedelta(seconds=50)) == 5


def test_counts_expire(both: list[Instance], redis_with_notifications: str) -> None:
    count_allowed(both, "ann", NOON)
    server = redis.Redis.from_url(redis_with_notifications)
    (key,) = server.keys("rate:ann:*")
    assert 60 <= server.ttl(key) <= 120


@pytest.mark.parametrize("is_hanging", [True, False])
def test_each_instance_counts_requests_separately_if_redis_is_unavailable(is_hanging: bool) -> None:
    with cache_instances.own_valkey() as own:
        instance = Instance(
            "postgresql://nobody", own.url if is_hanging else None, per_minute=5, timeout_s=0.1
        )
        own.stop()
        assert count_allowed([instance], "ann", NOON) == 5
        assert count_allowed([instance], "ben", NOON) == 5
        assert count_allowed([instance], "ann", NOON + timedelta(minutes=1)) == 5
        instance.close()
