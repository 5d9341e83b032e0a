"""The TTLs and the expiry of cached results, and requests that bypass the cache."""

from datetime import UTC, datetime, timedelta

import redis

from progress.adapters.postgres.database import Connection
from progress.adapters.redis import version_keys
from progress.projections import schema
from progress.projections.projector import Projector
from tests.conftest import Store
from tests.query.cache.test_cache import both
from tests.support import cache_instances, sample_events
from tests.support.cache_instances import NOW, Instance
from tests.support.stage import append, publisher

__all__ = ["both"]


def test_results_expire_at_the_end_of_the_local_day_and_estimates_at_the_end_of_the_hour(
    store: Store, populated: Connection, redis_with_notifications: str
) -> None:
    zone = {"user_id": "ann", "timezone": "Asia/Tokyo", "day_start_hour": 4}
    append(
        populated, [sample_events.envelope("UserPreferencesChanged", zone, at=sample_events.BEGIN)]
    )
    Projector(populated, publisher=publisher()).catch_up_all()
    # the last second of the day, which ends at 4:00 in Tokyo
    last = datetime(2024, 4, 5, 18, 59, 59, tzinfo=UTC)
    with cache_instances.instances(store, redis_with_notifications, 1) as (instance,):
        for at in (last, last + timedelta(seconds=1), last + timedelta(days=1)):
            keys = cache_instances.all_keys("ann")
            assert instance.get(*keys, at=at) == instance.read(*keys, at=at)
            instance.computations = 0
            assert instance.get(*keys, at=at) == instance.read(*keys, at=at)
            assert instance.computations == 0
        instance.get(*keys, at=last + timedelta(days=1, seconds=1))
        assert instance.computations == sum(key.policy.clock or key.is_hourly for key in keys)
        instance.computations = 0
        instance.get(*keys, at=last + timedelta(days=1, hours=1, seconds=1))
        assert instance.computations == sum(key.is_hourly for key in keys) == 2


def test_a_request_that_bypasses_the_cache_computes_all_results_and_replaces_the_entries(
    both: list[Instance], redis_with_notifications: str
) -> None:
    keys = cache_instances.all_keys("ann")
    server = redis.Redis.from_url(redis_with_notifications)
    entries = {
        key for key in server.scan_iter() if key.startswith((b"query:", b"stats:", b"summary:"))
    }
    server.delete(*entries)
    both[0].get(*keys)
    both[0].computations = 0
    both[0].get(*keys, bypass=True)
    assert both[0].computations == len(keys)
    both[1].get(*keys)
    assert both[1].computations == 0
    server.delete(*entries)
    both[0].get(*keys, bypass=True)
    both[1].get(*keys)
    assert both[1].computations == 0


def test_each_key_has_the_ttl_of_its_field(
    both: list[Instance], redis_with_notifications: str
) -> None:
    server = redis.Redis.from_url(redis_with_notifications)
    minutes = {}
    for key in server.scan_iter():
        name = key.decode().partition(":ann")[0]
        minutes[name] = round(server.ttl(key) / 60)
    for name in ("catalogue", "batch", "learner"):
        del minutes[version_keys.shared_key(schema.schema_name(), name)]
    expected = {
        "summary": 10,
        "query:streak": 5,
        "query:dueForecast": 10,
        "query:itemStats": 10,
        "query:item": 30,
        "query:domainStats": 60,
        "query:levelStats": 60,
        "query:hourlyStats": 15,
        "query:workload": 10,
        "query:itemHistory": 15,
        "query:restDays": 15,
        "query:goal": 10,
        "query:retention": 15,
        "query:dailyStats": 15,
        "query:weeklyStats": 60,
        "query:monthlyStats": 30,
    }
    assert {name: ttl for name, ttl in minutes.items() if name in expected} == expected


def test_finished_periods_are_cached_for_a_day(
    store: Store, populated: Connection, redis_with_notifications: str
) -> None:
    with cache_instances.instances(store, redis_with_notifications, 1) as (instance,):
        instance.get(*cache_instances.all_keys("ann"), at=NOW + timedelta(days=90))
    server = redis.Redis.from_url(redis_with_notifications)
    for kind, day in (
        *(("daily", "2024-04-30"), ("weekly", "2024-05-06"), ("monthly", "2024-05-30")),
        ("retention", "2024-05-30"),
    ):
        assert server.ttl(f"stats:{kind}:{day}:ann") > 24 * 3600 - 60
