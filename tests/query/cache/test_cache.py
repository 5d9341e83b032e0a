"""The cache never answers with less than the projection has: data, catalogue, batch, rebuild."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import redis

from progress.adapters.postgres.database import Connection
from progress.adapters.redis import version_keys
from progress.event_store import dead_letters
from progress.projections import batch, notifications, rebuild, replay, schema
from progress.projections.projector import SHARDS, Projector
from tests.conftest import Store
from tests.support import cache_instances, model_rows, sample_events
from tests.support.cache_instances import NOW, Instance
from tests.support.stage import append, publisher


@pytest.fixture
def connection(store: Store) -> Iterator[Connection]:
    with cache_instances.populate(store, "ann", "ben") as made:
        made.run("ALTER TABLE event_store.events DISABLE TRIGGER append_only")  # to spoil an event
        batch.fold(made, list(SHARDS))
        yield made


@pytest.fixture
def both(
    store: Store, connection: Connection, redis_with_notifications: str
) -> Iterator[list[Instance]]:
    """Two instances that have answered every question about ann."""
    with cache_instances.instances(store, redis_with_notifications) as made:
        for each in made:
            each.ask(*cache_instances.questions("ann"))
            each.computed = 0
        yield made


def learner_s(user: str) -> str:
    """The key of the copy of a learner's version."""
    return version_keys.learner_key(schema.schema_name(), user)


def changed(instances: list[Instance], before: list[bytes], user: str = "ann") -> set[str]:
    """The fields whose answers differ; every instance answers as the database does."""
    asked = cache_instances.questions(user)
    wanted = instances[0].uncached(*asked)
    for each in instances:
        assert each.ask(*asked) == wanted
    return {one.name for one, old, new in zip(asked, before, wanted, strict=True) if old != new}


def test_what_was_answered_once_is_answered_from_the_cache_by_every_instance(
    both: list[Instance],
) -> None:
    asked = cache_instances.questions("ann")
    wanted = both[0].uncached(*asked)
    for each in both:
        each.reader.asked.clear()
        assert each.ask(*asked) == wanted
        assert each.reader.asked == []


def test_new_events_are_in_the_next_answer(both: list[Instance], connection: Connection) -> None:
    before = both[0].uncached(*cache_instances.questions("ann"))
    append(connection, sample_events.lesson("ann", 4))
    Projector(connection, publisher=publisher()).catch_up_all()
    assert {"userProgress", "dailyStats", "itemStats", "streak"} <= changed(both, before)


def test_of_another_learner_nothing_is_computed_again(
    both: list[Instance], connection: Connection
) -> None:
    append(connection, sample_events.lesson("ben", 4))
    Projector(connection, publisher=publisher()).catch_up_all()
    both[0].ask(*cache_instances.questions("ann"))
    assert both[0].computed == 0


def test_a_new_item_is_in_the_next_answer(both: list[Instance], connection: Connection) -> None:
    before = both[0].uncached(*cache_instances.questions("ann"))
    append(
        connection,
        [sample_events.item_published("new"), sample_events.item_published("i0", "B2", at=NOW)],
    )
    Projector(connection, publisher=publisher()).catch_up_all()
    assert changed(both, before) == {"userProgress", "itemStats", "item"}


def test_a_batch_run_is_in_the_next_answer(both: list[Instance], connection: Connection) -> None:
    append(
        connection,
        [*sample_events.lesson("ann", 4), sample_events.item_published("i1", "C1", at=NOW)],
    )
    Projector(connection, publisher=publisher()).catch_up_all()
    for each in both:
        each.ask(*cache_instances.questions("ann"))
    before = both[0].uncached(*cache_instances.questions("ann"))
    assert batch.run(connection, publisher=publisher()).learners == 2
    assert changed(both, before) == {"weeklyStats", "domainStats", "levelStats"}


def test_another_revision_s_versions_hide_no_change(
    both: list[Instance], connection: Connection
) -> None:
    """While two are served, each has read models of its own, and their versions differ."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "schema_name", lambda: "progress_0123456789ab")
        greatest, now = 2**60, time.monotonic()
        publisher().publish_batch(greatest, known_at=now)
        publisher().publish(notifications.Change(greatest, '["ann"]', catalogue=True), greatest)
    for each in both:
        each.ask(*cache_instances.questions("ann"))
    before = both[0].uncached(*cache_instances.questions("ann"))
    append(
        connection,
        [*sample_events.lesson("ann", 4), sample_events.item_published("i1", "C1", at=NOW)],
    )
    batch.run(connection, publisher=publisher())
    assert len(changed(both, before)) == len(before)


def test_a_batch_run_with_nothing_new_takes_nothing_from_the_cache(
    both: list[Instance], connection: Connection
) -> None:
    batch.run(connection, publisher=publisher())
    both[0].ask(*cache_instances.questions("ann"))
    assert both[0].computed == 0


def test_a_deleted_learner_is_gone_at_once(both: list[Instance], connection: Connection) -> None:
    gone = sample_events.envelope("UserDeleted", {"user_id": "ann", "reason": "asked"}, at=NOW)
    before = both[0].uncached(*cache_instances.questions("ann"))
    append(connection, [gone])
    Projector(connection, publisher=publisher()).catch_up_all()
    assert len(changed(both, before)) == len(before)  # each field's answer


def test_a_rebuild_is_in_the_next_answer(
    both: list[Instance], connection: Connection, store: Store
) -> None:
    connection.run("UPDATE daily_stats SET answers = answers + 1")  # what a rebuild mends
    for each in both:
        each.ask(*cache_instances.questions("ann"), fresh=True)
    before = both[0].uncached(*cache_instances.questions("ann"))
    rebuild.run(store.connect, publisher=publisher())
    assert changed(both, before) == {"dailyStats", "monthlyStats"}


def test_an_event_that_counts_again_is_in_the_next_answer(
    connection: Connection, store: Store, redis_with_notifications: str
) -> None:
    append(connection, [event for n in range(4) for event in sample_events.lesson("cat", n)])
    model_rows.read_value(connection, "poison", user="cat")
    Projector(connection, publisher=publisher()).catch_up_all()
    with cache_instances.instances(store, redis_with_notifications) as both:
        for each in both:
            each.ask(*cache_instances.questions("cat"))
        before = both[0].uncached(*cache_instances.questions("cat"))
        model_rows.read_value(connection, "mend")
        (letter,) = dead_letters.list_letters(connection)
        assert replay.replay(connection, letter.letter_id, publisher()) is None
        assert {"userProgress", "dailyStats", "itemStats"} <= changed(both, before, "cat")


def test_what_was_not_told_is_hidden_for_five_seconds_at_most(
    both: list[Instance], connection: Connection, redis_with_notifications: str
) -> None:
    before = both[0].uncached(*cache_instances.questions("ann"))
    append(connection, sample_events.lesson("ann", 4))
    with cache_instances.untold():
        Projector(connection, publisher=publisher()).catch_up_all()
    server = redis.Redis.from_url(redis_with_notifications)
    kept = list(server.scan_iter("version:*"))
    assert len(kept) == 4
    for key in kept:
        assert 0 < server.pttl(key) <= 5_000
    server.delete(*kept)  # their time is over
    assert {"userProgress", "dailyStats", "itemStats"} <= changed(both, before)


def test_a_version_never_goes_back_however_late_it_is_told(
    both: list[Instance], connection: Connection, redis_with_notifications: str
) -> None:
    server = redis.Redis.from_url(redis_with_notifications)
    anns = learner_s("ann")
    newest = int(server.get(anns) or 0)
    publisher().publish(notifications.Change(newest - 1, '["ann"]', None))
    assert server.get(anns) == b"%d" % newest
    now = time.monotonic()
    publisher().publish(
        notifications.Change(newest + 1, '["ann"]', None, began=now - version_keys.TTL_S)
    )
    assert server.get(anns) is None  # older than a copy may be
    publisher().publish(notifications.Change(newest, '["ann"]', None, began=now - 2))
    assert server.pttl(anns) <= 3_000


@pytest.mark.parametrize(
    ("events", "copy"),
    [
        ([sample_events.item_published("new")], "catalogue"),
        (sample_events.lesson("ann", 4), "learner:ann"),
    ],
)
def test_a_copy_that_is_evicted_is_asked_of_the_database_anew(
    both: list[Instance],
    connection: Connection,
    redis_with_notifications: str,
    events: list[sample_events.Envelope],
    copy: str,
) -> None:
    append(connection, events)
    Projector(connection, publisher=publisher()).catch_up_all()
    copy = version_keys.shared_key(schema.schema_name(), copy)
    assert redis.Redis.from_url(redis_with_notifications).delete(copy) == 1
    for each in both:  # what they read a moment ago is older
        assert each.ask(*cache_instances.questions("ann")) == each.uncached(
            *cache_instances.questions("ann")
        )


def test_what_changes_while_it_is_computed_is_in_the_next_answer(
    store: Store, connection: Connection, redis_with_notifications: str
) -> None:
    asked = cache_instances.questions("ann")
    lesson = iter(range(4, 100))

    def more() -> None:
        append(connection, sample_events.lesson("ann", next(lesson)))
        append(connection, [sample_events.item_published(f"w{next(lesson)}")])
        Projector(connection, publisher=publisher()).catch_up_all()
        batch.run(connection, publisher=publisher())

    with cache_instances.instances(store, redis_with_notifications) as both:
        for how in ("before", "after"):
            for one in asked:
                both[0].ask(one, **{how: more}, fresh=True)
                assert both[1].ask(one) == both[0].ask(one) == both[0].uncached(one)


def test_a_day_ends_with_what_depends_on_it(
    store: Store, connection: Connection, redis_with_notifications: str
) -> None:
    zone = {"user_id": "ann", "timezone": "Asia/Tokyo", "day_start_hour": 4}
    append(
        connection, [sample_events.envelope("UserPreferencesChanged", zone, at=sample_events.BEGIN)]
    )
    Projector(connection, publisher=publisher()).catch_up_all()
    last = datetime(2024, 4, 5, 18, 59, 59, tzinfo=UTC)  # until 4 in the morning there
    with cache_instances.instances(store, redis_with_notifications, 1) as (one,):
        for at in (last, last + timedelta(seconds=1), last + timedelta(days=1)):
            asked = cache_instances.questions("ann")
            assert one.ask(*asked, at=at) == one.uncached(*asked, at=at)
            one.computed = 0
            assert one.ask(*asked, at=at) == one.uncached(*asked, at=at)
            assert one.computed == 0
        one.ask(*asked, at=last + timedelta(days=1, seconds=1))
        assert one.computed == sum(each.rule.clock for each in asked)


def test_no_cache_passes_by_and_keeps_anew(
    both: list[Instance], redis_with_notifications: str
) -> None:
    asked = cache_instances.questions("ann")
    server = redis.Redis.from_url(redis_with_notifications)
    kept = {
        key for key in server.scan_iter() if key.startswith((b"query:", b"stats:", b"summary:"))
    }
    server.delete(*kept)
    both[0].ask(*asked)
    both[0].computed = 0
    both[0].ask(*asked, fresh=True)
    assert both[0].computed == len(asked)
    both[1].ask(*asked)
    assert both[1].computed == 0
    server.delete(*kept)
    both[0].ask(*asked, fresh=True)
    both[1].ask(*asked)
    assert both[1].computed == 0


def test_keys_and_lives(both: list[Instance], redis_with_notifications: str) -> None:
    server = redis.Redis.from_url(redis_with_notifications)
    lives = {}
    for key in server.scan_iter():
        name = key.decode().partition(":ann")[0]
        lives[name] = round(server.ttl(key) / 60)
    for name in ("catalogue", "batch", "learner"):
        del lives[version_keys.shared_key(schema.schema_name(), name)]
    expected = {
        "summary": 10,
        "query:streak": 5,
        "query:dueForecast": 10,
        "query:itemStats": 10,
        "query:item": 30,
        "query:domainStats": 60,
        "query:levelStats": 60,
        "query:dailyStats": 15,
        "query:weeklyStats": 60,
        "query:monthlyStats": 30,
    }
    assert {name: life for name, life in lives.items() if name in expected} == expected


def test_what_has_ended_is_kept_for_a_day(
    store: Store, connection: Connection, redis_with_notifications: str
) -> None:
    with cache_instances.instances(store, redis_with_notifications, 1) as (one,):
        one.ask(*cache_instances.questions("ann"), at=NOW + timedelta(days=90))
    server = redis.Redis.from_url(redis_with_notifications)
    for kind, day in (("daily", "2024-04-30"), ("weekly", "2024-05-06"), ("monthly", "2024-05-30")):
        assert server.ttl(f"stats:{kind}:{day}:ann") > 24 * 3600 - 60


def test_an_answer_under_the_key_of_another_learner_does_not_count(
    both: list[Instance], connection: Connection, redis_with_notifications: str
) -> None:
    """Whatever brings it there: a proxy that mixes replies up, a hand that copies."""
    append(connection, sample_events.lesson("ben", 4))
    Projector(connection, publisher=publisher()).catch_up_all()
    asked = cache_instances.questions("ann")
    both[0].ask(*cache_instances.questions("ben"))
    wanted = both[0].uncached(*asked)
    server = redis.Redis.from_url(redis_with_notifications, decode_responses=True)
    server.set(learner_s("ann"), model_rows.read_value(connection, "version", user="ben"), ex=60)
    for one in asked:
        for key in map(str, server.scan_iter(f"query:{one.name}:ben:*")):
            server.copy(key, f"query:{one.name}:ann:{one.params}", replace=True)
    assert both[0].ask(*asked) == wanted
