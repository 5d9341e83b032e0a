"""The hub of live queries under seeded schedules."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import pytest

from progress.errors import DatabaseUnavailable
from progress.query.live import hub
from tests.schedules import event_loop
from tests.schedules.event_loop import pause

_SUBJECTS = ("ann", "bob", "eve")
_CHANGES, _SUBSCRIBERS = 12, 6
_SEEN_S = 2.0  # each of three statements takes up to 0.2 s; a comparison follows after 0.4 s


class _State(NamedTuple):
    version: str
    begins_at: datetime | None = None
    expires_at: datetime | None = None
    is_final: bool = False


class _Table:
    """A source whose subjects change. A statement sees the versions of some moment during it."""

    def __init__(self, source: random.Random, pause_s: float) -> None:
        self.source, self.pause_s = source, pause_s
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


async def _follow(source: random.Random) -> None:
    """Change the subjects, and let subscribers come, read late, and go."""
    table = _Table(source, source.choice((0.0, 0.6)))
    queries = hub.LiveQueries({"t": table})
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
            assert at <= max(changed_at[id_], begins) + _SEEN_S, "a change is seen late"
        except DatabaseUnavailable:
            assert last == -1, "an outage ends a subscription that has a state"
        finally:
            for _ in range(2):
                subscription.close()

    async def change() -> None:
        for _ in range(_CHANGES):
            await pause(source, 0.6)
            table.is_away = source.random() < 0.15
            id_ = source.choice(_SUBJECTS)
            table.versions[id_] += 1
            changed_at[id_] = time.monotonic()
        table.is_away = False
        changed_at.update(dict.fromkeys(_SUBJECTS, time.monotonic()))  # when the outage ended

    changing = asyncio.create_task(change())
    subscribers = (subscribe() for _ in range(_SUBSCRIBERS))
    await event_loop.gather(source, *subscribers, cancelled=0.2, seconds=2)
    await changing
    assert not queries._topics["t"].subjects, "a subject without subscribers remains"
    await asyncio.sleep(1)
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a task runs on without subscribers"


@pytest.mark.parametrize("seeds", event_loop.CHUNKS)
def test_each_subscriber_gets_the_newest_state_and_never_an_older_one(seeds: range) -> None:
    for seed in seeds:
        event_loop.run(seed, _follow)
