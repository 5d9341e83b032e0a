"""Connections parse in turns, and the sockets of a caller 100 messages a second."""

import asyncio
import itertools
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from progress.query.http import turns
from progress.query.http.turns import DocumentTurns, InTurns, MessageRate, Turns
from tests.support.event_loop import in_event_loop


class _Loop:
    """An event loop whose turns a test begins."""

    def __init__(self) -> None:
        self.next: list[tuple[Any, ...]] = []

    def call_soon(self, *call: Any) -> None:
        self.next.append(call)


class _Connection(InTurns):
    """A connection, and its own transport, that notes what it parses."""

    def __init__(self, loop: _Loop, all_turns: Turns, speed: int) -> None:
        self.loop, self.turns = loop, all_turns  # type: ignore[assignment]
        self.transport = self  # type: ignore[assignment]
        self.parsed, self.is_paused, self._speed, self.is_gone = b"", False, speed, False

    def parse(self, data: bytes) -> None:
        self.parsed += data

    def speed(self) -> int:
        return self._speed

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return self.is_gone

    def abort(self) -> None:
        self.is_gone = True


_SIZES = st.integers(1, 5_000)


@given(st.lists(st.tuples(_SIZES, st.sampled_from([1, 4, 16])), min_size=20, max_size=60))
def test_each_turn_parses_little_and_of_each_connection_in_turn(
    sizes: list[tuple[int, int]],
) -> None:
    loop, all_turns = _Loop(), Turns()
    connections = [_Connection(loop, all_turns, speed) for _, speed in sizes]
    sent = [bytes(n % 251 for n in range(size * speed)) for size, speed in sizes]
    for connection, data in zip(connections, sent, strict=True):
        connection.data_received(data[: len(data) // 2])
        connection.data_received(data[len(data) // 2 :])
    late = _Connection(loop, all_turns, 1)
    late.data_received(b"late")
    before, number = [0] * len(connections), 0
    while loop.next:
        if number:
            (begin, *arguments), loop.next = loop.next[0], loop.next[1:]
            begin(*arguments)
        number += 1
        after = [len(each.parsed) for each in connections]
        cost = sum((b - a) // c._speed for a, b, c in zip(before, after, connections, strict=True))
        assert cost <= turns._TURN_BYTES + turns._PART_BYTES
        before = after
        if number > 3 + len(sizes) * turns._PART_BYTES // turns._TURN_BYTES:
            assert late.parsed == b"late"
        for each, data in zip(connections, sent, strict=True):
            assert each.is_paused == (len(each.parsed) < len(data))
    assert [each.parsed for each in connections] == sent


def test_a_crowd_holds_little_memory() -> None:
    loop, all_turns = _Loop(), Turns()
    crowd = [_Connection(loop, all_turns, 1) for _ in range(600)]
    for connection in crowd:
        connection.data_received(bytes(200_000))
    assert sum(len(each._unparsed) for each in crowd if not each.is_gone) < 260 * 200_000
    small = _Connection(loop, all_turns, 1)
    small.data_received(bytes(1_000))
    assert not small.is_gone


@given(st.lists(st.tuples(st.floats(0, 0.4), st.integers(1, 60)), max_size=200))
def test_a_caller_s_messages_are_read_at_100_a_second(sent: list[tuple[float, int]]) -> None:
    now, rate, seconds = 1_000.0, MessageRate(1_000.0), Counter[int]()
    for pause, messages in sent:
        now += pause
        while wait := rate.pause(now):
            now += wait
        for _ in range(messages):
            rate.count()
        seconds[int(now)] += messages
    for second in seconds:  # a part of what was read may have more messages than are left
        assert sum(seconds[second - n] for n in range(5)) < 5 * 100 + 60


def test_who_goes_on_for_ten_seconds_is_told_apart_from_who_pauses() -> None:
    flood, bursts = MessageRate(0.0), MessageRate(0.0)
    for second in range(30):
        for _ in range(150):
            flood.count()
        for _ in range(150 * (second % 3 == 0)):
            bursts.count()
        assert flood.pause(second + 1.0) or second == 0
        assert flood.is_exceeded() == (second >= 9)
        bursts.pause(second + 1.0)
        assert not bursts.is_exceeded()


@in_event_loop
async def test_new_documents_are_read_apart_and_of_each_caller_one_before_the_next_caller() -> None:
    documents, read, before = DocumentTurns(), list[str](), [0]

    async def ask(caller: str) -> None:
        await documents.wait(caller)
        read.append(caller)

    asked = [asyncio.create_task(ask(caller)) for caller in ["ann"] * 50 + ["ben"] * 2]
    while not all(task.done() for task in asked):
        await asyncio.sleep(0)
        before.append(len(read))
    assert max(now - then for then, now in itertools.pairwise(before)) == 1
    assert Counter(read[:4]) == {"ann": 2, "ben": 2}
