"""The announced events: published with a mutation, and not recorded yet.

A new event is checked against the announced events of its scope. They are held in Redis; without
Redis, in a table. Every instance reads them there. An announcement ends after ten minutes.
"""

import contextlib
from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from progress.adapters.redis import commands
from progress.errors import AnnouncementsUnavailable, NotFound, RedisUnavailable, Unavailable
from progress.query.read_models.reader import Reader

if TYPE_CHECKING:
    from progress.adapters.redis.async_client import Client

Data = dict[str, Any]


class Announcement(msgspec.Struct, frozen=True):
    """An event's data, and its time unless this is the publish time.

    `today` is the learner's local day when the event was first announced.
    """

    event_id: str
    data: Data
    today: date
    occurred_at: datetime | None = None


class Announced(Protocol):
    """An event to announce. `is_alone` is true if the check needs no other announced event."""

    @property
    def user_id(self) -> str: ...
    @property
    def event_id(self) -> str: ...
    @property
    def data(self) -> Data: ...
    @property
    def is_alone(self) -> bool: ...


class Announcements:
    def __init__(self, reader: Reader, redis: "Client | None") -> None:
        self._reader, self._redis = reader, redis

    async def announce(
        self, event: Announced, today: date, occurred_at: datetime | None
    ) -> tuple[bool, list[Announcement]]:
        """Announce the event, unless an event with its id is announced already.

        Return whether this call announced it, and the announced events of its scope. Raise
        AnnouncementsUnavailable if these cannot be read and the event is not alone, and NotFound if
        the learner is erased.
        """
        own = Announcement(event.event_id, event.data, today, occurred_at)
        content = msgspec.json.encode(own)
        is_new, contents = await (
            self._store(self._redis, event, content)
            if self._redis
            else self._insert(event, content)
        )
        announced = [found for each in contents if (found := _decode(each))]
        if all(each.event_id != event.event_id for each in announced):
            announced.append(own)
        return is_new, announced

    async def withdraw(self, event: Announced) -> None:
        """Announce the event no longer, if this is possible now."""
        user_id, scope, event_id = event.user_id, _scope(event), event.event_id
        with contextlib.suppress(RedisUnavailable, Unavailable):
            if self._redis:
                await self._redis.run(commands.withdraw(user_id, scope, event_id))
            else:
                await self._reader.fetch(
                    *("query/learner_mutations", "withdraw"),
                    user_id=user_id,
                    scope=scope,
                    event_id=event_id,
                )

    async def _insert(self, event: Announced, content: bytes) -> tuple[bool, Sequence[str | bytes]]:
        rows = await self._reader.fetch(
            *("query/learner_mutations", "announce"),
            user_id=event.user_id,
            scope=_scope(event),
            event_id=event.event_id,
            content=content.decode(),
            seconds=commands.ANNOUNCED_TTL_S,
        )
        if not rows:
            raise NotFound("expected a caller who is not erased")
        return rows[0]["is_new"], rows[0]["contents"]

    @staticmethod
    async def _store(
        redis: "Client", event: Announced, content: bytes
    ) -> tuple[bool, Sequence[str | bytes]]:
        scope = _scope(event)
        announce = commands.announce(event.user_id, scope, event.event_id, content)
        try:
            (reply,) = await redis.run(announce)
            if not isinstance(reply, list):  # the key holds a value of another type
                drop = commands.drop_announced(event.user_id, scope)
                _, reply = await redis.run(drop, announce)
        except RedisUnavailable:
            reply = None
        match reply:
            case [int(is_new), list(contents)]:
                return is_new == 1, [each for each in contents if isinstance(each, bytes)]
        if not event.is_alone:
            raise AnnouncementsUnavailable("Redis does not return the announced events")
        return True, []


def _scope(event: Announced) -> str:
    return event.event_id if event.is_alone else "shared"


def _decode(content: str | bytes) -> Announcement | None:
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
        return msgspec.json.decode(content, type=Announcement)
    return None
