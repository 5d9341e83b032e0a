"""Wake-ups while Pub/Sub is down: a pause after a failure, and shards that are woken later."""

import uuid
from collections.abc import Iterator

import pytest

from progress import settings
from progress.adapters.pubsub import wakeups
from tests.support.fake_publisher import FakePublisher, fake_publisher

__all__ = ["fake_publisher"]


@pytest.fixture
def pubsub(
    fake_publisher: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakePublisher]:
    """A fake Pub/Sub, whose address is in the settings."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", fake_publisher.address)
    monkeypatch.setattr(wakeups, "_PAUSE_S", 60.0)
    caches = (settings.current, wakeups.outage)
    for cache in caches:
        cache.cache_clear()
    yield fake_publisher
    for cache in caches:
        cache.cache_clear()


def end_pause() -> None:
    wakeups.outage()._ends_at = 0.0


def test_nothing_is_sent_during_the_pause_after_a_failure(pubsub: FakePublisher) -> None:
    pubsub.is_down = True
    assert not wakeups.send([1, 2])
    pubsub.is_down = False
    assert not wakeups.send([2, 3])
    assert not wakeups.send_operations([uuid.uuid4()])
    assert pubsub.attempts == 1


def test_shards_that_were_not_woken_are_woken_once_by_the_next_call(pubsub: FakePublisher) -> None:
    pubsub.is_down = True
    assert not wakeups.send([1, 2])
    assert not wakeups.send([2, 3])
    pubsub.is_down = False
    end_pause()
    assert wakeups.send([2, 4])
    assert sorted(pubsub.shards()) == [1, 2, 3, 4]
    assert wakeups.send([5])
    assert sorted(pubsub.shards()) == [1, 2, 3, 4, 5]


def test_shards_that_were_not_woken_are_kept_if_sending_fails_again(pubsub: FakePublisher) -> None:
    pubsub.is_down = True
    for shard in range(16):
        assert not wakeups.send([shard])
        end_pause()
    assert pubsub.attempts == 16
    pubsub.is_down = False
    assert wakeups.send([])
    assert sorted(pubsub.shards()) == list(range(16))


def test_a_command_that_cannot_be_sent_starts_the_pause(
    pubsub: FakePublisher,
) -> None:
    pubsub.is_down = True
    assert not wakeups.send_operations([uuid.uuid4()])
    pubsub.is_down = False
    assert not wakeups.send([1])
    assert pubsub.attempts == 1
    end_pause()
    assert wakeups.send_operations([uuid.uuid4()])
    assert [command["command"] for command in pubsub.commands()] == ["operation"]
