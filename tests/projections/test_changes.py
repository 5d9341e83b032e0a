"""Notifications take one round trip to Redis after the commit. A fold succeeds without them."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import redis

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.redis import blocking_client, commands
from progress.event_store import dead_letters
from progress.projections import changes, schema
from progress.projections import replay as letter_replay
from progress.projections.projector import Projector
from tests.conftest import Store
from tests.support import cache_instances, model_rows, sample_events
from tests.support.stage import append, connect, publisher, publisher_to


def receive(listener: "redis.client.PubSub", count: int) -> list[tuple[str, str]]:
    """Return the channels and texts of the next `count` messages."""
    messages: list[tuple[str, str]] = []
    while len(messages) < count:
        message = listener.get_message(timeout=10)
        assert message is not None
        if message["type"] == "pmessage":
            messages.append((message["channel"].decode(), message["data"].decode()))
    return messages


def version_key(user: str) -> str:
    return commands.learner_version_key(schema.schema_name(), user)


def folded(connection: Connection, *users: str) -> None:
    sample_events.record_lessons(connection, *users)
    Projector(connection, publisher=publisher()).catch_up_all()


def test_a_subscriber_receives_every_learner_whose_rows_changed(
    connection: Connection, redis_with_notifications: str
) -> None:
    users = ["ann", "b:n", '\u00e7"\\\n']
    with redis.Redis.from_url(redis_with_notifications).pubsub() as listener:
        listener.psubscribe("changed:learner:*")
        folded(connection, *users)
        messages = dict(receive(listener, len(users)))
    for user in users:
        version = model_rows.read_value(connection, "version", user=user)
        assert messages[f"changed:learner:{user}"] == str(version)


def test_a_subscriber_receives_deletions_and_operations(
    connection: Connection, redis_with_notifications: str
) -> None:
    folded(connection, "ann")
    with redis.Redis.from_url(redis_with_notifications).pubsub() as listener:
        listener.psubscribe("changed:*")
        append(connection, [sample_events.user_deleted("ann")])
        Projector(connection, publisher=publisher()).catch_up_all()
        publisher().publish_operation("o-1", 7)
        channels = [channel for channel, _ in receive(listener, 2)]
    assert channels == ["changed:learner:ann", "changed:operation:o-1"]


def test_the_version_of_a_learner_only_increases(connection: Connection) -> None:
    seen = [0]
    for number in range(3):
        append(connection, sample_events.lesson("ann", number))
        Projector(connection, publisher=publisher()).catch_up_all()
        seen.append(model_rows.read_value(connection, "version", user="ann"))
    assert seen == sorted(set(seen))


def test_a_replay_that_waits_for_a_concurrent_fold_gets_a_higher_version_than_the_fold(
    store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    sample_events.poison(connection, "ann")
    Projector(connection, publisher=publisher()).catch_up_all()
    model_rows.read_value(connection, "mend")
    (letter,) = dead_letters.list_letters(connection)
    append(connection, sample_events.lesson("ann", 4))
    with closing(connect(store.url)) as replaying, ThreadPoolExecutor(1) as pool:
        pid = model_rows.read_value(replaying, "pid")
        with database.transaction(connection):
            model_rows.read_value(connection, "hold the learner", user="ann")
            replay = pool.submit(letter_replay.replay, replaying, letter.letter_id, publisher())
            while not model_rows.read_value(connection, "waits", pid=pid):
                connection.run("SELECT pg_stat_clear_snapshot()")
            Projector(connection, publisher=publisher()).catch_up_all()
            folded = model_rows.read_value(connection, "version", user="ann")
        assert replay.result() is None
    assert model_rows.read_value(connection, "version", user="ann") > folded


@pytest.fixture
def own() -> Iterator[cache_instances.Valkey]:
    with cache_instances.own_valkey() as valkey, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", valkey.url)
        for name in ("_CONNECT_TIMEOUT_S", "_REPLY_TIMEOUT_S"):
            patch.setattr(changes, name, 10)
        publisher_to.cache_clear()
        yield valkey
    publisher_to.cache_clear()


def test_the_newest_100_notifications_are_kept_during_an_outage(
    own: cache_instances.Valkey,
) -> None:
    own.end()
    for number in range(101):
        assert not publisher().publish(
            changes.Change(schema.schema_name(), number + 1, f'["u{number}"]', None)
        )
        publisher()._retry_at = time.monotonic() + 60
    own.start()
    publisher()._retry_at = 0
    assert publisher().publish_operation("o", 1)
    kept = own.server().mget([version_key(f"u{number}") for number in range(101)])
    assert kept == [None, *(b"%d" % (number + 1) for number in range(1, 101))]


def test_nothing_is_lost_without_a_redis_url() -> None:
    assert changes.DISABLED.publish(
        changes.Change(schema.schema_name(), 1, '["ann"]', catalogue=True), 2
    )


def test_a_fold_marks_its_last_position(
    connection: Connection, redis_with_notifications: str
) -> None:
    folded(connection, "ann")
    shard = model_rows.read_value(connection, "shard", user="ann")
    folder = Projector(connection, publisher=publisher())
    assert folder.fold_window(shard, 10) == 0
    marks = blocking_client.read_marks(redis_with_notifications)
    assert max(position for _, position in marks) == model_rows.read_value(connection, "head")


def test_a_rejected_notification_is_not_repeated_and_later_notifications_arrive(
    own: cache_instances.Valkey,
) -> None:
    assert not publisher().publish(
        changes.Change(schema.schema_name(), 5, "no list of learners", None)
    )
    assert publisher().publish_operation("o", 1)
    assert publisher().publish(changes.Change(schema.schema_name(), 5, '["ben"]', None))


def test_a_version_key_with_another_value_counts_as_absent(own: cache_instances.Valkey) -> None:
    server, keys = own.server(), (version_key("ann"), version_key("ben"))
    for value in ("", "no version", "0x9", "-9", "9" * 400, ["a list"]):
        server.delete(*keys)
        if isinstance(value, list):
            server.rpush(keys[0], *value)
        else:
            server.set(keys[0], value)
        change = changes.Change(schema.schema_name(), 5, '["ann", "ben"]', None)
        assert publisher().publish(change)
        assert server.mget(keys) == [b"5", b"5"], value


def test_marks_of_the_log_that_are_no_numbers_are_left_out(own: cache_instances.Valkey) -> None:
    own.server().zadd("marks", {"7": 1_700_000_000, "seven": 1_700_000_000, "8": 0.5})
    assert blocking_client.read_marks(own.url) == [(7, 1_700_000_000)]


def test_a_notification_is_lost_if_the_credentials_are_wrong(own: cache_instances.Valkey) -> None:
    own.server().config_set("requirepass", "right")
    address = own.url.removeprefix("redis://")
    for password, is_received in (("", False), ("wrong", False), ("right", True)):
        sender = publisher_to(f"redis://:{password}@{address}")
        assert sender.publish_operation("o", 1) is is_received
        assert (sender._retry_at == 0) is is_received
