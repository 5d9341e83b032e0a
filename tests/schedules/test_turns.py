"""The turns of the project function of one machine, under seeded schedules of its threads."""

import contextlib
from types import SimpleNamespace
from unittest import mock

import pytest

from progress.errors import OperationClaimed, PubSubUnavailable
from progress.projections import turns
from tests.schedules import event_loop
from tests.schedules.threads import SeededThreads

_WAKES, _CALLS, _SHARDS = 2, 6, 4


class _Work:
    """What is recorded and folded of each shard; each fold folds what was recorded before it."""

    def __init__(self, threads: SeededThreads) -> None:
        self._threads = threads
        self.recorded, self.folded = [0] * _SHARDS, [0] * _SHARDS
        self._busy: set[int] = set()
        self._operations = 0
        self.failures = 0

    def wake(self, shard: int, _delay: int) -> None:
        assert shard not in self._busy, "two workers have a shard"
        self._busy.add(shard)
        assert len(self._busy) <= _WAKES, "more wake-ups than sessions"
        seen = self.recorded[shard]
        self._threads.pause(1)
        self._busy.remove(shard)
        if self._threads.random.random() < 0.1:
            self.failures += 1
            raise PubSubUnavailable("not published")
        self.folded[shard] = seen

    def run(self) -> None:
        self._operations += 1
        assert self._operations <= turns.OPERATIONS, "more operations than sessions"
        self._threads.pause(1)
        self._operations -= 1


def _run(seed: int) -> None:
    threads = SeededThreads(seed)
    work = _Work(threads)
    with mock.patch.multiple(
        turns, threading=threads.threading, projector=SimpleNamespace(wake=work.wake)
    ):
        taken, ended = turns.Turns(_WAKES), []

        def call() -> None:
            threads.pause(2)
            shard = threads.random.randrange(_SHARDS)
            work.recorded[shard] += 1
            with contextlib.suppress(PubSubUnavailable):
                taken.wake(shard, 0)
            with contextlib.suppress(OperationClaimed), taken.operation():
                work.run()
            ended.append(shard)

        def sweep() -> None:
            threads.switch(lambda: len(ended) == _CALLS)
            if not work.failures:
                assert work.folded == work.recorded, "what had to wait was not folded"
            while work.folded != work.recorded:
                for shard in range(_SHARDS):
                    with contextlib.suppress(PubSubUnavailable):
                        taken.wake(shard, 0)

        for each in (*[call] * _CALLS, sweep):
            threads.start(each)
        threads.run()


@pytest.mark.parametrize("seeds", event_loop.CHUNKS)
def test_each_recorded_event_is_folded_by_no_more_workers_than_there_are_sessions(
    seeds: range,
) -> None:
    for seed in seeds:
        _run(seed)
