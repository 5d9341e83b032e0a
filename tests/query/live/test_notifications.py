"""Streams follow changes with and without notifications, and after an outage."""

from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import redis

from progress.adapters.postgres import database
from progress.local import readiness
from progress.projections import schema
from tests.conftest import Store
from tests.support import cache_instances, rows_by_hand, sample_events, stage, subscription_client
from tests.support.postgres_servers import OwnServer
from tests.support.subscription_client import PROGRESS, STREAK, LessonRecorder, Subscribe

NEVER = 3_600
UNLEARNED = "subscription { progressUpdated { masteryStats { unlearned } } }"
NO_POLLING = f"without_redis={NEVER}, with_redis={NEVER}"


def count_subscribers(url: str, user: str = "ann") -> int:
    """Return the number of subscribers of the learner's channel."""
    with closing(redis.Redis.from_url(url)) as client:
        ((_, subscribers),) = client.pubsub_numsub(f"changed:learner:{user}")
    count: int = subscribers
    return count


def test_streams_of_several_instances_follow_changes_without_polling(
    store: Store, valkey: str, subscribe: Subscribe, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        stack.enter_context(subscription_client.publishing_to(valkey))
        recorder = stack.enter_context(closing(LessonRecorder(store.url)))
        options = {"intervals": NO_POLLING, "REDIS_URL": valkey}
        ports = [
            stack.enter_context(
                subscription_client.query_function(store.url, tmp_path / name, **options)
            ).port
            for name in ("one", "other")
        ]
        streams = [subscribe(port, PROGRESS) for port in ports for _ in range(2)]
        assert [stream.next_value() for stream in streams] == [None] * 4
        readiness.wait(lambda: count_subscribers(valkey) == 2, "both subscribers")
        for done in (1, 2):
            recorder.add_lesson()
            for stream in streams:
                assert stream.next_value()["totalSessionsCompleted"] == done
        catalogue = [subscribe(port, UNLEARNED) for port in ports]
        before = [stream.next_value()["masteryStats"]["unlearned"] for stream in catalogue]
        recorder.append(sample_events.item_published("new to everyone"))
        after = [stream.next_value()["masteryStats"]["unlearned"] for stream in catalogue]
        assert after == [count + 1 for count in before]
        for stream in (*streams, *catalogue):
            stream.close()
        readiness.wait(lambda: count_subscribers(valkey) == 0, "the end of both subscriptions")


def test_polling_finds_a_change_whose_notification_was_lost(
    store: Store, valkey: str, recorder: LessonRecorder, subscribe: Subscribe, tmp_path: Path
) -> None:
    options = {"intervals": f"without_redis={NEVER}, with_redis=0.5", "REDIS_URL": valkey}
    with subscription_client.query_function(
        store.url, tmp_path / "function", **options
    ) as function:
        stream = subscribe(function.port, PROGRESS)
        assert stream.next_value() is None
        readiness.wait(lambda: count_subscribers(valkey) == 1, "the subscriber")
        recorder.add_lesson()  # the recorder does not publish to Redis
        assert stream.next_value()["totalSessionsCompleted"] == 1


@pytest.mark.parametrize("ends", [True, False], ids=["ended", "hanging"])
def test_streams_follow_changes_during_and_after_a_redis_outage(
    store: Store, subscribe: Subscribe, tmp_path: Path, ends: bool
) -> None:
    with cache_instances.own_valkey() as own, ExitStack() as stack:
        stack.enter_context(subscription_client.publishing_to(own.url))
        recorder = stack.enter_context(closing(LessonRecorder(store.url)))
        # After an error, the projector sends no notifications for one second. Polling finds the
        # changes of that second.
        options = {"intervals": "with_redis=2", "REDIS_URL": own.url}
        function = stack.enter_context(
            subscription_client.query_function(store.url, tmp_path / "function", **options)
        )
        stream = subscribe(function.port, PROGRESS)
        assert stream.next_value() is None
        readiness.wait(lambda: count_subscribers(own.url) == 1, "the subscriber")
        (own.end if ends else own.stop)()
        # Polling finds these changes, because Redis delivers no notifications of them. The query
        # function may notice the outage only after the first change.
        for done in (1, 2):
            recorder.add_lesson()
            assert stream.next_value()["totalSessionsCompleted"] == done
        (own.start if ends else own.go_on)()
        readiness.wait(lambda: count_subscribers(own.url) == 1, "the new subscriber")
        recorder.add_lesson()
        assert stream.next_value()["totalSessionsCompleted"] == 3


def test_open_streams_wait_and_new_streams_are_rejected_during_an_outage(
    own_server: OwnServer, subscribe: Subscribe, tmp_path: Path
) -> None:
    with closing(database.connect(own_server.url)) as connection:
        schema.create(connection)
    with subscription_client.query_function(own_server.url, tmp_path / "function") as function:
        stream = subscribe(function.port, PROGRESS)
        assert stream.next_value() is None
        own_server.stop()
        refused = subscribe(function.port, PROGRESS, "bob")
        assert refused.status == 503
        assert refused.response.headers["retry-after"]
        assert refused.read_body()["errors"][0]["extensions"] == {"code": "UNAVAILABLE"}
        own_server.start()
        with closing(LessonRecorder(own_server.url)) as recorder:
            recorder.add_lesson()
            assert stream.next_value()["totalSessionsCompleted"] == 1
            assert subscribe(function.port, STREAK, "bob").next_value()["current"] == 0
        stream.close()


def test_streams_survive_broken_database_connections(
    store: Store, recorder: LessonRecorder, subscribe: Subscribe, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        connection = stack.enter_context(closing(stage.connect(store.url)))
        connection.run(rows_by_hand.blocks()["reader"])
        url = store.url.replace("//postgres@", "//progress_test_query@")
        function = stack.enter_context(
            subscription_client.query_function(url, tmp_path / "function")
        )
        stream = subscribe(function.port, PROGRESS)
        assert stream.next_value() is None
        for done in range(1, 6):
            connection.run(rows_by_hand.blocks()["hang up"])
            recorder.add_lesson()
            assert stream.next_value()["totalSessionsCompleted"] == done
