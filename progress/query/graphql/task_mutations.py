"""The tasks that teachers set: what a call must be, and its record; see tasks.sql.

The caller's right to the group is checked before. A call that is recorded is answered first, as
the same, whatever has become of its items, its list and its day since.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from progress import auth, masking
from progress.adapters.pubsub import wakeups
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
from progress.query.graphql import learner_mutations
from progress.query.graphql.learner_mutations import EventRecorder
from progress.query.own_events import OwnEvents
from progress.query.rate_limits import ASSIGNMENTS, TASKS, Numbers, RateLimiter
from progress.query.read_models.rows import Reader

if TYPE_CHECKING:
    from progress.adapters.redis.async_client import Client

_MOST_ITEMS = 100
_MOST_DAYS = 400  # of a task, from today on
_DAY = timedelta(days=1)
_MOST = {TASKS: 30, ASSIGNMENTS: 120}
_NO_LIST = "listId: expected a list of the catalogue that is not archived - found none"
_ERRORS = {  # of append_tasks
    "PR001": (InstanceUnavailable, "the clock of the database was set back"),
    "PR003": (BadInput, learner_mutations.KEY_IN_USE),
    "PR004": (NotFound, _NO_LIST),
}


class TaskCall(NamedTuple):
    """A call of a teacher: the arguments of append_tasks."""

    caller: str
    mutation: str
    key: str
    group_id: str
    list_id: str | None = None
    name: str | None = None
    item_ids: list[str] | None = None
    due_on: date | None = None

    def check(self) -> "TaskCall":
        """Return the call, with addresses in the name masked; raise BadInput for a wrong form."""
        given = {"groupId": self.group_id, "idempotencyKey": self.key, "listId": self.list_id}
        ids = self.item_ids or []
        for argument, id_ in (*given.items(), *(("itemIds", each) for each in ids)):
            if id_ is not None:
                auth.parse_id(argument, id_)
        if self.item_ids is not None and not 1 <= len(ids) == len({*ids}) <= _MOST_ITEMS:
            found = f"{len(ids)}, {len({*ids})} of them different"
            raise BadInput(f"itemIds: expected 1 to {_MOST_ITEMS} different ids - found {found}")
        if self.due_on and not 2000 <= self.due_on.year <= 2099:
            raise BadInput(f"dueOn: expected a day from 2000 to 2099 - found {self.due_on}")
        if self.name is None:
            return self
        return self._replace(name=_check_name(masking.mask_shapes(_check_name(self.name))))


class RecordedTask(NamedTuple):
    """What a call has recorded; without a position, there was nothing to record."""

    list_id: str
    events: int
    position: int | None
    recorder: EventRecorder


class TaskRecorder:
    """One instance's recorder of the callers' tasks."""

    def __init__(self, own: OwnEvents, redis: "Client | None", events: EventRecorder) -> None:
        self._own, self._redis, self._events = own, redis, events
        self._limiters = {each: RateLimiter(redis, most, each) for each, most in _MOST.items()}

    async def record(self, call: TaskCall, reader: Reader, at: datetime) -> RecordedTask:
        """Record the call, unless it is recorded or takes back what is not assigned.

        Raise BadInput for a key of another call or a day that is too far away, NotFound for what
        is not there for the `reader`, RateLimited after too many calls, and Unavailable if the
        database does not answer.
        """
        found = await self._fetch("find task", call, reader=reader)
        if found["position"] is None:
            _check(call, found, at, sees_all=reader is None)
            if call.mutation != "unassignList" or found["is_assigned"]:
                limiter = self._limiters[TASKS if call.mutation == "setTask" else ASSIGNMENTS]
                counted = [(limiter, call.caller, 1)]
                try:
                    await rate_limits.count_all(self._redis, counted, at)
                except RateLimited:  # the same call may have been faster
                    found = await self._fetch("find task", call, reader=reader)
                    if found["position"] is None:
                        raise
                else:
                    found = await self._append(call, counted, at)
        return RecordedTask(found["list_id"], found["events"], found["position"], self._events)

    async def _append(self, call: TaskCall, counted: Numbers, at: datetime) -> Mapping[str, Any]:
        row: Mapping[str, Any] = {"events": 0}
        try:
            row = await self._fetch("append task", call)
        finally:
            if not row["events"]:
                await rate_limits.take_back(self._redis, counted, at)
        await own_events.wake(wakeups.send, row["shards"])
        return row

    async def _fetch(self, block: str, call: TaskCall, **more: object) -> Mapping[str, Any]:
        try:
            return await self._own.fetch(block, **call._asdict(), **more)
        except StatementFailed as error:
            if error.sqlstate not in _ERRORS:
                raise
            kind, why = _ERRORS[error.sqlstate]
            raise kind(why) from None


def _check_name(name: str) -> str:
    try:
        events.check(events.ListPublished, {"list_id": "-", "name": auth.parse_id("name", name)})
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
    if (missing := found["missing_item"]) is not None:
        raise NotFound(f"itemIds: expected items of the catalogue - found {missing}")
