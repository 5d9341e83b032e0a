"""`progress warm` caches the results of the page's query for the most recently active learners."""

import asyncio
from datetime import UTC, datetime

import redis

from progress.adapters.postgres.database import Connection
from progress.projections import batch
from progress.query import warm as cache_warming
from progress.query.read_models.reader import open_reader
from tests.conftest import Store
from tests.support import api, cache_instances, cli, sample_events


def cache_result(query_api: api.Api, user: str) -> str:
    """Send the page's query; return HIT or MISS."""
    query = cache_warming.page_query(datetime.now(UTC))
    answer = query_api.post(query.query, user, **(query.variables or {}))
    assert "errors" not in answer, answer["errors"]
    result: str = answer["extensions"]["cache"]
    return result


def warm(store: Store, url: str, *options: str) -> str:
    answer = cli.progress(store.url, "warm", *options, REDIS_URL=url)
    return cli.expect_success(answer)


def test_the_page_s_query_is_a_cache_hit_after_warming(
    store: Store, connection: Connection, redis_with_notifications: str
) -> None:
    sample_events.record_lessons(connection, "ann", "ben", "cyd")
    batch.run(connection)
    redis.Redis.from_url(redis_with_notifications).set("left", "over")
    assert "2 learners are cached; 0 of them were cached before" in warm(
        store, redis_with_notifications, "--afresh", "--learners", "2"
    )
    assert redis.Redis.from_url(redis_with_notifications).get("left") is None
    with api.serve(store.url, redis_url=redis_with_notifications) as query_api:
        assert sorted(cache_result(query_api, user) for user in ("ann", "ben", "cyd")) == [
            "HIT", "HIT", "MISS"
        ]  # fmt: skip
        assert "of 3 learners are cached" in warm(store, redis_with_notifications)
        assert "3 learners are cached; 3 of them were cached before" in warm(
            store, redis_with_notifications
        )
        assert {cache_result(query_api, user) for user in ("ann", "ben", "cyd")} == {"HIT"}


def test_warming_waits_while_redis_is_busy(store: Store, connection: Connection) -> None:
    sample_events.record_lessons(connection, "ann")
    batch.run(connection)

    async def warmed() -> tuple[int, int]:
        async with open_reader(store.url) as reader:
            await reader.fetch("query/warm", "list_learners", first=1)
            own.stop()
            warming_it = asyncio.create_task(
                cache_warming.warm(own.url, reader, 1, lambda _, __: None)
            )
            await asyncio.wait({warming_it}, timeout=0.5)
            own.go_on()
            return await warming_it

    with cache_instances.own_valkey() as own:
        assert asyncio.run(warmed()) == (1, 0)


def test_the_warmed_document_equals_the_page_s_document() -> None:
    query = cache_warming.page_query(datetime(2026, 12, 31, 9, 59, tzinfo=UTC))
    assert "${" not in query.query
    assert "progress: userProgress(userId: $user) { totalItemsLearned" in query.query
    assert query.variables == {"user": None, "from": "2025-01-01", "to": "2026-12-31"}
    next_year = cache_warming.page_query(datetime(2026, 12, 31, 10, tzinfo=UTC)).variables or {}
    assert next_year["to"] == "2027-12-31"


def test_the_error_names_the_setting_if_redis_is_missing_or_unreachable(store: Store) -> None:
    cli.expect_failure(cli.progress(store.url, "warm"), "REDIS_URL is not set")
    away = {"REDIS_URL": "redis://127.0.0.1:9/0"}
    for options in ((), ("--afresh",)):
        cli.expect_failure(cli.progress(store.url, "warm", *options, **away), "REDIS_URL")
