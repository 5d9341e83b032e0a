"""Live queries: one poller and one Redis subscription per instance feed all subscribers.

A Redis notification says which subject (learner or operation) may have changed. The poller also
compares the versions in the database with the known versions. While Redis is connected, the
poller runs less often and needs to find only the changes whose notifications were lost. Changed
subjects are read in batches, and a subscriber gets only the newest state.
"""

import asyncio
import contextlib
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from progress.adapters import request_scope
from progress.adapters.redis import commands
from progress.adapters.telemetry import logs
from progress.errors import InstanceUnavailable, Unavailable
from progress.query.live.topics import Source, Subject, Subscription, Topic

if TYPE_CHECKING:
    from progress.adapters.redis.subscriber import Subscriber

_T = TypeVar("_T")


class PollIntervals(msgspec.Struct, frozen=True):
    """Seconds between two comparisons of versions in the database."""

    without_redis: float = 0.4
    with_redis: float = 5.0
    shortest: float = 0.05  # the minimum, even if comparisons are requested more often
    after_error: float = 0.2


class LiveQueries:
    """The subscriptions of an instance. The poller runs while at least one subscription exists."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        redis_url: str | None,
        intervals: PollIntervals | None = None,
    ) -> None:
        self._topics = {name: Topic(source) for name, source in sources.items()}
        self._intervals = intervals or PollIntervals()
        self._poll_requested, self._has_stale = asyncio.Event(), asyncio.Event()
        self._channels = {commands.EVERYONE_CHANNEL}
        self._redis_url = redis_url
        self._subscriber: Subscriber | None = None
        self._worker: asyncio.Task[None] | None = None

    def subscribe(self, topic_name: str, id_: str, select: Callable[[Any], _T]) -> Subscription[_T]:
        """Return a subscription to the current state of a subject and to its changes."""
        topic = self._topics[topic_name]
        subject = topic.subjects.setdefault(id_, Subject())
        subscription = Subscription(select, lambda closed: self._unsubscribe(topic, id_, closed))
        subject.subscriptions.add(subscription)
        topic.stale[id_] = None  # even a known state is read again, as it may have changed
        self._has_stale.set()
        self._channels.add(topic.source.channel + id_)
        if self._worker is None:
            self._worker = asyncio.create_task(
                self._run(), context=request_scope.detached_context()
            )
            self._worker.add_done_callback(self._fail_all)
        return subscription

    def _unsubscribe(self, topic: Topic, id_: str, subscription: Subscription[Any]) -> None:
        subject = topic.subjects[id_]
        subject.subscriptions.discard(subscription)
        if subject.subscriptions:
            return
        del topic.subjects[id_]
        topic.stale.pop(id_, None)
        self._channels.discard(topic.source.channel + id_)
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
            if self._redis_url:
                from progress.adapters.redis.subscriber import Subscriber  # imports redis-py

                self._subscriber = Subscriber(
                    self._redis_url, self._channels, self._on_message, self._poll_requested.set
                )
                tasks.create_task(self._subscriber.run())

    def _on_message(self, channel: str) -> None:
        if channel == commands.EVERYONE_CHANNEL:
            self._poll_requested.set()
        for topic in self._topics.values():
            if channel.startswith(topic.source.channel):
                topic.mark_stale([channel.removeprefix(topic.source.channel)])
        self._has_stale.set()

    async def _poll(self) -> None:
        """Compare versions after each interval, and whenever a comparison is requested."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds_to_poll()):
                    await self._poll_requested.wait()
            self._poll_requested.clear()
            for topic in self._topics.values():
                await self._compare_versions(topic)
            await asyncio.sleep(self._intervals.shortest)

    def _seconds_to_poll(self) -> float:
        """Return the seconds until the interval ends or a state expires, whichever is earlier."""
        is_notified = self._subscriber is not None and self._subscriber.is_connected
        interval = self._intervals.with_redis if is_notified else self._intervals.without_redis
        expiries = [
            subject.state.expires_at
            for topic in self._topics.values()
            for subject in topic.subjects.values()
            if subject.state and subject.state.expires_at
        ]
        first = (min(expiries) - datetime.now(UTC)).total_seconds() if expiries else interval
        return max(0.0, min(interval, first))

    async def _compare_versions(self, topic: Topic) -> None:
        if not topic.subjects:
            return
        try:
            versions = await topic.source.fetch_versions(list(topic.subjects))
        except Unavailable:
            return  # the next comparison finds the change
        now = datetime.now(UTC)
        topic.mark_stale(
            id_
            for id_, subject in topic.subjects.items()
            if subject.has_changed(versions.get(id_)) or subject.has_expired(now)
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
            await asyncio.sleep(self._intervals.after_error)
        return True
