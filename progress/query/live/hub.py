"""Live queries: one poller per instance feeds all subscribers.

The poller compares the versions of all subjects, such as learners or operations, with those in the
database. Changed subjects are read in batches, and a subscriber gets only the newest state.
"""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from progress.adapters import request_scope
from progress.adapters.telemetry import logs
from progress.errors import InstanceUnavailable, Unavailable

_T = TypeVar("_T")

POLL_S = 0.4  # the pause between two comparisons of versions
_COMPARED = 1_000  # subjects whose versions one statement reads
_BATCH_SIZE = 100  # subjects whose states one statement reads
_AFTER_ERROR_S = 0.2


class SubjectState(Protocol):
    """The state of a learner or an operation at one version."""

    @property
    def version(self) -> str:
        """The version, which differs after each change."""

    @property
    def begins_at(self) -> datetime | None:
        """The time since which the state is right; set if `expires_at` is."""

    @property
    def expires_at(self) -> datetime | None:
        """The time when the state becomes out of date even without a change, or None if never."""

    @property
    def is_final(self) -> bool:
        """True if no change can follow."""


class Source(Protocol):
    """A reader of one topic's subjects; it raises Unavailable if the database does not respond."""

    @property
    def pause_s(self) -> float:
        """The seconds that pass at least between two reads of a subject."""

    async def fetch_versions(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Return the version of each subject; leave out subjects that do not exist."""

    async def fetch_states(self, ids: Sequence[str]) -> Mapping[str, SubjectState]:
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
        self._state: SubjectState | None = None
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

    @property
    def tasks(self) -> str | None:
        """What changes with a learner's tasks; None of other subjects."""
        return getattr(self._state, "tasks", None)

    def publish(self, state: SubjectState) -> None:
        """Let the iteration yield this state next, unless a newer state replaces it first."""
        self._state = state
        self._updated.set()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._updated.set()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._unsubscribe(self)
        self._updated.set()


class Subject:
    """A learner, operation or group with its subscriptions and the state that was read last."""

    __slots__ = ("read_at", "state", "subscriptions")

    def __init__(self) -> None:
        self.state: SubjectState | None = None
        self.read_at = 0.0  # on the monotonic clock
        self.subscriptions: dict[Subscription[Any], None] = {}  # in the order of their beginning

    def has_changed(self, version: str | None) -> bool:
        """Return whether the version differs from the state's; False before the first read."""
        return self.state is not None and version != self.state.version

    def has_expired(self, now: datetime) -> bool:
        """Return whether the state is one of earlier or, after a step of the clock, of later."""
        if self.state is None or self.state.begins_at is None or self.state.expires_at is None:
            return False
        return not self.state.begins_at <= now < self.state.expires_at


class Topic:
    """The subscribed subjects of one source. Those that may have changed are stale."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.subjects: dict[str, Subject] = {}
        self.stale: dict[str, None] = {}  # subjects to read again, in the order of marking

    def mark_stale(self, ids: Iterable[str]) -> None:
        """Mark these subjects to be read again.

        Ignore those without a subscription. Ignore also those whose pause has not ended: the next
        comparison of versions finds their change.
        """
        self.stale.update((id_, None) for id_ in ids if id_ in self.subjects and self.may_read(id_))

    def may_read(self, id_: str) -> bool:
        """Return whether the subject has no pause, or its pause has ended."""
        return time.monotonic() >= self.subjects[id_].read_at + self.source.pause_s

    def pop_batch(self) -> list[str]:
        """Remove and return some stale subjects, which the caller must read."""
        batch = list(self.stale)[:_BATCH_SIZE]
        for id_ in batch:
            del self.stale[id_]
        return batch

    def publish(self, states: Mapping[str, SubjectState]) -> None:
        for id_, state in states.items():
            if subject := self.subjects.get(id_):
                # Only a new subscriber needs a known state. A result for each would take time.
                is_known = state == subject.state
                subject.state, subject.read_at = state, time.monotonic()
                for subscription in subject.subscriptions:
                    if subscription.is_waiting or not is_known:
                        subscription.publish(state)

    def fail(self, ids: Iterable[str], error: Unavailable) -> None:
        """Fail the subscriptions that have no state yet, and read the subjects again later."""
        for id_ in ids:
            if subject := self.subjects.get(id_):
                for subscription in subject.subscriptions:
                    if subscription.is_waiting:
                        subscription.fail(error)
                self.stale[id_] = None


class LiveQueries:
    """The subscriptions of an instance. The poller runs while at least one subscription exists."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._topics = {name: Topic(source) for name, source in sources.items()}
        self._has_stale = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    def subscribe(self, topic_name: str, id_: str, select: Callable[[Any], _T]) -> Subscription[_T]:
        """Return a subscription to the current state of a subject and to its changes."""
        topic = self._topics[topic_name]
        subject = topic.subjects.setdefault(id_, Subject())
        subscription = Subscription(select, lambda closed: self._unsubscribe(topic, id_, closed))
        subject.subscriptions[subscription] = None
        if subject.state is None or topic.may_read(id_):
            topic.stale[id_] = None  # even a known state is read again, as it may have changed
            self._has_stale.set()
        else:
            subscription.publish(subject.state)
        if self._worker is None:
            self._worker = asyncio.create_task(
                self._run(), context=request_scope.detached_context()
            )
            self._worker.add_done_callback(self._fail_all)
        return subscription

    def _unsubscribe(self, topic: Topic, id_: str, subscription: Subscription[Any]) -> None:
        subject = topic.subjects[id_]
        subject.subscriptions.pop(subscription, None)
        if subject.subscriptions:
            return
        del topic.subjects[id_]
        topic.stale.pop(id_, None)
        if self._worker and not any(topic.subjects for topic in self._topics.values()):
            self._worker.cancel()
            self._worker = None

    def _fail_all(self, worker: asyncio.Task[None]) -> None:
        """If the worker crashed, fail all subscribers instead of leaving them waiting."""
        if worker.cancelled() or (error := worker.exception()) is None:
            return
        stack = "".join(traceback.format_exception(error))
        logs.write("ERROR", f"live queries have stopped: {error}", stack_trace=stack)
        if self._worker is worker:
            self._worker = None
        unavailable = InstanceUnavailable(
            "live queries have stopped in this instance: subscribe again"
        )
        for topic in self._topics.values():
            for subject in list(topic.subjects.values()):
                for subscription in list(subject.subscriptions):
                    subscription.fail(unavailable)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._poll())
            tasks.create_task(self._read_stale())

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            for topic in self._topics.values():
                await self._compare_versions(topic)

    async def _compare_versions(self, topic: Topic) -> None:
        ids = list(topic.subjects)
        for first in range(0, len(ids), _COMPARED):
            compared = ids[first : first + _COMPARED]
            try:
                versions = await topic.source.fetch_versions(compared)
            except Unavailable:
                return  # the next comparison finds the change
            now = datetime.now(UTC)
            topic.mark_stale(
                id_
                for id_ in compared
                if (subject := topic.subjects.get(id_))
                and (subject.has_changed(versions.get(id_)) or subject.has_expired(now))
            )
            self._has_stale.set()

    async def _read_stale(self) -> None:
        while True:
            await self._has_stale.wait()
            self._has_stale.clear()
            while any([await self._read_batch(topic) for topic in self._topics.values()]):
                pass

    async def _read_batch(self, topic: Topic) -> bool:
        """Read some stale subjects and publish their states; return whether any was stale."""
        batch = topic.pop_batch()
        if not batch:
            return False
        try:
            topic.publish(await topic.source.fetch_states(batch))
        except Unavailable as error:
            logs.write("WARNING", f"changes are published later: {error}")
            topic.fail(batch, error)
            await asyncio.sleep(_AFTER_ERROR_S)
        except asyncio.CancelledError:
            # A subscriber may have begun since the last one ended: leave it to the next worker.
            topic.mark_stale(batch)
            self._has_stale.set()
            raise
        return True
