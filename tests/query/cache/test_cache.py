"""Cached results are up to date after new events, new items, batch runs, deletions and rebuilds."""

import time
from collections.abc import Iterator

import pytest
import redis

from progress.adapters.postgres.database import Connection
from progress.adapters.redis import version_keys
from progress.event_store import dead_letters
from progress.projections import batch, notifications, rebuild, replay, schema
from progress.projections.projector import Projector
from tests.conftest import Store
from tests.support import cache_instances, model_rows, sample_events
from tests.support.cache_instances import NOW, Instance
from tests.support.stage import append, publisher


@pytest.fixture
def both(
    store: Store, populated: Connection, redis_with_notifications: str
) -> Iterator[list[Instance]]:
    """Two instances that have cached every result about ann."""
    with cache_instances.instances(store, redis_with_notifications) as instances:
        for instance in instances:
            instance.get(*cache_instances.all_keys("ann"))
            instance.computations = 0
        yield instances


def learner_key(user: str) -> str:
    """Return the Redis key that holds a copy of the learner's version."""
    return version_keys.learner_key(schema.schema_name(), user)


def find_changes(instances: list[Instance], before: list[bytes], user: str = "ann") -> set[str]:
    """Assert that no instance returns old results; return the fields that differ from `before`."""
    keys = cache_instances.all_keys(user)
    expected = instances[0].read(*keys)
    for instance in instances:
        assert instance.get(*keys) == expected
    return {key.name for key, old, new in zip(keys, before, expected, strict=True) if old != new}


def test_every_instance_returns_results_that_another_instance_has_cached(
    both: list[Instance],
) -> None:
    keys = cache_instances.all_keys("ann")
    expected = both[0].read(*keys)
    for instance in both:
        instance.reader.statements.clear()
        assert instance.get(*keys) == expected
        assert instance.reader.statements == []


def test_the_first_result_after_new_events_reflects_these_events(
    both: list[Instance], populated: Connection
) -> None:
    before = both[0].read(*cache_instances.all_keys("ann"))
    append(populated, sample_events.lesson("ann", 4))
    Projector(populated, publisher=publisher()).catch_up_all()
    assert {"userProgress", "dailyStats", "itemStats", "streak"} <= find_changes(both, before)


def test_events_of_a_learner_do_not_invalidate_results_of_other_learners(
    both: list[Instance], populated: Connection
) -> None:
    append(populated, sample_events.lesson("ben", 4))
    Projector(populated, publisher=publisher()).catch_up_all()
    both[0].get(*cache_instances.all_keys("ann"))
    assert both[0].computations == 0


def test_the_first_result_after_a_new_item_reflects_the_item(
    both: list[Instance], populated: Connection
) -> None:
    before = both[0].read(*cache_instances.all_keys("ann"))
    append(
        populated,
        [sample_events.item_published("new"), sample_events.item_published("i0", "B2", at=NOW)],
    )
    Projector(populated, publisher=publisher()).catch_up_all()
    assert find_changes(both, before) == {"userProgress", "itemStats", "item"}


def test_the_first_result_after_a_batch_run_reflects_the_run(
    both: list[Instance], populated: Connection
) -> None:
    append(
        populated,
        [*sample_events.lesson("ann", 4), sample_events.item_published("i1", "C1", at=NOW)],
    )
    Projector(populated, publisher=publisher()).catch_up_all()
    for instance in both:
        instance.get(*cache_instances.all_keys("ann"))
    before = both[0].read(*cache_instances.all_keys("ann"))
    assert batch.run(populated, publisher=publisher()).learners == 2
    assert find_changes(both, before) == {"weeklyStats", "domainStats", "levelStats"}


def test_changes_are_visible_although_another_revision_has_higher_versions(
    both: list[Instance], populated: Connection
) -> None:
    """During a release, each revision has its own read models, with their own version numbers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "schema_name", lambda: "progress_0123456789ab")
        greatest, now = 2**60, time.monotonic()
        publisher().publish_batch(greatest, known_at=now)
        publisher().publish(notifications.Change(greatest, '["ann"]', catalogue=True), greatest)
    for instance in both:
        instance.get(*cache_instances.all_keys("ann"))
    before = both[0].read(*cache_instances.all_keys("ann"))
    append(
        populated,
        [*sample_events.lesson("ann", 4), sample_events.item_published("i1", "C1", at=NOW)],
    )
    batch.run(populated, publisher=publisher())
    unchanged = {"goal", "restDays", "workload", "itemHistory"}  # not changed by this lesson
    assert (
        find_changes(both, before)
        == {key.name for key in cache_instances.all_keys("ann")} - unchanged
    )


def test_a_batch_run_without_new_events_does_not_invalidate_results(
    both: list[Instance], populated: Connection
) -> None:
    batch.run(populated, publisher=publisher())
    both[0].get(*cache_instances.all_keys("ann"))
    assert both[0].computations == 0


def test_the_first_result_after_a_deletion_reflects_the_deletion(
    both: list[Instance], populated: Connection
) -> None:
    gone = sample_events.envelope("UserDeleted", {"user_id": "ann", "reason": "asked"}, at=NOW)
    before = both[0].read(*cache_instances.all_keys("ann"))
    append(populated, [gone])
    Projector(populated, publisher=publisher()).catch_up_all()
    assert find_changes(both, before) == {key.name for key in cache_instances.all_keys("ann")} - {
        "goal",
        "restDays",
    }


def test_the_first_result_after_a_rebuild_reflects_the_rebuild(
    both: list[Instance], populated: Connection, store: Store
) -> None:
    populated.run("UPDATE daily_stats SET answers = answers + 1")  # a rebuild corrects this
    for instance in both:
        instance.get(*cache_instances.all_keys("ann"), bypass=True)
    before = both[0].read(*cache_instances.all_keys("ann"))
    rebuild.run(store.connect, publisher=publisher())
    assert find_changes(both, before) == {"dailyStats", "monthlyStats", "workload"}


def test_the_first_result_after_a_replay_reflects_the_replayed_event(
    populated: Connection, store: Store, redis_with_notifications: str
) -> None:
    append(populated, [event for n in range(4) for event in sample_events.lesson("cat", n)])
    sample_events.poison(populated, "cat")
    Projector(populated, publisher=publisher()).catch_up_all()
    with cache_instances.instances(store, redis_with_notifications) as both:
        for instance in both:
            instance.get(*cache_instances.all_keys("cat"))
        before = both[0].read(*cache_instances.all_keys("cat"))
        model_rows.read_value(populated, "mend")
        (letter,) = dead_letters.list_letters(populated)
        assert replay.replay(populated, letter.letter_id, publisher()) is None
        assert {"userProgress", "dailyStats", "itemStats"} <= find_changes(both, before, "cat")


def test_an_unpublished_change_is_hidden_for_at_most_five_seconds(
    both: list[Instance], populated: Connection, redis_with_notifications: str
) -> None:
    before = both[0].read(*cache_instances.all_keys("ann"))
    append(populated, sample_events.lesson("ann", 4))
    with cache_instances.without_publishing():
        Projector(populated, publisher=publisher()).catch_up_all()
    server = redis.Redis.from_url(redis_with_notifications)
    copies = list(server.scan_iter("version:*"))
    assert len(copies) == 4
    for copy in copies:
        assert 0 < server.pttl(copy) <= 5_000
    server.delete(*copies)  # as if the copies had expired
    assert {"userProgress", "dailyStats", "itemStats"} <= find_changes(both, before)


def test_the_copy_of_a_version_in_redis_never_decreases(
    both: list[Instance], populated: Connection, redis_with_notifications: str
) -> None:
    server = redis.Redis.from_url(redis_with_notifications)
    key = learner_key("ann")
    newest = int(server.get(key) or 0)
    publisher().publish(notifications.Change(newest - 1, '["ann"]', None))
    assert server.get(key) == b"%d" % newest
    now = time.monotonic()
    publisher().publish(
        notifications.Change(newest + 1, '["ann"]', None, began=now - version_keys.TTL_S)
    )
    assert server.get(key) is None  # no copy: the change is older than the TTL
    publisher().publish(notifications.Change(newest, '["ann"]', None, began=now - 2))
    assert server.pttl(key) <= 3_000


@pytest.mark.parametrize(
    ("events", "copy"),
    [
        ([sample_events.item_published("new")], "catalogue"),
        (sample_events.lesson("ann", 4), "learner:ann"),
    ],
)
def test_a_version_is_read_from_the_database_if_its_copy_was_evicted(
    both: list[Instance],
    populated: Connection,
    redis_with_notifications: str,
    events: list[sample_events.Envelope],
    copy: str,
) -> None:
    append(populated, events)
    Projector(populated, publisher=publisher()).catch_up_all()
    copy = version_keys.shared_key(schema.schema_name(), copy)
    assert redis.Redis.from_url(redis_with_notifications).delete(copy) == 1
    for instance in both:  # the instances remember only older versions
        assert instance.get(*cache_instances.all_keys("ann")) == instance.read(
            *cache_instances.all_keys("ann")
        )


def test_a_change_during_a_computation_is_in_the_next_result(
    store: Store, populated: Connection, redis_with_notifications: str
) -> None:
    keys = cache_instances.all_keys("ann")
    lesson = iter(range(4, 100))

    def add_events() -> None:
        append(populated, sample_events.lesson("ann", next(lesson)))
        append(populated, [sample_events.item_published(f"w{next(lesson)}")])
        Projector(populated, publisher=publisher()).catch_up_all()
        batch.run(populated, publisher=publisher())

    with cache_instances.instances(store, redis_with_notifications) as both:
        for when in ("before", "after"):
            for key in keys:
                both[0].get(key, **{when: add_events}, bypass=True)
                assert both[1].get(key) == both[0].get(key) == both[0].read(key)


def test_an_entry_copied_to_another_learner_s_key_is_not_used(
    both: list[Instance], populated: Connection, redis_with_notifications: str
) -> None:
    """A proxy that mixes up replies could return such an entry; somebody could also copy one."""
    append(populated, sample_events.lesson("ben", 4))
    Projector(populated, publisher=publisher()).catch_up_all()
    keys = cache_instances.all_keys("ann")
    both[0].get(*cache_instances.all_keys("ben"))
    expected = both[0].read(*keys)
    server = redis.Redis.from_url(redis_with_notifications, decode_responses=True)
    server.set(learner_key("ann"), model_rows.read_value(populated, "version", user="ben"), ex=60)
    for key in keys:
        for entry in map(str, server.scan_iter(f"query:{key.name}:ben:*")):
            server.copy(entry, f"query:{key.name}:ann:{key.params}", replace=True)
    assert both[0].get(*keys) == expected
