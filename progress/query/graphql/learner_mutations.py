"""The events that a learner records with a mutation.

The id of an event follows from the caller, the mutation and the idempotency key, so a repetition
finds the recorded event. This happens before the arguments are checked, because a check may fail
after the event has changed what it reads.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import NAMESPACE_OID, uuid5

import msgspec

from progress.adapters import request_scope
from progress.adapters.pubsub import wakeups
from progress.errors import (
    BadInput,
    InstanceUnavailable,
    NotFound,
    SerializationError,
    StatementFailed,
    Unavailable,
)
from progress.event_store import envelope, events
from progress.event_store.entries import Message, Rejection
from progress.query import own_events, rate_limits
from progress.query.cache.versions import DatabaseVersions
from progress.query.own_events import OwnEvents
from progress.query.rate_limits import EVENTS, RateLimiter

if TYPE_CHECKING:
    from progress.adapters.redis.async_client import Client

_MAX_WAIT_S = 5.0  # for an event to be counted
_KEPT_S = 5.0  # of the request's time, for the mutations that follow
_POLL_S = 0.1
_MAX_REST_DAYS = 2  # of an ISO week
_MAX_GOAL_AGE = timedelta(hours=24)  # of a GoalSet that is retracted
_MAX_EVENTS_PER_HOUR = 60  # of a learner
KEY_IN_USE = "idempotencyKey: expected a new key - found the key of another call"
_OTHER_VERSION, _OTHER_CONTENT = "PR001", "PR003"  # of append_own


class Retractable(msgspec.Struct, frozen=True):
    """A recorded GoalSet or RestDayTaken of the caller; `rest_day` is None for a GoalSet."""

    occurred_at: datetime
    rest_day: date | None


class UserEvent(msgspec.Struct, frozen=True):
    """An event that is to be recorded."""

    event_id: str
    event_type: str
    data: dict[str, Any]

    @property
    def rest_day(self) -> date | None:
        """The day of a RestDayTaken, else None."""
        day = self.data["date"] if self.event_type == "RestDayTaken" else None
        return date.fromisoformat(day) if day else None

    @property
    def user_id(self) -> str:
        return str(self.data["user_id"])

    def week(self) -> list[date]:
        """Return the ISO week of the rest day; an empty list if there is none."""
        if self.rest_day is None:
            return []
        monday = self.rest_day - timedelta(days=self.rest_day.weekday())
        return [monday + timedelta(days=n) for n in range(7)]

    def entry(self) -> bytes:
        names = ("event_id", "event_type", "data")
        return msgspec.json.encode({name: getattr(self, name) for name in names} | {"metadata": {}})

    def check(self, today: date, taken: Sequence[date]) -> None:
        """Raise BadInput unless the day would become a rest day beside those of its week."""
        try:
            events.check_own(self.event_type, self.data, today=today)
        except SerializationError as error:
            raise BadInput(str(error)) from None
        if self.rest_day in taken:
            raise BadInput(f"date: expected another day - found {self.rest_day}, a rest day")
        if len(taken) >= _MAX_REST_DAYS:
            listed = ", ".join(map(str, sorted(taken)))
            raise BadInput(
                f"date: expected a week (Monday to Sunday) with fewer than {_MAX_REST_DAYS} rest "
                f"days - found {self.rest_day}, in a week with {listed}"
            )


class PublishedEvent(NamedTuple):
    """An event that is recorded, now or by an earlier call."""

    event_id: str
    position: int
    recorder: "EventRecorder"


def build(user_id: str, mutation: str, key: str, event_type: str, **data: object) -> UserEvent:
    """Return the event, checked as one that comes from outside; raise BadInput if it is invalid."""
    identity = msgspec.json.encode((user_id, mutation, key)).decode()
    sent = {
        "event_id": str(uuid5(NAMESPACE_OID, identity)),
        "event_type": event_type,
        "data": {"user_id": user_id, **data},
    }
    message = Message(learner=user_id, published_at=datetime.now(UTC))
    entry = envelope.decode_part(msgspec.json.encode(sent), 0, message)
    if isinstance(entry, Rejection):
        raise BadInput(entry.reason)
    return UserEvent(entry.event_id, event_type, entry.data)


class EventRecorder:
    """One instance's recorder of the callers' events."""

    def __init__(self, own: OwnEvents, redis: "Client | None", versions: DatabaseVersions) -> None:
        self._own, self._redis, self._versions = own, redis, versions
        self._limiter = RateLimiter(redis, _MAX_EVENTS_PER_HOUR, EVENTS)

    async def record(self, event: UserEvent, at: datetime) -> PublishedEvent:
        """Record the event, unless it is recorded.

        Raise NotFound for a learner who is gone or, if the event is a rest day, has no events;
        BadInput if the day cannot become a rest day, if the caller may not retract the event, or if
        the key was used with other arguments; RateLimited if the learner has recorded too many
        events; Unavailable if the database does not answer.
        """
        found = await self._find(event, at)
        position: int | None = found["position"]
        if position is None:
            await self._limiter.count(event.user_id, at)
            is_new = False
            try:
                is_new, position = await self._append(event, found, at)
            finally:
                if not is_new:
                    counted = [(self._limiter, event.user_id, 1)]
                    await rate_limits.take_back(self._redis, counted, at)
        return PublishedEvent(event.event_id, position, self)

    async def wait_until_counted(self, position: int) -> bool:
        """Return whether `projectedTo` has passed the position, after at most five seconds."""
        with contextlib.suppress(Unavailable):
            seconds = min(_MAX_WAIT_S, request_scope.current().remaining() - _KEPT_S)
            with request_scope.begin(max(_POLL_S, seconds)):
                while True:
                    found = await self._versions.fetch_position(since=time.monotonic())
                    if found.position >= position:
                        return True
                    await asyncio.sleep(_POLL_S)
        return False

    async def _find(self, event: UserEvent, at: datetime) -> Mapping[str, Any]:
        """Return what the event depends on, and its position if it is recorded; see `record`."""
        found = await self._own.fetch(
            "find",
            user_id=event.user_id,
            event_id=event.event_id,
            event_type=event.event_type,
            retracted_id=event.data.get("retracted_event_id"),
            item_id=event.data.get("item_id"),
            days=event.week(),
            now=at,
        )
        if found["is_gone"] or not (found["version"] or event.rest_day is None):
            raise NotFound("expected a caller with events - found none")
        if found["recorded"]:
            if tuple(msgspec.json.decode(found["recorded"])) != (event.event_type, event.data):
                raise BadInput(KEY_IN_USE)
            return found
        event.check(found["today"], found["taken"])
        if event.event_type == "EventRetracted":
            _check_retracted(found["retracted"], found["today"], at)
        return found

    async def _append(
        self, event: UserEvent, found: Mapping[str, Any], at: datetime
    ) -> tuple[bool, int]:
        """Append the event, and wake its shard; return whether it is new, and its position.

        A rest day is appended to the stream that was checked, and checked again if another event
        is faster, until the request's deadline.
        """
        while found["position"] is None:
            try:
                recorded = await self._own.append(
                    event.user_id,
                    [event.entry()],
                    is_mutation=True,
                    expected_version=found["version"] if event.rest_day else None,
                    seen_version=found["version"],
                    seen=found["decided_at"],
                )
            except StatementFailed as error:
                if error.sqlstate == _OTHER_CONTENT:
                    raise BadInput(KEY_IN_USE) from None
                if error.sqlstate != _OTHER_VERSION or event.rest_day is None:
                    raise
                found = await self._find(event, at)
                continue
            if "erased" in recorded.outcomes:
                raise NotFound("expected a caller who is not erased")
            if recorded.global_position is None:
                raise InstanceUnavailable("the clock of the database was set back")
            await own_events.wake(wakeups.send, recorded.shards)
            return "appended" in recorded.outcomes, recorded.global_position
        return False, found["position"]


def _check_retracted(found: str | None, today: date, at: datetime) -> None:
    """Raise BadInput if the caller may not take the found event out."""
    retracted = msgspec.json.decode(found, type=Retractable) if found else None
    if retracted and (
        retracted.rest_day >= today
        if retracted.rest_day
        else retracted.occurred_at > at - _MAX_GOAL_AGE
    ):
        return
    raise BadInput(
        "eventId: expected your own GoalSet of the last 24 hours, or RestDayTaken of a day from "
        f"{today} on - found neither"
    )
