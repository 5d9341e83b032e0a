"""Cached results are up to date after each change, shared, right while Redis fails, and warmed."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from progress.adapters import request_scope
from progress.adapters.postgres.database import Connection
from progress.errors import RateLimited
from progress.event_store import dead_letters
from progress.projections import batch, rebuild, replay
from progress.projections.projector import SHARDS, Projector
from progress.query import warm as cache_warming
from progress.query.cache import keys as cache_keys
from progress.query.cache.keys import cache_key
from progress.query.graphql.schema import FIELDS
from progress.query.read_models.reader import open_reader
from tests.conftest import Store
from tests.support import api, cache_instances, cli, model_rows, sample_events
from tests.support.api import Api, Body
from tests.support.cache_instances import NOW, Instance, fold
from tests.support.stage import append, connect

ANN, BEN = (cache_instances.all_keys(user) for user in ("ann", "ben"))
NAMES = {key.name for key in ANN}
OF_BATCH = {key.name for key in ANN if key.policy.batch}
OF_CATALOGUE = {key.name for key in ANN if key.policy.catalogue}
LESSON = sample_events.lesson("ann", 4)
NEW_ITEM = sample_events.item_published("new")

# One field twice: once with an alias, once with a fragment.
SEVERAL = """
query Several($from: Date!, $to: Date!) {
  me: userProgress { totalItemsLearned currentStreak masteryStats { unlearned learning } }
  userProgress { ...Standing }
  dailyStats(from: $from, to: $to) { date answers correctAnswers accuracyRate }
  itemStats(first: 10, orderBy: ACCURACY) { totalCount edges { node { itemId headword } } }
}
fragment Standing on UserProgress { totalSessionsCompleted accuracyRate lastUpdated }
"""
DAYS = 'dailyStats(from: "2024-03-25", to: "2024-05-05") { answers }'
NO_CACHE = {"cache-control": "no-cache"}
RANGE = {"from": "2024-03-25", "to": "2024-05-05"}


@pytest.fixture
def populated(store: Store) -> Iterator[Connection]:
    """A connection to a store with folded events of ann and ben."""
    with cache_instances.populate(store, "ann", "ben") as connection:
        batch.fold(connection, list(SHARDS))
        yield connection


@pytest.fixture
def server(patient_redis: str) -> "redis.Redis":
    return redis.Redis.from_url(patient_redis)


@pytest.fixture
def apis(store: Store, populated: Connection, patient_redis: str) -> Iterator[list[Api]]:
    with ExitStack() as stack:
        options = {"redis_url": patient_redis, "rate_limit_per_minute": 1_000}
        yield [stack.enter_context(api.serve(store.url, **options)) for _ in range(2)]


@pytest.fixture
def both(store: Store, populated: Connection, patient_redis: str) -> Iterator[list[Instance]]:
    """Two instances that have cached every result about ann."""
    with cache_instances.instances(store, patient_redis) as instances:
        for instance in instances:
            instance.get(*ANN)
            instance.computations = 0
        yield instances


def ask(instance: Api, **headers: str) -> Body:
    body = msgspec.json.encode({"query": SEVERAL, "variables": RANGE})
    response = instance.request("POST", "/graphql", body, api.headers("ann", **headers))
    answer = api.read(response)
    assert "errors" not in answer, answer["errors"]
    return answer


def cache_result(answer: Body) -> str:
    result: str = answer["extensions"]["cache"]
    return result


def test_a_repeated_request_is_a_cache_hit_in_every_instance(apis: list[Api]) -> None:
    first = ask(apis[0])
    assert cache_result(first) == "MISS"
    for instance in apis:
        again = ask(instance)
        assert (cache_result(again), again["data"]) == ("HIT", first["data"])
    bypassing = ask(apis[1], **NO_CACHE)
    assert (cache_result(bypassing), bypassing["data"]) == ("MISS", first["data"])


def test_uncached_fields_are_computed_even_if_the_cached_fields_are_hits(
    apis: list[Api], populated: Connection
) -> None:
    query = "{ streak { longest } projectionStatus { name eventsBehind } }"
    first, again = apis[0].post(query), apis[0].post(query)
    assert (cache_result(first), cache_result(again)) == ("MISS", "HIT")
    append(populated, sample_events.lesson("ben", 4))
    later = apis[0].post(query)
    assert (cache_result(later), later["data"]["streak"]) == ("HIT", first["data"]["streak"])
    assert later["data"]["projectionStatus"] != again["data"]["projectionStatus"]
    assert cache_result(apis[0].post("{ projectionStatus { name } }")) == "MISS"


def study(connection: Connection, _: Store) -> None:
    fold(connection, *LESSON, *sample_events.further_study("ann"))


def describe(connection: Connection, _: Store) -> None:
    changed = sample_events.item_published("i0", "B2", language="de", at=NOW)
    changed["data"]["headword"] = "Wort"
    archived = sample_events.envelope("ItemArchived", {"item_id": "q0"}, at=NOW)
    fold(connection, NEW_ITEM, changed, archived)


def delete(connection: Connection, _: Store) -> None:
    fold(connection, sample_events.envelope("UserDeleted", {"user_id": "ann"}, at=NOW))


def run_batch(connection: Connection, _: Store) -> None:
    assert batch.run(connection).learners == 2


def damage(connection: Connection, _: Store) -> None:
    connection.run(
        "UPDATE daily_stats SET answers = answers + 1, timed_answers = timed_answers + 1"
    )


def rebuild_all(_: Connection, store: Store) -> None:
    rebuild.run(store.connect)


def prepare_batch(connection: Connection, store: Store) -> None:
    study(connection, store)
    fold(connection, sample_events.item_published("i1", "C1", at=NOW))


def prepare_deletion(connection: Connection, store: Store) -> None:
    study(connection, store)
    batch.run(connection)


Change = Callable[[Connection, Store], None]
# What happens before the results are cached, the change, and the fields that it changes.
CHANGES: dict[str, tuple[Change | None, Change, set[str]]] = {
    "new events": (None, study, NAMES - OF_BATCH),
    "new items": (study, describe, OF_CATALOGUE),
    "a batch run": (prepare_batch, run_batch, OF_BATCH),
    "a deletion": (prepare_deletion, delete, NAMES),
    "a rebuild": (damage, rebuild_all, {"dailyStats", "monthlyStats", "streakDays", "workload"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_changes_only_the_results_of_its_fields(
    both: list[Instance], populated: Connection, store: Store, name: str
) -> None:
    prepare, change, fields = CHANGES[name]
    if prepare:
        prepare(populated, store)
    for instance in both:
        instance.get(*ANN, bypass=True)
    before = both[0].read(*ANN)
    change(populated, store)
    found = find_changes(both, before)
    assert not (same := fields - found), (
        f"{name}: {same} stay the same. Add events to sample_events.further_study until they do"
        " not, or tell in the field's CachePolicy that only the batch job changes it."
    )
    assert found - fields <= (OF_BATCH if change is study else set()), "some also change by events"


@pytest.mark.parametrize("is_batch", [True, False], ids=["a batch run", "events of ben"])
def test_a_change_that_does_not_concern_a_learner_does_not_invalidate_results(
    both: list[Instance], populated: Connection, is_batch: bool
) -> None:
    if is_batch:
        batch.run(populated)
    else:
        fold(populated, *sample_events.lesson("ben", 4))
    both[0].get(*ANN)
    assert both[0].computations == 0


def test_a_response_includes_the_position_of_the_projections(
    apis: list[Api], populated: Connection
) -> None:
    (head,) = populated.run("SELECT max(global_position)::text, max(created_at) FROM events")
    projected_to = ask(apis[0])["extensions"]["projectedTo"]
    assert (projected_to["position"], datetime.fromisoformat(projected_to["time"])) == tuple(head)


@pytest.mark.usefixtures("populated")
def test_a_caller_who_was_rejected_costs_no_statement_in_this_minute(
    store: Store, patient_redis: str
) -> None:
    with cache_instances.instances(store, patient_redis, 1, per_minute=1) as (one,):
        one.get(*ANN)
        for _ in range(2):
            begun = len(one.statements)
            with pytest.raises(RateLimited):
                one.get(*ANN)
        assert len(one.statements) == begun
        one.get(*ANN, at=NOW + timedelta(minutes=1))
        assert len(one.statements) > begun


def test_nothing_is_answered_if_the_versions_cannot_be_read(
    apis: list[Api], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = f"{{ {DAYS} }}"
    assert [cache_result(apis[0].post(query)) for _ in range(2)] == ["MISS", "HIT"]
    with closing(connect(store.url)) as locking, monkeypatch.context() as patch:
        patch.setattr(request_scope, "TIMEOUT_S", 0.3)
        locking.run("BEGIN")
        locking.run("LOCK TABLE user_progress IN ACCESS EXCLUSIVE MODE")
        assert apis[0].error(query)[0] == "UNAVAILABLE"
    assert cache_result(apis[0].post(query)) == "HIT"


def find_changes(instances: list[Instance], before: list[bytes], user: str = "ann") -> set[str]:
    """Assert that no instance returns old results; return the fields that differ from `before`."""
    keys = cache_instances.all_keys(user)
    expected = instances[0].read(*keys)
    for instance in instances:
        assert instance.get(*keys) == expected
    return {key.name for key, old, new in zip(keys, before, expected, strict=True) if old != new}


def test_the_first_result_after_a_replay_reflects_the_replayed_event(
    populated: Connection, store: Store, patient_redis: str
) -> None:
    append(populated, [event for n in range(4) for event in sample_events.lesson("cat", n)])
    sample_events.poison(populated, "cat")
    Projector(populated).catch_up_all()
    with cache_instances.instances(store, patient_redis) as both:
        for instance in both:
            instance.get(*cache_instances.all_keys("cat"))
        before = both[0].read(*cache_instances.all_keys("cat"))
        model_rows.read_value(populated, "mend")
        (letter,) = dead_letters.list_letters(populated)
        assert replay.replay(populated, letter.letter_id) is None
        assert {"userProgress", "dailyStats", "itemStats"} <= find_changes(both, before, "cat")


def test_an_entry_copied_to_another_learner_s_key_is_not_used(
    both: list[Instance], populated: Connection, patient_redis: str
) -> None:
    """A proxy that mixes up replies could return such an entry; somebody could also copy one."""
    fold(populated, *sample_events.lesson("ben", 4))
    both[0].get(*BEN)
    expected = both[0].read(*ANN)
    server = redis.Redis.from_url(patient_redis, decode_responses=True)
    model_rows.read_value(populated, "same version", user="ann", other="ben")
    for key in ANN:
        for entry in map(str, server.scan_iter(f"query:{key.name}:ben:*")):
            server.copy(entry, f"query:{key.name}:ann:{key.params}", replace=True)
    assert both[0].get(*ANN) == expected


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        *(("itemStats", {"filter": "DUE"}), ("events", {})),
        *(("itemStats", {"list": "l1"}), ("itemStats", {"list": "l1", "asOf": "2024-04-01"})),
        *(("lists", {}), ("list", {"listId": "l1"}), ("scales", {}), ("tasks", {})),
        *(("projectionStatus", {}), ("operations", {}), ("itemDifficulty", {})),
        *(("group", {"groupId": "g1"}), ("learners", {"groupId": "g1"})),
    ],
)
def test_fields_that_are_not_cached_have_no_key(name: str, arguments: dict[str, object]) -> None:
    assert cache_key(FIELDS[name].cache, name, "ann", arguments, "") is None


PAST = """query ($asOf: DateTime, $knownAt: DateTime) {
  streak(asOf: $asOf, knownAt: $knownAt) { current }
  userProgress(asOf: $asOf, knownAt: $knownAt) { lastUpdated masteryStats { unlearned } }
  itemStats(first: 5, filter: DUE, asOf: $asOf, knownAt: $knownAt) { totalCount }
  levelStats(asOf: $asOf, knownAt: $knownAt) { level catalogueItems }
}"""


@pytest.mark.parametrize("argument", ["asOf", "knownAt"])
def test_results_about_the_past_are_cached_until_the_learner_or_the_catalogue_changes(
    apis: list[Api], populated: Connection, argument: str
) -> None:
    moment = {argument: "2100-01-01T00:00:00Z"}
    first, again = (instance.post(PAST, **moment) for instance in apis)
    assert (cache_result(first), cache_result(again)) == ("MISS", "HIT")
    assert again["data"] == first["data"]
    assert cache_result(apis[0].post(PAST, **{argument: "2100-01-01T00:00:01Z"})) == "MISS"
    batch.run(populated)  # changes nothing
    assert cache_result(apis[0].post(PAST, **moment)) == "HIT"
    fold(populated, NEW_ITEM)
    described = apis[0].post(PAST, **moment)
    assert described["data"]["userProgress"]["masteryStats"]["unlearned"] == (
        first["data"]["userProgress"]["masteryStats"]["unlearned"] + 1
    )
    assert described["data"]["levelStats"] != first["data"]["levelStats"]
    fold(populated, *LESSON)
    studied = apis[1].post(PAST, **moment)
    assert studied["data"]["userProgress"] != described["data"]["userProgress"]
    assert cache_result(apis[0].post(PAST, **moment)) == "HIT"


def test_results_that_depend_on_the_date_expire_at_the_end_of_the_local_day(
    store: Store, populated: Connection, patient_redis: str
) -> None:
    zone = {"user_id": "ann", "timezone": "Asia/Tokyo", "day_start_hour": 4}
    fold(populated, sample_events.envelope("UserPreferencesChanged", zone, at=sample_events.BEGIN))
    # The last minute of the day, which ends at 4:00 in Tokyo. Redis keeps the results that long.
    last = datetime(2024, 4, 5, 18, 59, tzinfo=UTC)
    with cache_instances.instances(store, patient_redis, 1) as (instance,):
        # At the end, a clock that was ahead is set back.
        for at in (last, last + timedelta(minutes=1), last + timedelta(days=1), last):
            assert instance.get(*ANN, at=at) == instance.read(*ANN, at=at)
            instance.computations = 0
            assert instance.get(*ANN, at=at) == instance.read(*ANN, at=at)
            assert instance.computations == 0
        instance.get(*ANN, at=last + timedelta(days=1, minutes=1))
        assert instance.computations == sum(key.policy.clock for key in ANN)


def test_a_request_that_bypasses_the_cache_computes_all_results_and_replaces_the_entries(
    both: list[Instance], server: "redis.Redis"
) -> None:
    entries = {
        key for key in server.scan_iter() if key.startswith((b"query:", b"stats:", b"summary:"))
    }
    server.delete(*entries)
    both[0].get(*ANN)
    both[0].computations = 0
    both[0].get(*ANN, bypass=True)
    assert both[0].computations == len(ANN)
    both[1].get(*ANN)
    assert both[1].computations == 0
    server.delete(*entries)
    both[0].get(*ANN, bypass=True)
    both[1].get(*ANN)
    assert both[1].computations == 0


def test_each_key_has_the_ttl_of_its_field(both: list[Instance], server: "redis.Redis") -> None:
    """Results that depend on the local date may end earlier, with the day."""
    for key in ANN:
        location = cache_keys.locate(key, NOW)
        if location.key.startswith("stats:"):
            continue  # a finished period
        minutes = server.ttl(location.key) / 60
        assert 0 < minutes <= key.policy.minutes, key.name
        assert key.policy.clock or minutes > key.policy.minutes - 2, key.name


def test_finished_periods_are_cached_for_a_day(both: list[Instance], server: "redis.Redis") -> None:
    both[0].get(*ANN, at=NOW + timedelta(days=90))
    for kind, day in (
        *(("daily", "2024-04-30"), ("weekly", "2024-05-06"), ("monthly", "2024-05-30")),
        ("retention", "2024-05-30"),
    ):
        assert server.ttl(f"stats:{kind}:{day}:ann") > 24 * 3600 - 60


def test_all_events_up_to_the_position_are_projected_and_the_next_event_is_not(
    store: Store, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("progress.query.cache.versions.MAX_AGE_S", 0)
    with cache_instances.instances(store, None, 1) as (alone,):

        def read_position() -> int:
            projected_to = alone.run(alone.cache.versions.projected_to())
            assert projected_to is not None
            return projected_to.position

        assert read_position() == 0
        sample_events.record_lessons(connection, "ann", "ben", "cat", "dan")
        projector = Projector(connection)
        head = model_rows.read_value(connection, "head")
        while waiting := projector.find_shards_behind():
            reached = read_position()
            assert model_rows.read_value(connection, "unfolded up to", position=reached) == 0
            assert model_rows.read_value(connection, "unfolded up to", position=reached + 1) == 1
            projector.fold_window(waiting[0], 3)
        assert read_position() == head


_numbers = itertools.count()

ACTIONS = ("study", "study", "describe", "move", "run", "run", "evict", "nothing")


class Learner:
    def __init__(self, connection: Connection, server: "redis.Redis") -> None:
        self.name = f"learner {next(_numbers)}"
        self._connection, self._server = connection, server
        self._numbers = itertools.count()

    def study(self) -> None:
        fold(self._connection, *sample_events.lesson(self.name, next(self._numbers)))

    def describe(self) -> None:
        number = next(self._numbers)
        level = ("A1", "B2", "C1")[number % 3]
        at = NOW + timedelta(days=number)
        fold(self._connection, sample_events.item_published(f"i{number % 4}", level, at=at))

    def move(self) -> None:
        data = {"user_id": self.name, "timezone": "Pacific/Apia", "day_start_hour": 3}
        at = sample_events.BEGIN + timedelta(days=next(self._numbers))
        fold(self._connection, sample_events.envelope("UserPreferencesChanged", data, at=at))

    def vanish(self) -> None:
        data = {"user_id": self.name}
        fold(self._connection, sample_events.envelope("UserDeleted", data, at=NOW))

    def run(self) -> None:
        batch.run(self._connection)

    def evict(self) -> None:
        """Delete a random key, as Redis does when its memory is full."""
        if key := self._server.randomkey():
            self._server.delete(key)

    def nothing(self) -> None:
        pass


@settings(max_examples=2 * settings().max_examples)
@given(data=st.data())
def test_each_result_equals_the_result_without_a_cache(
    store: Store, connection: Connection, patient_redis: str, data: st.DataObject
) -> None:
    learner = Learner(connection, redis.Redis.from_url(patient_redis))
    keys = cache_instances.all_keys(learner.name)
    actions = st.sampled_from(ACTIONS).map(lambda name: getattr(learner, name))
    subsets = st.lists(st.sampled_from(keys), min_size=1, unique=True)
    with cache_instances.instances(store, patient_redis) as both:
        for _ in range(data.draw(st.integers(3, 10))):
            data.draw(actions)()
            # If `get` computes a result, one action runs before this computation and one after it.
            instance = data.draw(st.sampled_from(both))
            instance.get(*data.draw(subsets), before=data.draw(actions), after=data.draw(actions))
            for instance in both:
                some = data.draw(subsets)
                assert instance.get(*some) == instance.read(*some)
        learner.vanish()
        for instance in both:
            assert instance.get(*keys) == instance.read(*keys)


KEY = next(key for key in ANN if key.name == "dailyStats")


@pytest.fixture
def one(store: Store, populated: Connection, patient_redis: str) -> Iterator[Instance]:
    with cache_instances.instances(store, patient_redis, 1) as (instance,):
        yield instance


async def read(one: Instance) -> bytes:
    return await cache_instances.read(one.queries, KEY, NOW)


@pytest.mark.parametrize("has_redis", [True, False])
def test_a_hundred_concurrent_requests_share_one_statement(
    store: Store, populated: Connection, patient_redis: str, has_redis: bool
) -> None:
    with cache_instances.instances(store, patient_redis if has_redis else None, 1) as (one,):
        slow, everyone = Slow(one), asyncio.Barrier(100)

        async def ask() -> bytes:
            lookup = await one.cache.lookup("caller", [KEY], at=NOW)
            await everyone.wait()  # Redis may be late
            return await one.cache.get_or_compute(lookup, KEY, slow.compute)

        async def hundred() -> set[bytes]:
            slow.end.set()
            return {*await asyncio.gather(*(ask() for _ in range(100)))}

        assert len(one.run(hundred())) == 1
        assert one.computations == 1
        assert len(one.statements) == 1 + has_redis  # the other one reads the versions


class Slow:
    def __init__(self, one: Instance) -> None:
        self._one = one
        self.running, self.end = asyncio.Event(), asyncio.Event()

    async def compute(self) -> bytes:
        self._one.computations += 1
        data = await read(self._one)
        self.running.set()
        await self.end.wait()
        return data

    async def get(self) -> bytes:
        cache = self._one.cache
        lookup = await cache.lookup("caller", [KEY], at=NOW)
        return lookup.entries[0] or await cache.get_or_compute(lookup, KEY, self.compute)


def test_a_request_does_not_share_a_computation_that_began_before_its_versions_were_read(
    one: Instance, populated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = one.cache.versions
    read_versions = versions.read

    async def overtaken() -> None:
        slow, quick = Slow(one), Slow(one)
        asked, may_read = asyncio.Event(), asyncio.Event()

        async def read_later(*arguments: Any) -> Any:
            asked.set()
            await may_read.wait()
            return await read_versions(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(versions, "read", read_later)
            early = asyncio.create_task(quick.get())
            await asked.wait()
        first = asyncio.create_task(slow.get())
        await slow.running.wait()
        fold(populated, *sample_events.lesson("ann", 4))
        for each in (may_read, quick.end):
            each.set()
        expected = await read(one)
        async with asyncio.timeout(60):  # so that a shared computation fails the test
            assert await early == expected
        slow.end.set()
        assert await first != expected

    one.run(overtaken())


def test_a_request_that_bypasses_the_cache_does_not_share_a_computation(one: Instance) -> None:
    async def bypass() -> None:
        slow = Slow(one)
        first = asyncio.create_task(slow.get())
        await slow.running.wait()
        assert await one.get_async(KEY, bypass=True) == [await read(one)]
        assert not first.done()
        slow.end.set()
        await first

    one.run(bypass())


def check_answers(instance: Instance, damage: str = "") -> None:
    assert instance.get(*ANN) == instance.read(*ANN), damage


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    **{
        repr(malformed): lambda _, malformed=malformed: malformed  # type: ignore[misc]
        for malformed in (
            b"",
            b"nonsense",
            b"[1]\n{}",
            b'["a",0,0,0,0]\n1',
            b"\xff\n",
            b"9" * 5_000,
        )
    },
    "cut off": lambda entry: entry[:-1],
    "other data": lambda entry: entry.partition(b"\n")[0] + b"\n[]",
    "one bit": lambda entry: entry[:-1] + bytes([entry[-1] ^ 1]),
}


def test_a_malformed_entry_or_a_key_of_an_unexpected_type_is_a_miss(
    one: Instance, populated: Connection, server: "redis.Redis"
) -> None:
    check_answers(one)
    for name, damage in DAMAGES.items():
        for key in list(server.scan_iter()):
            if server.type(key) == b"hash":
                for field, entry in server.hgetall(key).items():
                    server.hset(key, field, damage(entry))  # type: ignore[arg-type] # nor is this
            elif held := server.get(key):
                server.set(key, damage(held))  # type: ignore[arg-type] # held is not a text
        check_answers(one, name)
    for key in list(server.scan_iter()):
        server.delete(key)
        server.lpush(key, "x")
    check_answers(one)
    fold(populated, *sample_events.lesson("ann", 4))
    check_answers(one)
    one.computations = 0
    check_answers(one)  # the keys have been replaced
    assert one.computations == 0


def test_the_redis_hash_of_a_learner_has_at_most_a_hundred_fields(
    one: Instance, server: "redis.Redis"
) -> None:
    key = ANN[0]
    for number in range(250):
        one.get(msgspec.structs.replace(key, params=f"{number}"))
    assert 0 < server.hlen("summary:ann") <= 100


def page_cache_result(query_api: api.Api, user: str) -> str:
    query = cache_warming.page_query(datetime.now(UTC))
    answer = query_api.post(query.query, user, **(query.variables or {}))
    assert "errors" not in answer, answer["errors"]
    result: str = answer["extensions"]["cache"]
    return result


def warm(store: Store, url: str, *options: str) -> str:
    answer = cli.progress(store.url, "warm", *options, REDIS_URL=url)
    return cli.expect_success(answer)


def test_the_page_s_query_is_a_cache_hit_after_warming(
    store: Store, connection: Connection, patient_redis: str
) -> None:
    sample_events.record_lessons(connection, "ann", "ben", "cyd")
    batch.run(connection)
    redis.Redis.from_url(patient_redis).set("left", "over")
    assert "2 learners are cached; 0 of them were cached before" in warm(
        store, patient_redis, "--afresh", "--learners", "2"
    )
    assert redis.Redis.from_url(patient_redis).get("left") is None
    with api.serve(store.url, redis_url=patient_redis) as query_api:
        assert sorted(page_cache_result(query_api, user) for user in ("ann", "ben", "cyd")) == [
            "HIT", "HIT", "MISS"
        ]  # fmt: skip
        assert "of 3 learners are cached" in warm(store, patient_redis)
        assert "3 learners are cached; 3 of them were cached before" in warm(store, patient_redis)
        assert {page_cache_result(query_api, user) for user in ("ann", "ben", "cyd")} == {"HIT"}


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
    assert "progress: userProgress(userId: $user) { displayName totalItemsLearned" in query.query
    assert query.variables == {"user": None, "from": "2025-01-01", "to": "2026-12-31"}
    next_year = cache_warming.page_query(datetime(2026, 12, 31, 10, tzinfo=UTC)).variables or {}
    assert next_year["to"] == "2027-12-31"


def test_the_error_names_the_setting_if_redis_is_missing_or_unreachable(store: Store) -> None:
    cli.expect_failure(cli.progress(store.url, "warm"), "REDIS_URL is not set")
    away = {"REDIS_URL": "redis://127.0.0.1:9/0"}
    for options in ((), ("--afresh",)):
        cli.expect_failure(cli.progress(store.url, "warm", *options, **away), "REDIS_URL")
