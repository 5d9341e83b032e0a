"""The rate limit: so many requests of a caller in a minute, over all instances."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import redis

from progress.errors import RateLimited
from tests.support import cache_instances
from tests.support.cache_instances import Instance

NOON = datetime(2024, 4, 4, 12, 0, 10, tzinfo=UTC)


def taken(instances: list[Instance], caller: str, at: datetime, at_most: int = 20) -> int:
    """How many requests, of one instance and the next in turn, were taken."""
    for number in range(at_most):
        instance = instances[number % len(instances)]
        try:
            instance.run(instance.cache.ask(caller, (), at=at))
        except RateLimited:
            return number
    return at_most


@pytest.fixture
def both(redis_with_notifications: str) -> Iterator[list[Instance]]:
    made = [
        Instance("postgresql://nobody", redis_with_notifications, per_minute=5) for _ in range(2)
    ]
    yield made
    for each in made:
        each.close()


def test_who_is_refused_hears_for_how_long(both: list[Instance]) -> None:
    taken(both, "ann", NOON)
    with pytest.raises(RateLimited, match="at most 5 requests a minute: wait 50 s") as refused:
        both[0].run(both[0].cache.ask("ann", (), at=NOON))
    assert refused.value.seconds == 50


def test_instances_count_together_each_minute_anew(both: list[Instance]) -> None:
    assert taken(both, "ann", NOON) == 5
    assert taken(both, "ann", NOON + timedelta(seconds=49)) == 0
    assert taken(both, "ben", NOON) == 5
    assert taken(both, "ann", NOON + timedelta(seconds=50)) == 5


def test_what_was_counted_is_forgotten(both: list[Instance], redis_with_notifications: str) -> None:
    taken(both, "ann", NOON)
    server = redis.Redis.from_url(redis_with_notifications)
    (key,) = server.keys("rate:ann:*")
    assert 60 <= server.ttl(key) <= 120


@pytest.mark.parametrize("is_hanging", [True, False])
def test_without_redis_the_instance_counts(is_hanging: bool) -> None:
    with cache_instances.valkey_of_its_own() as own:
        one = Instance(
            "postgresql://nobody", own.url if is_hanging else None, per_minute=5, timeout_s=0.1
        )
        own.stop()
        assert taken([one], "ann", NOON) == 5
        assert taken([one], "ben", NOON) == 5
        assert taken([one], "ann", NOON + timedelta(minutes=1)) == 5
        one.close()
