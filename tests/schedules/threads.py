"""Threads of which one runs at a time: a seed decides each switch, and time is virtual.

A thread switches when it takes or gives back a lock, waits for an event, sets one, or pauses.
`Lock` and `Event` replace those of `threading` in the tested module.
"""

import random
import threading
from collections.abc import Callable
from types import SimpleNamespace

from tests.schedules.event_loop import Stuck


class _Ended(BaseException):
    """Ends the threads that are left after a failed schedule."""


class _Thread:
    def __init__(self, work: Callable[[], None], threads: "SeededThreads") -> None:
        self.until: Callable[[], bool] = lambda: True
        self.deadline = float("inf")
        self.error: BaseException | None = None
        self.is_done = False
        self.turn = threading.Semaphore(0)
        self._work, self._threads = work, threads
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.turn.acquire()
        try:
            if not self._threads.is_ending:
                self._work()
        except BaseException as error:  # noqa: BLE001 # the schedule raises it
            self.error = error
        self.is_done = True
        self._threads.control.release()


class SeededThreads:
    """The threads and their clock."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 1_000.0
        self.control = threading.Semaphore(0)
        self.is_ending = False
        self._threads: list[_Thread] = []
        self._current: _Thread | None = None
        lock = lambda: _Lock(self)  # noqa: E731
        self.threading = SimpleNamespace(Lock=lock, Event=lambda: _Event(self))
        self.time = SimpleNamespace(monotonic=lambda: self.now)

    def start(self, work: Callable[[], None]) -> None:
        self._threads.append(_Thread(work, self))

    def switch(
        self, until: Callable[[], bool] = lambda: True, timeout: float | None = None
    ) -> bool:
        """Let another thread run; return once `until` is true, or false after the time."""
        if self.is_ending:
            raise _Ended
        current = self._current
        assert current
        current.until = until
        current.deadline = float("inf") if timeout is None else self.now + timeout
        self.control.release()
        current.turn.acquire()
        if self.is_ending:
            raise _Ended
        return until()

    def pause(self, seconds: float) -> None:
        """Let other threads run, or 1 to 4 quarters of the time pass, so that ends coincide."""
        if length := self.random.randrange(5) * seconds / 4:
            self.switch(lambda: False, length)
        else:
            self.switch()

    def run(self) -> None:
        """Run the threads to their ends; raise the first error, or Stuck if none can go on."""
        try:
            while left := [one for one in self._threads if not one.is_done]:
                self._run_one(left)
        finally:
            self.is_ending = True
            for one in self._threads:
                if not one.is_done:
                    one.turn.release()
                one.thread.join()

    def _run_one(self, left: list[_Thread]) -> None:
        able = [one for one in left if one.until() or one.deadline <= self.now]
        if not able:
            self.now = min(one.deadline for one in left)
            if self.now == float("inf"):
                raise Stuck
            return
        chosen = self._current = self.random.choice(able)
        chosen.turn.release()
        self.control.acquire()
        if chosen.is_done and chosen.error:
            raise chosen.error


class _Lock:
    def __init__(self, threads: SeededThreads) -> None:
        self._threads, self._is_held = threads, False

    def __enter__(self) -> None:
        self._threads.switch(lambda: not self._is_held)
        self._is_held = True

    def __exit__(self, *_error: object) -> None:
        self._is_held = False
        self._threads.switch()


class _Event:
    def __init__(self, threads: SeededThreads) -> None:
        self._threads, self._is_set = threads, False

    def set(self) -> None:
        self._is_set = True
        self._threads.switch()

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        return self._threads.switch(lambda: self._is_set, timeout)
