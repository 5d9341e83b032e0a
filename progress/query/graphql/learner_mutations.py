"""The events that a learner publishes with a mutation: to `user-events`, as the User context would.

The id of an event follows from the caller, the mutation and the idempotency key, and its time is
the publish time, or later if it must follow an event of a clock that is ahead. A repeated mutation
is therefore a redelivery, which ingest recognises. Here, a
recorded event is found by its id before the arguments are checked, because a check may fail after
the event has changed what it reads. From the mutation until the event is recorded, it is announced
(progress.query.announcements).
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import NAMESPACE_OID, uuid5

import msgspec

from progress.adapters import request_scope
from progress.adapters.pubsub import clients, wakeups
from progress.adapters.telemetry import tracing
from progress.errors import (
    BadInput,
    NotFound,
    ProgressError,
    PubSubUnavailable,
    Unavailable,
)
from progress.event_store import events
from progress.query.announcements import Announcement, Announcements, Data
from progress.query.cache.versions import DatabaseVersions
from progress.query.rate_limits import EVENTS, RateLimiter
from progress.query.read_models.reader import Reader
from progress.settings import Settings

if TYPE_CHECKING:
    from progress.adapters.redis.async_client import Client

_TIMEOUT_S = 3.0
_MAX_WAIT_S = 5.0  # for an event to be counted
_KEPT_S = 5.0  # of the request's time, for the mutations that follow
_POLL_S = 0.1
_TICK = timedelta(microseconds=1)
_MAX_DAYS_AHEAD = 7
_MAX_REST_DAYS = 2  # of an ISO week
_MAX_GOAL_AGE = timedelta(hours=24)  # of a GoalSet that is retracted
_MAX_EVENTS_PER_HOUR = 60  # of a learner
_KEY_IN_USE = "idempotencyKey: expected a new key - found the key of another call"


class Retractable(msgspec.Struct, frozen=True):
    """A recorded GoalSet or RestDayTaken of the caller; `rest_day` is None for a GoalSet."""

    event_id: str
    occurred_at: datetime
    rest_day: date | None


class UserEvent(msgspec.Struct, frozen=True):
    """An event that is to be published; `rest_day` is set for a RestDayTaken."""

    event_id: str
    event_type: str
    data: Data
    rest_day: date | None = None

    @property
    def is_alone(self) -> bool:
        return self.rest_day is None

    @property
    def user_id(self) -> str:
        return str(self.data["user_id"])

    @property
    def retracted_id(self) -> str | None:
        """The id of the event that an EventRetracted names."""
        retracted: str | None = self.data.get("retracted_event_id")
        return retracted

    @property
    def item_id(self) -> str | None:
        """The id of the item that the event sets aside or resumes."""
        item: str | None = self.data.get("item_id")
        return item

    def week(self) -> list[date]:
        """Return the ISO week of the rest day; an empty list if there is none."""
        if self.rest_day is None:
            return []
        monday = self.rest_day - timedelta(days=self.rest_day.weekday())
        return [monday + timedelta(days=n) for n in range(7)]

    def check(self, today: date, taken: Sequence[date]) -> None:
        """Raise BadInput unless the day would become a rest day beside those of its week."""
        if self.rest_day is None:
            return
        last = today + timedelta(days=_MAX_DAYS_AHEAD)
        if not today <= self.rest_day <= last:
            raise BadInput(f"date: expected a day from {today} to {last} - found {self.rest_day}")
        if self.rest_day in taken:
            raise BadInput(f"date: expected another day - found {self.rest_day}, a rest day")
        if len(taken) >= _MAX_REST_DAYS:
            listed = ", ".join(map(str, sorted(taken)))
            raise BadInput(
                f"date: expected a week (Monday to Sunday) with fewer than {_MAX_REST_DAYS} rest "
                f"days - found {self.rest_day}, in a week with {listed}"
            )


class PublishedEvent(NamedTuple):
    """An event that Pub/Sub has accepted, now or at an earlier call."""

    event_id: str
    user_id: str
    publisher: "EventPublisher"

    async def wait_until_counted(self) -> bool:
        return await self.publisher.wait_until_counted(self)


def build_goal_set(user_id: str, key: str, answers_per_day: int) -> UserEvent:
    data = {"user_id": user_id, "answers_per_day": answers_per_day}
    return UserEvent(_event_id(user_id, "setGoal", key), "GoalSet", data)


def build_rest_day_taken(user_id: str, key: str, day: date) -> UserEvent:
    data = {"user_id": user_id, "date": day.isoformat()}
    return UserEvent(_event_id(user_id, "takeRestDay", key), "RestDayTaken", data, day)


def build_item_choice(user_id: str, key: str, item_id: str, *, aside: bool) -> UserEvent:
    data = {"user_id": user_id, "item_id": item_id}
    kind = "ItemSetAside" if aside else "ItemResumed"
    return UserEvent(_event_id(user_id, "setItemAside", key), kind, data)


def build_event_retracted(user_id: str, key: str, retracted_id: str) -> UserEvent:
    data = {"user_id": user_id, "retracted_event_id": retracted_id}
    return UserEvent(_event_id(user_id, "retractEvent", key), "EventRetracted", data)


def _event_id(*identity: str) -> str:
    return str(uuid5(NAMESPACE_OID, msgspec.json.encode(identity).decode()))


class EventPublisher:
    """One instance's publisher of the callers' events."""

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        redis: "Client | None",
        versions: DatabaseVersions,
    ) -> None:
        self._reader, self._versions = reader, versions
        self._announcements = Announcements(reader, redis)
        self._limiter = RateLimiter(redis, _MAX_EVENTS_PER_HOUR, EVENTS)
        self._settings = settings

    async def publish(self, event: UserEvent, at: datetime) -> PublishedEvent:
        """Publish the event, unless it is recorded; return once Pub/Sub has it.

        Raise NotFound for a learner who is gone or, if the event is a rest day, has no events;
        BadInput if the day cannot become a rest day, if the caller may not retract the event, or if
        the key was used with other arguments;
        RateLimited if the learner has published too many events; AnnouncementsUnavailable and
        PubSubUnavailable.
        """
        (found,) = await self._reader.fetch(
            "query/learner_mutations",
            "find",
            user_id=event.user_id,
            event_id=event.event_id,
            retracted_id=event.retracted_id,
            item_id=event.item_id,
            days=event.week(),
            now=at,
        )
        if found["is_gone"] or not (found["is_known"] or event.is_alone):
            raise NotFound("expected a caller with events - found none")
        published = PublishedEvent(event.event_id, event.user_id, self)
        if found["recorded"]:
            _check_same(event, *msgspec.json.decode(found["recorded"]))
            return published
        decided_at = found["decided_at"]
        follows = decided_at + _TICK if decided_at and decided_at >= at else None
        is_first, announced = await self._announcements.announce(event, found["today"], follows)
        (own,) = (each for each in announced if each.event_id == event.event_id)
        _check_same(event, event.event_type, own.data)
        try:
            event.check(own.today, _join_days(event, found["taken"], announced))
            retracted = _find_retracted(event, found["retracted"], own.today, at)
            if is_first:
                await self._limiter.count(event.user_id, at)
            await self._send(event, own.occurred_at)
        except ProgressError as error:
            if is_first:
                await self._announcements.withdraw(event)
                if isinstance(error, PubSubUnavailable):
                    await self._limiter.count(event.user_id, at, -1)
            raise
        if retracted and retracted.rest_day:  # the day can be taken again
            data = {"user_id": event.user_id}
            await self._announcements.withdraw(
                UserEvent(retracted.event_id, "RestDayTaken", data, retracted.rest_day)
            )
        return published

    async def wait_until_counted(self, event: PublishedEvent) -> bool:
        """Return whether the read models contain the event, after at most five seconds."""
        with contextlib.suppress(Unavailable):
            seconds = min(_MAX_WAIT_S, request_scope.current().remaining() - _KEPT_S)
            with request_scope.begin(max(_POLL_S, seconds)):
                while not await self._is_counted(event):
                    await asyncio.sleep(_POLL_S)
            return True
        return False

    async def _is_counted(self, event: PublishedEvent) -> bool:
        """Return whether `projectedTo` has passed the event."""
        began = time.monotonic()
        found = await self._reader.fetch(
            "query/learner_mutations", "position", event_id=event.event_id
        )
        if not found:
            return False
        position: int = found[0]["position"]
        return (await self._versions.fetch_position(since=began)).position >= position

    async def _send(self, event: UserEvent, occurred_at: datetime | None) -> None:
        if not wakeups.outage().is_over:
            raise PubSubUnavailable("Pub/Sub failed less than 5 s ago")
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await asyncio.to_thread(self._send_now, event, occurred_at)
        except (PubSubUnavailable, TimeoutError) as error:
            wakeups.outage().begin()
            raise PubSubUnavailable(f"Pub/Sub does not accept an event: {error}") from error

    def _send_now(self, event: UserEvent, occurred_at: datetime | None) -> None:
        """Publish the event; without `occurred_at`, a repetition may change its time."""
        envelope: dict[str, object] = {
            "event_id": event.event_id,
            "event_type": event.event_type,
            "data": event.data,
        }
        if occurred_at:
            envelope["occurred_at"] = occurred_at
        attributes = wakeups.publish_attributes(events.USER)
        with tracing.child_span(f"publish {events.USER}", "producer", attributes):
            message = {
                "data": msgspec.json.encode(envelope),
                "attributes": tracing.message_attributes(),
            }
            topic = self._settings.user_events_topic
            clients.publish_own(
                events.USER, [message], self._settings, timeout_s=_TIMEOUT_S, topic=topic
            )


def _check_same(event: UserEvent, event_type: str, data: Data) -> None:
    """Raise BadInput if an event with this id has another content."""
    if (event_type, data) != (event.event_type, event.data):
        raise BadInput(_KEY_IN_USE)


def _find_retracted(
    event: UserEvent, found: str | None, today: date, at: datetime
) -> Retractable | None:
    """Return the event that an EventRetracted takes out; raise BadInput if the caller may not."""
    if event.retracted_id is None:
        return None
    retracted = msgspec.json.decode(found, type=Retractable) if found else None
    if retracted and (
        retracted.rest_day >= today
        if retracted.rest_day
        else retracted.occurred_at > at - _MAX_GOAL_AGE
    ):
        return retracted
    raise BadInput(
        "eventId: expected your own GoalSet of the last 24 hours, or RestDayTaken of a day from "
        f"{today} on - found neither"
    )


def _join_days(
    event: UserEvent, recorded: Sequence[date], announced: Sequence[Announcement]
) -> list[date]:
    """Return the rest days in the event's week, recorded or announced by other calls."""
    dates = {each.data.get("date") for each in announced if each.event_id != event.event_id}
    return sorted({*recorded, *(day for day in event.week() if day.isoformat() in dates)})
