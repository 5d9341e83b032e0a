"""Each result equals the result without a cache, for any interleaving of changes and reads."""

import itertools
from datetime import timedelta

import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.projections import batch
from progress.projections.projector import Projector
from tests.conftest import Store
from tests.support import cache_instances, sample_events
from tests.support.cache_instances import NOW
from tests.support.stage import append, publisher

_numbers = itertools.count()

ACTIONS = ("study", "study", "describe", "move", "run", "run", "evict", "nothing")


class Learner:
    """A learner whose methods are the test's actions. Most actions publish a change to Redis."""

    def __init__(self, connection: Connection, server: "redis.Redis") -> None:
        self.name = f"learner {next(_numbers)}"
        self._connection, self._server = connection, server
        self._numbers = itertools.count()

    def study(self) -> None:
        self._fold(sample_events.lesson(self.name, next(self._numbers)))

    def describe(self) -> None:
        number = next(self._numbers)
        level = ("A1", "B2", "C1")[number % 3]
        self._fold(
            [sample_events.item_published(f"i{number % 4}", level, at=NOW + timedelta(days=number))]
        )

    def move(self) -> None:
        data = {"user_id": self.name, "timezone": "Pacific/Apia", "day_start_hour": 3}
        at = sample_events.BEGIN + timedelta(days=next(self._numbers))
        self._fold([sample_events.envelope("UserPreferencesChanged", data, at=at)])

    def vanish(self) -> None:
        self._fold([sample_events.envelope("UserDeleted", {"user_id": self.name}, at=NOW)])

    def run(self) -> None:
        batch.run(self._connection, publisher=publisher())

    def evict(self) -> None:
        """Delete a random key, as Redis does when its memory is full."""
        if key := self._server.randomkey():
            self._server.delete(key)

    def nothing(self) -> None:
        pass

    def _fold(self, events: list[sample_events.Envelope]) -> None:
        append(self._connection, events)
        Projector(self._connection, publisher=publisher()).catch_up_all()


@settings(max_examples=12)
@given(data=st.data())
def test_each_result_equals_the_result_without_a_cache(
    store: Store, connection: Connection, redis_with_notifications: str, data: st.DataObject
) -> None:
    learner = Learner(connection, redis.Redis.from_url(redis_with_notifications))
    keys = cache_instances.all_keys(learner.name)
    actions = st.sampled_from(ACTIONS).map(lambda name: getattr(learner, name))
    subsets = st.lists(st.sampled_from(keys), min_size=1, unique=True)
    with cache_instances.instances(store, redis_with_notifications) as both:
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
