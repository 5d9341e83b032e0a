"""Clients get hits from the cache, and never an outdated response, whatever happens to Redis."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import redis

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import NumberedStatement
from progress.adapters.redis import async_client
from progress.errors import RateLimited
from progress.projections import batch, rebuild
from progress.projections.projector import Projector
from progress.query.http import app
from progress.query.read_models.reader import Parameters, Reader
from tests.conftest import Store
from tests.support import api, cache_instances, sample_events
from tests.support.api import Api, Body
from tests.support.cache_instances import NOW, Instance
from tests.support.stage import append, publisher

# The query selects most of the cached fields. It selects userProgress twice: once with an alias,
# once with a fragment.
EVERYTHING = """
query Everything($from: Date!, $to: Date!) {
  me: userProgress { totalItemsLearned currentStreak masteryStats { unlearned learning } }
  userProgress { ...Standing }
  dailyStats(from: $from, to: $to) { date answers correctAnswers accuracyRate }
  weeklyStats(from: $from, to: $to) { start activeDays itemsReviewed }
  monthlyStats(from: $from, to: $to) { start activeDays answers }
  itemStats(first: 10, orderBy: ACCURACY) {
    totalCount edges { node { itemId headword level domains mastery } }
  }
  item(itemId: "i0") { headword level answers }
  domainStats { domain itemsStudied catalogueItems progressRate }
  levelStats { level itemsStudied catalogueItems }
  streak { current longest lastStudyDate }
  dueForecast(days: 3) { date items }
}
fragment Standing on UserProgress { totalSessionsCompleted accuracyRate lastUpdated }
"""
NO_CACHE = {"cache-control": "no-cache"}
RANGE = {"from": "2024-03-25", "to": "2024-05-05"}


@pytest.fixture
def both(store: Store, populated: Connection, redis_with_notifications: str) -> Iterator[list[Api]]:
    """Serve two instances."""
    with ExitStack() as stack:
        options = {"redis_url": redis_with_notifications, "rate_limit_per_minute": 1_000}
        yield [stack.enter_context(api.serve(store.url, **options)) for _ in range(2)]


def ask(instance: Api, **headers: str) -> Body:
    """Send the query EVERYTHING; return the whole response body."""
    body = msgspec.json.encode({"query": EVERYTHING, "variables": RANGE})
    response = instance.request("POST", "/graphql", body, api.headers("ann", **headers))
    answer = api.read(response)
    assert "errors" not in answer, answer["errors"]
    return answer


def cache_result(answer: Body) -> str:
    result: str = answer["extensions"]["cache"]
    return result


def test_a_repeated_request_is_a_cache_hit_in_every_instance(both: list[Api]) -> None:
    first = ask(both[0])
    assert cache_result(first) == "MISS"
    for instance in both:
        again = ask(instance)
        assert (cache_result(again), again["data"]) == ("HIT", first["data"])
    bypassing = ask(both[1], **NO_CACHE)
    assert (cache_result(bypassing), bypassing["data"]) == ("MISS", first["data"])


def test_uncached_fields_are_computed_even_if_the_cached_fields_are_hits(
    both: list[Api], populated: Connection
) -> None:
    query = "{ streak { longest } projectionStatus { name eventsBehind } }"
    first, again = both[0].post(query), both[0].post(query)
    assert (cache_result(first), cache_result(again)) == ("MISS", "HIT")
    append(populated, sample_events.lesson("ben", 4))
    later = both[0].post(query)
    assert (cache_result(later), later["data"]["streak"]) == ("HIT", first["data"]["streak"])
    assert later["data"]["projectionStatus"] != again["data"]["projectionStatus"]
    assert cache_result(both[0].post("{ projectionStatus { name } }")) == "MISS"


def study(populated: Connection) -> None:
    append(populated, sample_events.lesson("ann", 4))
    Projector(populated, publisher=publisher()).catch_up_all()


def describe(populated: Connection) -> None:
    later = sample_events.BEGIN + timedelta(days=9)
    append(
        populated,
        [sample_events.item_published("new"), sample_events.item_published("i0", "B2", at=later)],
    )
    Projector(populated, publisher=publisher()).catch_up_all()


def run_batch(populated: Connection) -> None:
    describe(populated)
    batch.run(populated, publisher=publisher())


def delete(populated: Connection) -> None:
    gone = sample_events.envelope("UserDeleted", {"user_id": "ann"}, at=datetime.now(UTC))
    append(populated, [gone])
    Projector(populated, publisher=publisher()).catch_up_all()


@pytest.mark.parametrize("change", [study, describe, run_batch, delete])
def test_the_first_response_after_a_change_reflects_the_change(
    both: list[Api], populated: Connection, change: Callable[[Connection], None]
) -> None:
    before = [ask(instance)["data"] for instance in both]
    change(populated)
    after = [ask(instance)["data"] for instance in both]
    expected = ask(both[0], **NO_CACHE)["data"]
    assert after == [expected, expected]
    assert before == [before[0], before[0]] != after


def test_the_first_response_after_a_rebuild_reflects_the_rebuild(
    both: list[Api], populated: Connection, store: Store
) -> None:
    right = ask(both[0])["data"]
    populated.run("UPDATE daily_stats SET answers = answers + 1")
    for instance in both:
        assert ask(instance, **NO_CACHE)["data"] != right
    rebuild.run(store.connect, publisher=publisher())
    for instance in both:
        assert ask(instance)["data"] == right


def test_a_response_includes_the_position_of_the_projections(
    both: list[Api], populated: Connection
) -> None:
    (head,) = populated.run("SELECT max(global_position)::text, max(created_at) FROM events")
    projected_to = ask(both[0])["extensions"]["projectedTo"]
    assert (projected_to["position"], datetime.fromisoformat(projected_to["time"])) == tuple(head)


def test_a_hanging_redis_does_not_change_the_response(store: Store, populated: Connection) -> None:
    with (
        cache_instances.own_valkey() as own,
        api.serve(store.url, redis_url=own.url) as one,
        api.serve(store.url) as without,
    ):
        expected = ask(without)["data"]
        assert ask(one)["data"] == expected
        own.stop()
        for _ in range(3):
            answer = ask(one)
            assert (cache_result(answer), answer["data"]) == ("MISS", expected)


def record_statements(reader: Reader) -> list[str]:
    """Return a list that collects the text of each statement that the reader runs from now on."""
    statements: list[str] = []
    run = reader._run

    async def record(statement: NumberedStatement, parameters: Parameters) -> list[Any]:
        statements.append(statement.text)
        return await run(statement, parameters)

    reader._run = record  # type: ignore[method-assign]
    return statements


def test_a_version_with_a_copy_in_redis_is_not_read_from_the_database(both: list[Api]) -> None:
    one, _ = both
    statements = record_statements(one.reader)

    def check(first_day: str, version_sql: str) -> None:
        query = f'{{ dailyStats(from: "{first_day}", to: "2024-05-05") {{ answers }} }}'
        statements.clear()
        assert cache_result(one.post(query)) == "MISS"
        daily = [text for text in statements if "FROM daily_stats" in text]
        assert [version_sql in text for text in daily] == [True]
        assert cache_result(one.post(query)) == "HIT"

    check("2024-03-25", "SELECT version FROM user_progress")
    check("2024-03-26", "")
    assert not any("SELECT version" in text for text in statements)


@pytest.fixture
def connection(store: Store) -> Iterator[Connection]:
    with cache_instances.populate(store, "ann") as connection:
        yield connection


def check_answers(instance: Instance) -> None:
    """Assert that the instance returns the results of the database."""
    keys = cache_instances.all_keys("ann")
    assert instance.get(*keys) == instance.read(*keys)


def test_only_one_request_waits_for_a_hanging_redis_and_all_requests_succeed(
    store: Store, connection: Connection
) -> None:
    keys, timeout = cache_instances.all_keys("ann"), 0.1
    with (
        cache_instances.own_valkey() as own,
        cache_instances.instances(store, own.url, 1, timeout_s=timeout) as (instance,),
    ):
        instance.get(*keys)
        own.stop()
        began = time.monotonic()
        for _ in range(20):
            lookup = instance.run(instance.cache.lookup("caller", keys, at=NOW))
            assert (lookup.result, set(lookup.answers)) == ("error", {None})
        assert time.monotonic() - began < 10 * timeout
        check_answers(instance)


def test_redis_is_used_again_after_it_restarts_without_data(
    store: Store, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_client, "_BACK_OFF_S", 0)
    with (
        cache_instances.own_valkey() as own,
        cache_instances.instances(store, own.url, 1) as (instance,),
    ):
        check_answers(instance)
        own.end()
        check_answers(instance)
        own.start()
        while instance.run(app.redis_status(instance.redis)) != "ok":
            check_answers(instance)
        check_answers(instance)
        instance.computations = 0
        check_answers(instance)
        assert instance.computations == 0


@pytest.mark.parametrize(
    "malformed", [b"", b"nonsense", b"[1]\n{}", b'["a",0,0,0,0]\n1', b"\xff\n"]
)
def test_a_malformed_entry_is_a_miss(
    store: Store, connection: Connection, redis_with_notifications: str, malformed: bytes
) -> None:
    server = redis.Redis.from_url(redis_with_notifications)
    with cache_instances.instances(store, redis_with_notifications, 1) as (instance,):
        check_answers(instance)
        for key in server.scan_iter():
            if server.type(key) == b"hash":
                for field in server.hkeys(key):
                    server.hset(key, field, malformed)
            else:
                server.set(key, malformed)
        check_answers(instance)


def test_keys_of_an_unexpected_type_are_misses(
    store: Store, connection: Connection, redis_with_notifications: str
) -> None:
    server = redis.Redis.from_url(redis_with_notifications)
    with cache_instances.instances(store, redis_with_notifications, 1) as (instance,):
        check_answers(instance)
        for key in list(server.scan_iter()):
            server.delete(key)
            server.lpush(key, "x")
        check_answers(instance)
        append(connection, sample_events.lesson("ann", 4))
        Projector(connection, publisher=publisher()).catch_up_all()
        check_answers(instance)


def test_results_are_computed_and_requests_are_limited_if_redis_is_full(
    store: Store, connection: Connection
) -> None:
    with cache_instances.own_valkey("--maxmemory", "1") as own:
        instance = Instance(store.url, own.url, per_minute=3)
        for _ in range(3):
            check_answers(instance)
        with pytest.raises(RateLimited):
            check_answers(instance)
        instance.close()


def test_the_redis_hash_of_a_learner_has_at_most_a_hundred_fields(
    store: Store, connection: Connection, redis_with_notifications: str
) -> None:
    key = cache_instances.all_keys("ann")[0]
    with cache_instances.instances(store, redis_with_notifications, 1) as (instance,):
        for number in range(250):
            instance.get(msgspec.structs.replace(key, params=f"{number}"))
    assert 0 < redis.Redis.from_url(redis_with_notifications).hlen("summary:ann") <= 100
