"""The hub of live queries under seeded schedules."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest

from progress.errors import DatabaseUnavailable
from progress.query.live import hub
from tests.schedules import event_loop, planted
from tests.schedules.event_loop import pause

_SUBJECTS = ("ann", "bob", "eve")
_CHANGES, _SUBSCRIBERS = 12, 6
_NOTIFIED_S, _POLLED_S = (
    2.0,
    6.5,
)  # a read takes up to 0.2 s; a comparison follows after 5 s at most


class _State(NamedTuple):
    version: str
    begins_at: datetime | None = None
    expires_at: datetime | None = None
    is_final: bool = False


class _Table:
    """A source whose subjects change. A statement sees the versions of some moment during it."""

    def __init__(self, source: random.Random, channel: str | None) -> None:
        self.source, self.channel = source, channel
        self.versions = dict.fromkeys(_SUBJECTS, 0)
        self.is_away = False

    async def fetch_versions(self, ids: Sequence[str]) -> Mapping[str, str]:
        return {id_: f"{self.versions[id_]}" for id_ in await self._select(ids)}

    async def fetch_states(self, ids: Sequence[str]) -> Mapping[str, _State]:
        await self._select(ids)
        states = {id_: _State(f"{self.versions[id_]}") for id_ in ids}
        await pause(self.source, 0.1)
        return states

    async def _select(self, ids: Sequence[str]) -> Sequence[str]:
        await pause(self.source, 0.1)
        if self.is_away:
            raise DatabaseUnavailable("away")
        return ids


def schedule(module: ModuleType, seed: int) -> event_loop.SeededLoop:
    return event_loop.run(seed, lambda source: _follow(module, source))


async def _follow(module: ModuleType, source: random.Random) -> None:  # noqa: C901
    """Change the subjects, and let subscribers come, read late, and go."""
    # Without notifications, with some that are lost, or with Redis connected.
    channel = source.choice((None, "learner:", "learner:"))
    is_notified = channel is not None and source.random() < 0.5
    table = _Table(source, channel)
    queries = module.LiveQueries({"t": table}, None)
    if is_notified:
        queries._subscriber = SimpleNamespace(is_connected=True)
    changed_at = dict.fromkeys(_SUBJECTS, 0.0)

    async def subscribe() -> None:
        await pause(source, 3)
        id_ = source.choice(_SUBJECTS)
        subscription = queries.subscribe("t", id_, lambda state: int(state.version))
        begins = time.monotonic()
        last, at = -1, 0.0
        try:
            async with asyncio.timeout(60):
                async for version in subscription:
                    assert version >= last, "a subscriber's version goes back"
                    last, at = version, time.monotonic()
                    await pause(source, 0.5)
        except TimeoutError:
            newest = table.versions[id_]
            assert last == newest, "the last state of a subscriber is not the newest"
            limit = _NOTIFIED_S if is_notified else _POLLED_S
            assert at <= max(changed_at[id_], begins) + limit, "a change is seen late"
        except DatabaseUnavailable:
            assert last == -1, "an outage ends a subscription that has a state"
        finally:
            subscription.close()

    async def change() -> None:
        for _ in range(_CHANGES):
            await pause(source, 0.6)
            table.is_away = source.random() < 0.15
            id_ = source.choice(_SUBJECTS)
            table.versions[id_] += 1
            changed_at[id_] = time.monotonic()
            # A notification may be lost: then a comparison of versions finds the change.
            if channel and (is_notified or source.random() < 0.7):
                queries._on_message(channel + id_)
        table.is_away = False
        changed_at.update(dict.fromkeys(_SUBJECTS, time.monotonic()))  # when the outage ended

    tasks: list[Any] = [asyncio.create_task(subscribe()) for _ in range(_SUBSCRIBERS)]
    tasks.append(asyncio.create_task(change()))
    for task in tasks[:-1]:
        if source.random() < 0.2:
            await pause(source, 2)
            task.cancel()
    event_loop.raise_first(await asyncio.gather(*tasks, return_exceptions=True))
    assert not queries._topics["t"].subjects, "a subject without subscribers remains"


@pytest.mark.parametrize("seeds", planted.CHUNKS)
def test_each_subscriber_gets_the_newest_state_and_never_an_older_one(seeds: range) -> None:
    for seed in seeds:
        schedule(hub, seed)


_RACES = {
    "a mark that comes during a read is dropped": (
        "            topic.publish(await topic.source.fetch_states(batch))\n",
        """            topic.publish(await topic.source.fetch_states(batch))
            for id_ in batch:
                topic.stale.pop(id_, None)
""",
    ),
    "a batch that failed is not read again": (
        "                self.stale[id_] = None\n",
        "                pass\n",
    ),
    "a stale subject waits for the next mark": (
        "            await self._has_stale.wait()\n            self._has_stale.clear()\n",
        "            self._has_stale.clear()\n            await self._has_stale.wait()\n",
    ),
    "a state that nobody took is forgotten": (
        """        await self._updated.wait()
        if self.check is not None and self._is_open:
            await self.check()
""",
        """        self._updated.clear()
        await self._updated.wait()
        if self.check is not None and self._is_open:
            await self.check()
""",
    ),
    "a known state is not sent to a new subscriber": (
        "                    if subscription.is_waiting or not is_known:\n",
        "                    if not is_known:\n",
    ),
    "a poller that fails stops": (
        "            return  # the next comparison finds the change\n",
        "            raise\n",
    ),
}


@pytest.mark.first_in_gate("race")
@pytest.mark.parametrize("race", _RACES)
def test_each_planted_race_of_the_hub_is_found_and_repeats(race: str) -> None:
    with planted.plant(hub, _RACES[race]) as module:
        planted.find_seed(lambda seed: schedule(module, seed))
