"""The group commit of ingest under seeded schedules of its threads."""

import contextlib
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from progress.errors import EventStoreError, ProgressError, PubSubUnavailable, Unavailable
from progress.event_store import Appended
from progress.event_store.entries import Message
from progress.ingest import group_commit
from tests.schedules import event_loop
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


def _commit(seed: int) -> None:
    threads = SeededThreads(seed)
    database = _Database(threads)
    with mock.patch.multiple(
        group_commit,
        threading=threads.threading,
        time=threads.time,
        log=SimpleNamespace(append=database.append),
        database=SimpleNamespace(
            connect_within=lambda _seconds, connect: connect(),
            set_timeout=lambda *_: None,
            close=lambda *_, **__: None,
        ),
        tracing=SimpleNamespace(child_span=lambda *_: contextlib.nullcontext()),
    ):
        _deliver_all(threads, database)


def _deliver_all(threads: SeededThreads, database: _Database) -> None:
    connect: Any = object
    commits = group_commit.GroupCommit(connect, database.wake, _TIMEOUT_S)

    def deliver(number: int) -> None:
        threads.pause(4)
        is_bad = threads.random.random() < 0.1
        delivery: Any = SimpleNamespace(
            message=Message(), number=number, is_bad=is_bad, entries=[1] * 400, size=1
        )
        begins = threads.now
        try:
            commits.append(delivery)
        except (ProgressError, _Stopped) as error:
            is_rejected = isinstance(error, EventStoreError)
            assert is_bad or not is_rejected, "a request is rejected because another one is"
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


@pytest.mark.parametrize("seeds", event_loop.CHUNKS)
def test_what_is_acknowledged_is_recorded_and_woken_and_a_leader_follows(seeds: range) -> None:
    for seed in seeds:
        _commit(seed)
