"""The group commit of ingest under seeded schedules of its threads."""

import contextlib
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from progress.errors import EventStoreError, ProgressError, PubSubUnavailable, Unavailable
from progress.event_store import Appended
from progress.ingest import group_commit
from tests.schedules import planted
from tests.schedules.threads import SeededThreads

_REQUESTS, _TIMEOUT_S, _APPEND_S, _WAKE_S = 8, 3.0, 2.0, 1.0


class _Stopped(Exception):
    """An unexpected error, such as a defect of a library."""


class _Database:
    """A log with one statement at a time; a commit may succeed although its reply is lost."""

    def __init__(self, threads: SeededThreads) -> None:
        self._threads, self._is_busy = threads, False
        self.recorded: set[int] = set()
        self.woken: set[int] = set()

    def append(self, _connection: object, deliveries: list[Any]) -> Appended:
        assert not self._is_busy, "two transactions share the connection"
        self._is_busy = True
        try:
            self._threads.pause(_APPEND_S / 2)
            self._fail(before_commit=True)
            if len(deliveries) > 1 and any(one.is_bad for one in deliveries):
                raise EventStoreError("one of the events is rejected")
            if deliveries[0].is_bad:
                raise EventStoreError("the event is rejected")
            self.recorded.update(one.number for one in deliveries)
            self._threads.pause(_APPEND_S / 2)
            self._fail(before_commit=False)
        finally:
            self._is_busy = False
        return Appended({"appended": len(deliveries)}, [one.number for one in deliveries])

    def _fail(self, *, before_commit: bool) -> None:
        chance = self._threads.random.random()
        if chance < 0.08:
            raise Unavailable("the connection broke")
        if before_commit and chance < 0.12:
            raise _Stopped

    def wake(self, shards: list[int], _delay: int) -> None:
        assert self.recorded.issuperset(shards), "a shard is woken before its events are recorded"
        self._threads.pause(_WAKE_S)
        if self._threads.random.random() < 0.1:
            raise PubSubUnavailable("no topic")
        self.woken.update(shards)


def schedule(module: ModuleType, seed: int) -> SeededThreads:
    threads = SeededThreads(seed)
    database = _Database(threads)
    module.__dict__.update(
        threading=threads.threading,
        time=threads.time,
        log=SimpleNamespace(append=database.append),
        database=SimpleNamespace(
            connect_within=lambda _seconds, connect: connect(),
            set_timeout=lambda *_: None,
            close=lambda *_, **__: None,
        ),
        tracing=SimpleNamespace(child_span=lambda *_: contextlib.nullcontext()),
        metrics=SimpleNamespace(age_ms=lambda *_: 0),
    )
    commits = module.GroupCommit(object, database.wake, _TIMEOUT_S)

    def deliver(number: int) -> None:
        threads.pause(4)
        is_bad = threads.random.random() < 0.1
        delivery = SimpleNamespace(number=number, is_bad=is_bad, entries=[1] * 400, size=1)
        begins = threads.now
        try:
            commits.append(delivery)
        except (ProgressError, _Stopped):
            return
        finally:
            # The transaction of a group may follow two retries, and the wake-ups follow it.
            late = threads.now - begins - _TIMEOUT_S
            assert late <= 2 * _APPEND_S * _REQUESTS + _WAKE_S, "a request waited too long"
        assert number in database.recorded, "a request is acknowledged that is not recorded"
        assert number in database.woken, "a request is acknowledged whose shard was not woken"

    for number in range(_REQUESTS):
        threads.start(lambda number=number: deliver(number))  # type: ignore[misc]
    threads.run()
    assert not commits._is_led, "nobody leads, but new requests wait for a leader"
    assert not commits._queue
    return threads


@pytest.mark.parametrize("seeds", planted.CHUNKS)
def test_what_is_acknowledged_is_recorded_and_woken_and_a_leader_follows(seeds: range) -> None:
    with planted.plant(group_commit) as module:
        for seed in seeds:
            schedule(module, seed)


_RACES = {
    "the group is released before its shards are woken": (
        "        error: Unavailable | None = InstanceUnavailable(\n",
        """        for ticket in group:
            ticket.turn.set()
        error: Unavailable | None = InstanceUnavailable(
""",
    ),
    "a failed wake-up fails nobody": (
        "                ticket.outcome = error or ticket.outcome\n",
        "                pass\n",
    ),
    "the shards are woken before the commit": (
        "                    group = self._take_group()\n",
        """                    group = self._take_group()
                    self._wake([ticket.delivery.number], 0)
""",
    ),
    "a leader that gave up has no successor": (
        "            if ticket.leads or ticket.turn.is_set():\n                return\n",
        "",
    ),
    "a request that gave up stays in the queue": (
        "            if ticket in self._queue:\n                self._queue.remove(ticket)\n",
        "",
    ),
    "a commit that was stopped fails nobody": (
        "            if ticket.outcome is None:\n",
        "            if False:\n",
    ),
    "two requests lead": (
        "                    ticket.leads, self._is_led = not self._is_led, True\n",
        """                    ticket.leads = not self._is_led
                self._is_led = True
""",
    ),
    "a successor is named outside of the lock": (
        """            with self._mutex:
                successor = self._queue[0] if self._queue else None
                self._is_led = successor is not None
                if successor is not None:
                    successor.leads = True
""",
        """            with self._mutex:
                successor = self._queue[0] if self._queue else None
            with self._mutex:
                self._is_led = successor is not None
                if successor is not None:
                    successor.leads = True
""",
    ),
}


@pytest.mark.parametrize("race", _RACES)
def test_each_planted_race_of_the_group_commit_is_found_and_repeats(race: str) -> None:
    with planted.plant(group_commit, _RACES[race]) as module:
        planted.find_seed(lambda seed: schedule(module, seed))
