"""Of the long bodies that wait, the one of the sender who has sent the least is decoded next."""

import asyncio
import functools
import threading

from progress.query.http.turns import Turns
from tests.support.event_loop import in_event_loop


@in_event_loop
async def test_senders_take_turns() -> None:
    turns, may_end, order = Turns(1), threading.Event(), list[str]()

    def decode(name: str) -> None:
        order.append(name)
        assert may_end.wait(10)

    sent = [("eve", 9, "eve 1"), ("eve", 9, "eve 2"), ("eve", 9, "eve 3"), ("ann", 5, "ann 1")]
    sent += [("ben", 20, "ben 1"), ("ann", 5, "ann 2"), ("eve", 1, "cancelled")]
    tasks = []
    for sender, size, name in sent:
        tasks.append(asyncio.create_task(turns.run(sender, size, functools.partial(decode, name))))
        await asyncio.sleep(0)
    tasks.pop().cancel()
    may_end.set()
    await asyncio.gather(*tasks)
    assert order == ["eve 1", "ann 1", "ann 2", "eve 2", "ben 1", "eve 3"]
    await turns.run("eve", 1, functools.partial(decode, "eve 4"))
    assert order[-1] == "eve 4"


@in_event_loop
async def test_a_body_that_was_cancelled_in_its_turn_gives_its_place_back() -> None:
    turns, may_end = Turns(1), threading.Event()
    first = asyncio.create_task(turns.run("eve", 1, lambda: may_end.wait(10)))
    second = asyncio.create_task(turns.run("ann", 1, lambda: True))
    await asyncio.sleep(0)
    may_end.set()
    assert await first
    second.cancel()  # its turn has come, and it has not begun
    assert await turns.run("ben", 1, lambda: True)
