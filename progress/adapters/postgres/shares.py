"""Shares of a pool's places, so that nobody waits for all statements of somebody else.

While another caller waits, a caller has at most a third of the places, and never more than three;
while nobody does, all but one. A free place goes to the caller who has the fewest, and of several
to the one who has used places for the shortest time since somebody began to wait. Who comes later
is taken to have used as much as the one who has used least, so that a caller in turn cannot be
overtaken for ever.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

from progress.errors import CallerBusy, InstanceUnavailable, Unavailable

_MAX_WAITING, _MAX_OF_CALLER = 200, 120  # calls
_MAX_SHARE = 3  # places

T = TypeVar("T", bound=Hashable)


class Shares(Generic[T]):
    """Who has the `size` places, and the calls (any hashable values) that wait for one."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._share = max(1, min(_MAX_SHARE, size // 3))
        self._alone = max(1, size - 1)
        self._places: Counter[str] = Counter()  # by caller; without zeros
        self._waiting: dict[str, dict[T, None]] = {}  # in the order of arrival; nobody without any
        self._used: dict[str, float] = {}  # seconds

    def take(self, caller: str) -> bool:
        """Take a place for the caller; return False if the call must wait."""
        if not self._may_take(caller):
            return False
        self._free -= 1
        self._places[caller] += 1
        return True

    def wait(self, caller: str, call: T) -> T | None:
        """Let a call wait; return the call that must be given up for it, which may be this one.

        With 200 calls, that is the newest of the caller who has most. Raise CallerBusy if 120 of
        the caller wait.
        """
        calls = self._waiting.get(caller, {})
        if len(calls) >= _MAX_OF_CALLER:
            raise CallerBusy(f"{_MAX_OF_CALLER} of your statements wait: let some of them end")
        if not calls:
            least = min((self._used.get(each, 0) for each in self._waiting), default=0)
            self._used[caller] = max(self._used.get(caller, 0), least)
            self._waiting[caller] = calls
        calls[call] = None
        if sum(map(len, self._waiting.values())) <= _MAX_WAITING:
            return None
        most = max(self._waiting, key=lambda each: len(self._waiting[each]))
        newest = next(reversed(self._waiting[most]))
        self.leave(most, newest)
        return newest

    def calls(self) -> list[T]:
        """Return the calls that wait."""
        return [call for calls in self._waiting.values() for call in calls]

    def leave(self, caller: str, call: T) -> None:
        """End the wait of a call, if it waits."""
        calls = self._waiting.get(caller, {})
        if call in calls:
            del calls[call]
            if not calls:
                del self._waiting[caller]

    def take_next(self) -> tuple[str, T] | None:
        """Take a place for a call that waits; return it with its caller; None if none may start."""
        callers = [caller for caller in self._waiting if self._may_take(caller)]
        if not callers:
            return None
        caller = min(callers, key=lambda each: (self._places[each], self._used[each]))
        self.take(caller)
        call = next(iter(self._waiting[caller]))
        self.leave(caller, call)
        return caller, call

    def give_back(self, caller: str, seconds: float) -> bool:
        """Give back a place that the caller had for so long; return whether calls wait."""
        self._free += 1
        self._places[caller] -= 1
        if not self._places[caller]:
            del self._places[caller]
        if self._waiting:
            self._used[caller] = self._used.get(caller, 0) + seconds
        else:
            self._used.clear()
        return bool(self._waiting)

    def _may_take(self, caller: str) -> bool:
        is_alone = not self._waiting or self._waiting.keys() == {caller}
        return self._free > 0 and self._places[caller] < (self._alone if is_alone else self._share)


class Places(Shares[asyncio.Future[None]]):
    """The places of a pool, and the calls that wait until it is their turn."""

    async def acquire(self, caller: str, deadline: float) -> None:
        """Take a place, by a time of the loop.

        Raise InstanceUnavailable if none becomes free in time, or if too many calls wait for one,
        and CallerBusy if too many of the caller do.
        """
        if not self.take(caller):
            await self._acquire_later(caller, deadline)

    async def _acquire_later(self, caller: str, deadline: float) -> None:
        call = asyncio.get_running_loop().create_future()
        given_up = self.wait(caller, call)
        if given_up and not given_up.done():
            given_up.set_exception(InstanceUnavailable("too many calls wait for a connection"))
        try:
            async with asyncio.timeout_at(deadline):
                await call
        except BaseException as error:
            self.leave(caller, call)
            if call.done() and not call.cancelled() and call.exception() is None:
                self.give_back(caller, 0)
            self._let_go_on()
            if isinstance(error, TimeoutError):
                raise InstanceUnavailable("no connection to the database became free") from None
            raise

    def release(self, caller: str, since: float) -> None:
        """Give back a place that the caller has had since this monotonic time."""
        if self.give_back(caller, time.monotonic() - since):
            self._let_go_on()

    def end_waits(self, error: Unavailable) -> None:
        for call in self.calls():
            if not call.done():
                call.set_exception(error)

    def _let_go_on(self) -> None:
        """Let the calls go on that may now have a place."""
        while found := self.take_next():
            caller, call = found
            if call.done():  # cancelled, or the pool is closed
                self.give_back(caller, 0)
            else:
                call.set_result(None)
