"""Bodies that never end take bounded memory, and the one who sends most of them is refused."""

import asyncio

import pytest

from progress.errors import InstanceFull
from progress.query.http.held_bodies import HeldBodies
from tests.support.event_loop import in_event_loop


@in_event_loop
async def test_the_newest_body_of_the_sender_who_has_most_is_given_up() -> None:
    held, given_up, may_end = HeldBodies(most=100), list[str](), asyncio.Event()

    async def hold(sender: str, name: str, size: int) -> None:
        try:
            with held.hold(sender) as holding:
                holding.resize(size)
                await may_end.wait()
        except InstanceFull:
            given_up.append(name)

    async with asyncio.TaskGroup() as group:
        for sender, name, size in [
            ("eve", "eve 1", 40), ("eve", "eve 2", 20), ("ann", "ann 1", 40), ("ann", "ann 2", 1),
            ("ben", "ben 1", 20), ("eve", "eve 3", 90),
        ]:  # fmt: skip
            group.create_task(hold(sender, name, size))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        may_end.set()
    assert given_up == ["eve 2", "ann 2", "eve 3"]
    with held.hold("ann") as holding:
        holding.resize(100)
        with pytest.raises(InstanceFull):
            holding.resize(101)
