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

    async def hold(sender: str, name: str, size: int) -> None:
        try:
            with held.hold(sender) as resize:
                resize(size)
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
    with held.hold("ann") as resize:
        resize(100)
        with pytest.raises(InstanceFull):
            resize(101)


@in_event_loop
async def test_next_is_decoded_what_the_sender_who_has_sent_least_waits_for() -> None:
    held, may_end, order = HeldBodies(threads=1), threading.Event(), list[str]()

    def decode(name: str) -> None:
        order.append(name)
        assert may_end.wait(10)

    sent = [("eve", 9, "eve 1"), ("eve", 9, "eve 2"), ("eve", 9, "eve 3"), ("ann", 5, "ann 1")]
    sent += [("ben", 20, "ben 1"), ("ann", 5, "ann 2"), ("eve", 1, "cancelled")]
    tasks = []
    for sender, size, name in sent:
        decoding = held.decode(sender, size, functools.partial(decode, name))
        tasks.append(asyncio.create_task(decoding))
        await asyncio.sleep(0)
        while not order:
            await asyncio.sleep(0)
    cancelled = tasks.pop()
    cancelled.cancel()
    await asyncio.wait({cancelled})
    may_end.set()
    await asyncio.gather(*tasks)
    assert order == ["eve 1", "ann 1", "eve 2", "ann 2", "eve 3", "ben 1"]
