"""Those who watch are told the newest state, whatever happens on the way to it."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest
from msgspec import Struct

from progress.errors import Unavailable
from progress.query.live.hub import Changes, Pace, Watch

QUICK = Pace(alone=0.01, at_most=0.001, after_failure=0.01)


class Standing(Struct, frozen=True):
    version: str
    told: int
    is_last: bool = False
    until: datetime | None = None


class Things:
    """Where things are read in memory: their states, and what goes wrong with the next reading."""

    channel = "changed:thing:"

    def __init__(self) -> None:
        self.standing: dict[str, Standing] = {}
        self.fault: Exception | None = None
        self.readings: list[list[str]] = []

    def set(self, name: str, told: int, *, is_last: bool = False) -> None:
        self.standing[name] = Standing(str(told), told, is_last)

    async def versions(self, ids: Sequence[str]) -> Mapping[str, str]:
        return {each: self.standing[each].version for each in ids}

    async def states(self, ids: Sequence[str]) -> Mapping[str, Standing]:
        self.readings.append(list(ids))
        await asyncio.sleep(0)
        if self.fault:
            raise self.fault
        return {each: self.standing[each] for each in ids}


def told(state: Any) -> int:
    found: int = state.told
    return found


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


def opened(things: Things, *names: str) -> tuple[Changes, list[Watch[int]]]:
    changes = Changes({"thing": things}, None, QUICK)
    return changes, [changes.watch("thing", name, told) for name in names]


def test_many_are_read_by_few_statements() -> None:
    async def scene() -> None:
        things = Things()
        names = [f"t{n}" for n in range(250)]
        for name in names:
            things.set(name, 1)
        _, watches = opened(things, *names, *names)
        assert [await anext(each) for each in watches] == [1] * 500
        assert sorted(map(len, things.readings)) == [50, 100, 100]
        for each in watches:
            each.close()

    run(scene())


def test_of_several_states_that_were_not_taken_the_newest_is_told() -> None:
    async def scene() -> None:
        things = Things()
        things.set("a", 1)
        _, (idle, busy) = opened(things, "a", "a")
        for number in range(2, 20):
            assert await anext(busy) == number - 1
            things.set("a", number)
        assert await anext(busy) == 19
        assert await anext(idle) == 19
        idle.close()
        busy.close()

    run(scene())


def test_a_last_state_ends_the_watch() -> None:
    async def scene() -> None:
        things = Things()
        things.set("a", 1)
        _, (watch,) = opened(things, "a")
        assert await anext(watch) == 1
        things.set("a", 2, is_last=True)
        assert [each async for each in watch] == [2]

    run(scene())


def test_who_was_told_nothing_hears_of_a_failure_and_the_others_of_the_state_after_it() -> None:
    async def scene() -> None:
        things = Things()
        things.set("a", 1)
        changes, (old,) = opened(things, "a")
        assert await anext(old) == 1
        things.fault = Unavailable("away")
        new = changes.watch("thing", "a", told)
        with pytest.raises(Unavailable, match="away"):
            await anext(new)
        new.close()
        things.set("a", 2)
        things.fault = None
        while await anext(old) != 2:
            pass  # the first may be read again
        old.close()

    run(scene())


def test_a_fault_of_ours_ends_what_is_watched_and_nothing_that_comes_later(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def scene() -> None:
        things = Things()
        things.set("a", 1)
        changes, (old,) = opened(things, "a")
        assert await anext(old) == 1
        things.fault = ValueError("odd")
        things.set("a", 2)
        with pytest.raises(Unavailable):
            await anext(old)
        old.close()
        things.fault = None
        new = changes.watch("thing", "a", told)
        assert await anext(new) == 2
        new.close()

    run(scene())
    assert "ValueError: odd" in capsys.readouterr().out


def test_nothing_works_on_where_nobody_watches() -> None:
    async def scene() -> None:
        things = Things()
        things.set("a", 1)
        for _ in range(3):
            _, watches = opened(things, "a", "a")
            assert [await anext(each) for each in watches] == [1, 1]
            for each in watches:
                each.close()
                each.close()
            async with asyncio.timeout(5):
                while asyncio.all_tasks() != {asyncio.current_task()}:
                    await asyncio.sleep(0)

    run(scene())
