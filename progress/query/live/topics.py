"""Topics of live queries. A topic holds the subscribed learners or operations, and their states."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from progress.errors import Unavailable

_T = TypeVar("_T")

_BATCH_SIZE = 100  # subjects that one statement reads


class State(Protocol):
    """The state of a learner or an operation at one version."""

    @property
    def version(self) -> str:
        """The version, which differs after each change."""

    @property
    def expires_at(self) -> datetime | None:
        """The time when the state becomes out of date even without a change, or None if never."""

    @property
    def is_final(self) -> bool:
        """True if no change can follow."""


class Source(Protocol):
    """A reader of one topic's subjects; it raises Unavailable if the database does not respond."""

    channel: str  # the prefix of notification channels; a subject's id follows it

    async def fetch_versions(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Return the version of each subject; leave out subjects that do not exist."""

    async def fetch_states(self, ids: Sequence[str]) -> Mapping[str, State]:
        """Return each subject's state. The data of a state is at least as new as its version."""


class Subscription(Generic[_T]):
    """An iterator over the states of one subject: first the current state, then newer states.

    A newer state replaces a state that the subscriber has not taken yet. `select` returns the part
    of a state that the subscriber gets. The iteration ends when the subscription is closed, and
    after a final state. If the first state cannot be read, the iteration raises Unavailable.
    If `check` is set, it is called before each state; an error that it raises is passed on.
    """

    def __init__(
        self, select: Callable[[Any], _T], unsubscribe: Callable[["Subscription[_T]"], None]
    ) -> None:
        self._select, self._unsubscribe = select, unsubscribe
        self.check: Callable[[], Awaitable[None]] | None = None
        self._state: State | None = None
        self._error: Exception | None = None
        self._is_open = True
        self._updated = asyncio.Event()

    @property
    def is_waiting(self) -> bool:
        """True until the first state has arrived."""
        return self._state is None

    def __aiter__(self) -> "Subscription[_T]":
        return self

    async def __anext__(self) -> _T:
        await self._updated.wait()
        if self.check is not None and self._is_open:
            await self.check()
        # Clear the event only after the check. If the check is cancelled, the next call must still
        # find the state.
        self._updated.clear()
        if self._error is not None:
            raise self._error
        if not self._is_open or self._state is None:
            raise StopAsyncIteration
        if self._state.is_final:
            self.close()
        return self._select(self._state)

    def publish(self, state: State) -> None:
        """Let the iteration yield this state next, unless a newer state replaces it first."""
        self._state = state
        self._updated.set()

    def fail(self, error: Exception) -> None:
        """Make the iteration raise this error next."""
        self._error = error
        self._updated.set()

    def close(self) -> None:
        """Unsubscribe and end the iteration."""
        if self._is_open:
            self._is_open = False
            self._unsubscribe(self)
        self._updated.set()


class Subject:
    """A learner or an operation with its subscriptions and the state that was read last."""

    __slots__ = ("state", "subscriptions")

    def __init__(self) -> None:
        self.state: State | None = None
        self.subscriptions: set[Subscription[Any]] = set()

    def has_changed(self, version: str | None) -> bool:
        """Return whether the version differs from the state's; False before the first read."""
        return self.state is not None and version != self.state.version

    def has_expired(self, now: datetime) -> bool:
        expires_at = self.state.expires_at if self.state else None
        return expires_at is not None and expires_at <= now


class Topic:
    """The subscribed subjects of one source. Those that may have changed are stale."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.subjects: dict[str, Subject] = {}
        self.stale: dict[str, None] = {}  # subjects to read again, in the order of marking

    def mark_stale(self, ids: Iterable[str]) -> None:
        """Mark these subjects to be read again; ignore those without a subscription."""
        self.stale.update((id_, None) for id_ in ids if id_ in self.subjects)

    def pop_batch(self) -> list[str]:
        """Remove and return some stale subjects, which the caller must read."""
        batch = list(self.stale)[:_BATCH_SIZE]
        for id_ in batch:
            del self.stale[id_]
        return batch

    def publish(self, states: Mapping[str, State]) -> None:
        for id_, state in states.items():
            if subject := self.subjects.get(id_):
                subject.state = state
                for subscription in subject.subscriptions:
                    subscription.publish(state)

    def fail(self, ids: Iterable[str], error: Unavailable) -> None:
        """Fail the subscriptions that have no state yet, and read the subjects again later."""
        for id_ in ids:
            if subject := self.subjects.get(id_):
                for subscription in subject.subscriptions:
                    if subscription.is_waiting:
                        subscription.fail(error)
                self.stale[id_] = None
