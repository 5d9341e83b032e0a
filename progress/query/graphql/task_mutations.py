"""The tasks that teachers set: what a call must be, and its record; see tasks.sql.

The caller's right to the group is checked before. A call that is recorded is answered first, as
the same, whatever has become of its items, its list and its day since.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from progress import auth, masking
from progress.adapters.pubsub import wakeups
from progress.auth import Caller
from progress.errors import (
    BadInput,
    InstanceUnavailable,
    NotFound,
    RateLimited,
    SerializationError,
    StatementFailed,
)
from progress.event_store import events
from progress.query import own_events, rate_limits
from progress.query.graphql.learner_mutations import (
    CLOCK,
    KEY_IN_USE,
    OTHER_CONTENT,
    OTHER_VERSION,
    EventRecorder,
)
from progress.query.own_events import OwnEvents
from progress.query.rate_limits import ASSIGNMENTS, TASKS, RateLimiter

if TYPE_CHECKING:
    from progress.adapters.redis.async_client import Client

_MOST_ITEMS = 100
_MOST_DAYS = 400  # of a task, from today on
_DAY = timedelta(days=1)
_MOST = {
    "setTask": (TASKS, 30),
    "assignList": (ASSIGNMENTS, 120),
    "unassignList": (ASSIGNMENTS, 120),
}
_ARCHIVED = "PR004"  # of append_tasks
_NO_LIST = "listId: expected a list of the catalogue that is not archived - found none"


class TaskCall(NamedTuple):
    """A call of a teacher: the arguments of append_tasks."""

    caller: str
    mutation: str
    key: str
    group_id: str
    list_id: str | None
    name: str | None
    item_ids: list[str] | None
    due_on: date | None

    @classmethod
    def build(
        cls,
        caller: Caller,
        mutation: str,
        group_id: str,
        key: str,
        *,
        list_id: str | None = None,
        name: str | None = None,
        item_ids: Sequence[str] | None = None,
        due_on: date | None = None,
    ) -> "TaskCall":
        """Return the call, with addresses in the name masked; raise BadInput for a wrong form."""
        auth.parse_id("groupId", group_id)
        auth.parse_id("idempotencyKey", key)
        if list_id is not None:
            auth.parse_id("listId", list_id)
        if name is not None:
            name = _check_name(masking.mask_shapes(_check_name(name)))
        if item_ids is not None:
            item_ids = [auth.parse_id("itemIds", item) for item in item_ids]
            if not 1 <= len(item_ids) <= _MOST_ITEMS or len({*item_ids}) < len(item_ids):
                found = f"{len(item_ids)}, {len({*item_ids})} of them different"
                raise BadInput(
                    f"itemIds: expected 1 to {_MOST_ITEMS} different ids - found {found}"
                )
        if due_on and not 2000 <= due_on.year <= 2099:
            raise BadInput(f"dueOn: expected a day of the years 2000 to 2099 - found {due_on}")
        return cls(caller.user_id, mutation, key, group_id, list_id, name, item_ids, due_on)


class TaskSet(NamedTuple):
    """What a call has recorded; without a position, there was nothing to record."""

    list_id: str
    events: int
    position: int | None
    recorder: EventRecorder


class TaskRecorder:
    """One instance's recorder of the callers' tasks."""

    def __init__(self, own: OwnEvents, redis: "Client | None", events: EventRecorder) -> None:
        self._own, self._redis, self._events = own, redis, events
        self._limiters = {
            counted: RateLimiter(redis, most, counted) for counted, most in _MOST.values()
        }

    async def record(self, call: TaskCall, reader: Mapping[str, Any], at: datetime) -> TaskSet:
        """Record the call, unless it is recorded or takes back what is not assigned.

        Raise BadInput for a key of another call or a day that is too far away, NotFound for what
        is not there for the `reader`, RateLimited after too many calls, and Unavailable if the
        database does not answer.
        """
        found = await self._find(call, reader)
        if found["position"] is None:
            _check(call, found, at, sees_all=reader["reader"] is None)
            if call.mutation != "unassignList" or found["is_assigned"]:
                return await self._append(call, reader, at)
        return TaskSet(found["list_id"], 0, found["position"], self._events)

    async def _append(self, call: TaskCall, reader: Mapping[str, Any], at: datetime) -> TaskSet:
        counted = [(self._limiters[_MOST[call.mutation][0]], call.caller, 1)]
        try:
            await rate_limits.count_all(self._redis, counted, at)
        except RateLimited:
            found = await self._find(call, reader)  # the same call may have been faster
            if found["position"] is None:
                raise
            return TaskSet(found["list_id"], 0, found["position"], self._events)
        recorded = 0
        try:
            row = await self._fetch("append task", call)
            recorded = row["events"]
        finally:
            if not recorded:
                await rate_limits.take_back(self._redis, counted, at)
        await own_events.wake(wakeups.send, row["shards"])
        return TaskSet(row["list_id"], recorded, row["position"], self._events)

    async def _find(self, call: TaskCall, reader: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self._fetch("find task", call, **reader)

    async def _fetch(self, block: str, call: TaskCall, **more: Any) -> Mapping[str, Any]:
        try:
            return await self._own.fetch(block, **call._asdict(), **more)
        except StatementFailed as error:
            if error.sqlstate == OTHER_CONTENT:
                raise BadInput(KEY_IN_USE) from None
            if error.sqlstate == _ARCHIVED:
                raise NotFound(_NO_LIST) from None
            if error.sqlstate == OTHER_VERSION:  # of an event that would lie in the future
                raise InstanceUnavailable(CLOCK) from None
            raise


def _check_name(name: str) -> str:
    auth.parse_id("name", name, 100)
    try:
        events.check(events.ListPublished, {"list_id": "-", "name": name})
    except SerializationError as error:
        raise BadInput(f"name: {error}") from None
    return name


def _check(call: TaskCall, found: Mapping[str, Any], at: datetime, *, sees_all: bool) -> None:
    """Raise BadInput for a day that is too far away, and NotFound for what is not there."""
    first, last = at.date() - _DAY, at.date() + _MOST_DAYS * _DAY
    if call.due_on and not first <= call.due_on <= last:
        raise BadInput(f"dueOn: expected a day from {first} to {last} - found {call.due_on}")
    if call.mutation == "unassignList":
        return
    if sees_all and not found["has_group"]:
        raise NotFound("groupId: expected a group that an event names - found none")
    if call.list_id is not None and not found["has_list"]:
        raise NotFound(_NO_LIST)
    if found["missing_item"] is not None:
        expected = "itemIds: expected items that the catalogue describes and has not archived"
        raise NotFound(f"{expected} - found {found['missing_item']}")
