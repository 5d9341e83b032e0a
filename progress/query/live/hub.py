"""Who watches what, and the telling of each change: one for an instance, however many watch.

That something changed is heard by a notice in Redis, and found by comparing versions in the
database: often without Redis, now and then with it, since a notice can be lost. What changed is
read for many at once, on one connection, and only the newest state is kept for whoever watches.
"""

import asyncio
import contextlib
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from progress.adapters import request_scope
from progress.adapters.redis import channels
from progress.adapters.redis.subscriber import Subscriber
from progress.adapters.telemetry import logs
from progress.errors import Unavailable

_T = TypeVar("_T")

_MANY = 100  # that are read by one statement


class State(Protocol):
    """How something stands."""

    @property
    def version(self) -> str:
        """Another one after each change."""

    @property
    def until(self) -> datetime | None:
        """When the clock alone changes it; None for never."""

    @property
    def is_last(self) -> bool:
        """Whether it stays as it is."""


class Source(Protocol):
    """Where the things of one kind are read."""

    channel: str  # of the notices: this and an id

    async def versions(self, ids: Sequence[str]) -> Mapping[str, str]:
        """The version of each that has one; Unavailable if the database does not answer."""

    async def states(self, ids: Sequence[str]) -> Mapping[str, State]:
        """How each stands, its version seen no later than the rest; Unavailable likewise."""


class Pace(msgspec.Struct, frozen=True):
    """Seconds between two looks at the versions in the database."""

    alone: float = 0.4
    with_notices: float = 5.0
    at_most: float = 0.05  # however often there is reason for one
    after_failure: float = 0.2


class Watch(Generic[_T]):
    """Tells the state of one thing, then each newer one; of several not taken only the newest.

    `picked` is what of the state is told. Ends when it is closed, and after the last state. Raises
    Unavailable where the database does not answer and nothing was told yet.
    """

    def __init__(self, picked: Callable[[Any], _T], closed: Callable[["Watch[_T]"], None]) -> None:
        self._picked, self._closed = picked, closed
        self._state: State | None = None
        self._fault: Exception | None = None
        self._open = True
        self._news = asyncio.Event()

    @property
    def is_waiting(self) -> bool:
        """Whether nothing was told yet."""
        return self._state is None

    def __aiter__(self) -> "Watch[_T]":
        return self

    async def __anext__(self) -> _T:
        await self._news.wait()
        self._news.clear()
        if self._fault is not None:
            raise self._fault
        if not self._open or self._state is None:
            raise StopAsyncIteration
        if self._state.is_last:
            self.close()
        return self._picked(self._state)

    def tell(self, state: State) -> None:
        """The next that is told, unless a newer comes before."""
        self._state = state
        self._news.set()

    def fail(self, fault: Exception) -> None:
        """Nothing more is told."""
        self._fault = fault
        self._news.set()

    def close(self) -> None:
        """Watch no longer."""
        if self._open:
            self._open = False
            self._closed(self)
        self._news.set()


class _Watched:
    """A thing, how it stood when it was read last, and who watches it."""

    __slots__ = ("state", "watches")

    def __init__(self) -> None:
        self.state: State | None = None
        self.watches: set[Watch[Any]] = set()

    def is_another(self, version: str | None) -> bool:
        """Whether this version is; what was never read is about to be."""
        return self.state is not None and version != self.state.version

    def is_over(self, moment: datetime) -> bool:
        """Whether the clock has changed it."""
        until = self.state.until if self.state else None
        return until is not None and until <= moment


class _Kind:
    """The things of one kind that are watched, and those of them that may have changed."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.watched: dict[str, _Watched] = {}
        self.stale: dict[str, None] = {}  # in the order in which they changed

    def doubt(self, ids: Iterable[str]) -> None:
        """They may have changed."""
        self.stale.update((each, None) for each in ids if each in self.watched)

    def taken(self) -> list[str]:
        """Some that may have changed; they count as read from now on."""
        some = list(self.stale)[:_MANY]
        for each in some:
            del self.stale[each]
        return some

    def tell(self, states: Mapping[str, State]) -> None:
        """What was read, to those who watch it."""
        for name, state in states.items():
            if found := self.watched.get(name):
                found.state = state
                for watch in found.watches:
                    watch.tell(state)

    def fail(self, names: Iterable[str], fault: Unavailable) -> None:
        """Who was told nothing yet hears of it; for the others it is read again."""
        for name in names:
            if found := self.watched.get(name):
                for watch in found.watches:
                    if watch.is_waiting:
                        watch.fail(fault)
                self.stale[name] = None


class Changes:
    """What is watched, by the name of its kind and its id. Works while somebody watches."""

    def __init__(
        self, sources: Mapping[str, Source], redis_url: str | None, pace: Pace | None = None
    ) -> None:
        self._kinds = {name: _Kind(source) for name, source in sources.items()}
        self._pace = pace or Pace()
        self._reason, self._unread = asyncio.Event(), asyncio.Event()
        self._channels = {channels.EVERYONE}
        self._redis_url = redis_url
        self._subscriber: Subscriber | None = None
        self._work: asyncio.Task[None] | None = None

    def watch(self, kind: str, name: str, picked: Callable[[Any], _T]) -> Watch[_T]:
        """Tells the thing's state at once, and whenever it changed."""
        of = self._kinds[kind]
        found = of.watched.setdefault(name, _Watched())
        made = Watch(picked, lambda watch: self._left(of, name, watch))
        found.watches.add(made)
        of.stale[name] = None  # read anew though another watches: it may have changed just now
        self._unread.set()
        self._channels.add(of.source.channel + name)
        if self._work is None:
            self._work = asyncio.create_task(
                self._working(), context=request_scope.detached_context()
            )
            self._work.add_done_callback(self._ended)
        return made

    def _left(self, of: _Kind, name: str, watch: Watch[Any]) -> None:
        found = of.watched[name]
        found.watches.discard(watch)
        if found.watches:
            return
        del of.watched[name]
        of.stale.pop(name, None)
        self._channels.discard(of.source.channel + name)
        if self._work and not any(kind.watched for kind in self._kinds.values()):
            self._work.cancel()
            self._work = None

    def _ended(self, work: asyncio.Task[None]) -> None:
        """A fault of ours ends what is watched, so that nobody waits for what will not come."""
        if work.cancelled() or (fault := work.exception()) is None:
            return
        stack = "".join(traceback.format_exception(fault))
        logs.write("ERROR", f"changes are not told any more: {fault}", stack_trace=stack)
        if self._work is work:
            self._work = None
        broken = Unavailable("changes cannot be told")
        for kind in self._kinds.values():
            for watched in list(kind.watched.values()):
                for watch in list(watched.watches):
                    watch.fail(broken)

    async def _working(self) -> None:
        async with asyncio.TaskGroup() as work:
            work.create_task(self._looking())
            work.create_task(self._reading())
            if self._redis_url:
                self._subscriber = Subscriber(
                    self._redis_url, self._channels, self._heard, self._reason.set
                )
                work.create_task(self._subscriber.run())

    def _heard(self, channel: str) -> None:
        if channel == channels.EVERYONE:
            self._reason.set()
        for kind in self._kinds.values():
            if channel.startswith(kind.source.channel):
                kind.doubt([channel.removeprefix(kind.source.channel)])
        self._unread.set()

    async def _looking(self) -> None:
        """Compare versions, at the pace and whenever there is reason to."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._reason.wait()
            self._reason.clear()
            for kind in self._kinds.values():
                await self._look(kind)
            await asyncio.sleep(self._pace.at_most)

    def _pause(self) -> float:
        """Seconds until the next look: to the pace, or to the first that the clock changes."""
        hearing = self._subscriber is not None and self._subscriber.is_connected
        pause = self._pace.with_notices if hearing else self._pace.alone
        ends = [
            each.state.until
            for kind in self._kinds.values()
            for each in kind.watched.values()
            if each.state and each.state.until
        ]
        first = (min(ends) - datetime.now(UTC)).total_seconds() if ends else pause
        return max(0.0, min(pause, first))

    async def _look(self, kind: _Kind) -> None:
        if not kind.watched:
            return
        try:
            versions = await kind.source.versions(list(kind.watched))
        except Unavailable:
            return  # the next look will find what changed
        moment = datetime.now(UTC)
        kind.doubt(
            name
            for name, each in kind.watched.items()
            if each.is_another(versions.get(name)) or each.is_over(moment)
        )
        self._unread.set()

    async def _reading(self) -> None:
        """Read what may have changed, and tell it."""
        while True:
            await self._unread.wait()
            self._unread.clear()
            while any([await self._read(kind) for kind in self._kinds.values()]):
                pass

    async def _read(self, kind: _Kind) -> bool:
        """Some of the kind; whether there were any."""
        some = kind.taken()
        if not some:
            return False
        try:
            kind.tell(await kind.source.states(some))
        except Unavailable as fault:
            logs.write("WARNING", f"changes are not told yet: {fault}")
            kind.fail(some, fault)
            await asyncio.sleep(self._pace.after_failure)
        return True
