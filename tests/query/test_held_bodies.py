"""Nobody fills the memory with bodies, and nobody waits for all of somebody else's."""

import asyncio
import functools
import threading

import pytest

from progress.errors import InstanceFull
from progress.query.http.held_bodies import HeldBodies
from tests.support.event_loop import in_event_loop


@in_event_loop
async def test_the_newest_body_of_the_sender_who_has_most_is_given_up() -> None:
    held, given_up, may_end = HeldBodies(most=100), list[str](), asyncio.Event()

    async def hold(name: str) -> None:
        sender, size = name.split()
        try:
            async with held.hold(sender) as resize:
                resize(int(size))
                await may_end.wait()
        except InstanceFull:
            given_up.append(name)

    async with asyncio.TaskGroup() as group:
        for name in ("eve 40", "eve 20", "ann 40", "ann 1", "ben 20", "eve 90"):
            group.create_task(hold(name))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        may_end.set()
    assert given_up == ["eve 20", "ann 1", "eve 90"]
    async with held.hold("ann") as resize:
        resize(100)
        with pytest.raises(InstanceFull):
            resize(101)


@in_event_loop
async def test_next_is_decoded_what_the_sender_who_has_sent_least_waits_for() -> None:
    held, may_end, order = HeldBodies(), threading.Event(), list[str]()

    def decode(name: str) -> None:
        order.append(name)
        assert may_end.wait(60)

    tasks = []
    for name in ("eve 9", "eve 10", "eve 11", "ann 5", "ben 40", "ann 6", "eve 1"):
        sender, size = name.split()
        decoding = held.decode(sender, int(size), functools.partial(decode, name))
        tasks.append(asyncio.create_task(decoding))
        await asyncio.sleep(0)
        while not order:
            await asyncio.sleep(0)
    tasks[-1].cancel()
    await asyncio.wait({tasks.pop()})
    may_end.set()
    await asyncio.gather(*tasks)
    assert order == ["eve 9", "ann 5", "eve 10", "ann 6", "eve 11", "ben 40"]
