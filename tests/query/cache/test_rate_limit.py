"""The rate limit counts a caller's requests per minute across all instances."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import redis

from progress.errors import RateLimited
from tests.support import cache_instances
from tests.support.cache_instances import Instance

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
