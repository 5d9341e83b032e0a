"""Changes are heard by notices, without them, and after whatever went away came back."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import redis

from progress.adapters.postgres import database
from progress.local import readiness
from progress.projections import schema
from tests.conftest import Store
from tests.support import cache_instances, rows_by_hand, sample_events, subscription_client
from tests.support.ingest_process import Server, bare_server, own_server
from tests.support.subscription_client import STANDING, STREAK, Learning, Subscribe, subscribe

__all__ = ["bare_server", "own_server", "subscribe"]

NEVER = 3_600
UNLEARNED = "subscription { progressUpdated { masteryStats { unlearned } } }"
NOTICES_ALONE = f"alone={NEVER}, with_notices={NEVER}"


@pytest.fixture
def learning(store: Store) -> Iterator[Learning]:
    made = Learning(store.url)
    yield made
    made.close()


def heard(url: str, user: str = "ann") -> int:
    """How many listen to the learner's channel."""
    with closing(redis.Redis.from_url(url)) as client:
        (found,) = client.pubsub_numsub(f"changed:learner:{user}")
    count: int = found[1]
    return count


def test_several_instances_hear_by_notices_alone(
    store: Store, valkey: str, subscribe: Subscribe, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        stack.enter_context(subscription_client.told(valkey))
        learning = stack.enter_context(closing(Learning(store.url)))
        told = {"pace": NOTICES_ALONE, "REDIS_URL": valkey}
        ports = [
            stack.enter_context(
                subscription_client.function(store.url, tmp_path / name, **told)
            ).port
            for name in ("one", "other")
        ]
        streams = [subscribe(port, STANDING) for port in ports for _ in range(2)]
        assert [each.told() for each in streams] == [None] * 4
        readiness.wait(lambda: heard(valkey) == 2, "the listening of both")
        for done in (1, 2):
            learning.lesson()
            for each in streams:
                assert each.told()["totalSessionsCompleted"] == done
        counting = [subscribe(port, UNLEARNED) for port in ports]
        before = [each.told()["masteryStats"]["unlearned"] for each in counting]
        learning.record(sample_events.item_published("new to everyone"))
        after = [each.told()["masteryStats"]["unlearned"] for each in counting]
        assert after == [count + 1 for count in before]
        for each in (*streams, *counting):
            each.close()
        readiness.wait(lambda: heard(valkey) == 0, "the end of the listening")


def test_a_notice_that_is_lost_is_made_up_for(
    store: Store, valkey: str, learning: Learning, subscribe: Subscribe, tmp_path: Path
) -> None:
    told = {"pace": f"alone={NEVER}, with_notices=0.5", "REDIS_URL": valkey}
    with subscription_client.function(store.url, tmp_path / "function", **told) as running:
        stream = subscribe(running.port, STANDING)
        assert stream.told() is None
        readiness.wait(lambda: heard(valkey) == 1, "the listening")
        learning.lesson()  # of which Redis is not told
        assert stream.told()["totalSessionsCompleted"] == 1


@pytest.mark.parametrize("ends", [True, False], ids=["ended", "hanging"])
def test_changes_are_told_while_redis_is_away_and_when_it_is_back(
    store: Store, subscribe: Subscribe, tmp_path: Path, ends: bool
) -> None:
    with cache_instances.valkey_of_its_own() as own, ExitStack() as stack:
        stack.enter_context(subscription_client.told(own.url))
        learning = stack.enter_context(closing(Learning(store.url)))
        # The fold leaves a Redis that failed alone for a second: what it does not tell is found.
        told = {"pace": "with_notices=2", "REDIS_URL": own.url}
        running = stack.enter_context(
            subscription_client.function(store.url, tmp_path / "function", **told)
        )
        stream = subscribe(running.port, STANDING)
        assert stream.told() is None
        readiness.wait(lambda: heard(own.url) == 1, "the listening")
        (own.end if ends else own.stop)()
        for done in (1, 2):  # missed by who still listened, and after that
            learning.lesson()
            assert stream.told()["totalSessionsCompleted"] == done
        (own.start if ends else own.go_on)()
        readiness.wait(lambda: heard(own.url) == 1, "the listening anew")
        learning.lesson()
        assert stream.told()["totalSessionsCompleted"] == 3


def test_without_a_database_no_stream_opens_and_the_open_ones_wait_for_it(
    own_server: Server, subscribe: Subscribe, tmp_path: Path
) -> None:
    with closing(database.connect(own_server.url)) as connection:
        schema.create(connection)
    with subscription_client.function(own_server.url, tmp_path / "function") as running:
        stream = subscribe(running.port, STANDING)
        assert stream.told() is None
        own_server.stop()
        refused = subscribe(running.port, STANDING, "bob")
        assert refused.status == 503
        assert refused.response.headers["retry-after"]
        assert refused.body()["errors"][0]["extensions"] == {"code": "UNAVAILABLE"}
        own_server.start()
        with closing(Learning(own_server.url)) as learning:
            learning.lesson()
            assert stream.told()["totalSessionsCompleted"] == 1
            assert subscribe(running.port, STREAK, "bob").told()["current"] == 0
        stream.close()


def test_connections_that_break_are_no_streams_fault(
    store: Store, learning: Learning, subscribe: Subscribe, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        watcher = stack.enter_context(closing(rows_by_hand.connect(store.url)))
        watcher.run(rows_by_hand.blocks()["reader"])
        url = store.url.replace("//postgres@", "//progress_test_query@")
        running = stack.enter_context(subscription_client.function(url, tmp_path / "function"))
        stream = subscribe(running.port, STANDING)
        assert stream.told() is None
        for done in range(1, 6):
            watcher.run(rows_by_hand.blocks()["hang up"])
            learning.lesson()
            assert stream.told()["totalSessionsCompleted"] == done
