"""The demo's record: the real learner's log, shifted by whole days so that it ends yesterday."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

import msgspec

from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub.publisher import Message
from progress.demo import loading
from progress.errors import StackError
from progress.event_store import events
from progress.importers import anki_log, shifts

_LEARNER = loading.LEARNER
_ZONE = str(_LEARNER.timezone)
_NAMESPACE = UUID("3b8f6f0e-9a37-5c1d-8d5e-2f4f0b6f7d21")

# These dates are not shifted yet. The learner did not study on the rest day. A rest day does not
# break a streak, so the streaks before and after this day become one.
_GOAL_DAY, _GOAL = date(2024, 9, 8), 200
_REST_DAY = date(2024, 8, 24)


class LivingRecord(msgspec.Struct, frozen=True):
    """The messages to load, and the number of days by which the log is shifted."""

    messages: list[Message]
    shifted_days: int


def prepare(connection: Connection, now: datetime, *, as_recorded: bool) -> LivingRecord:
    """Return the record, with shifted or with its original dates.

    If the record is loaded already, use the same shift again, because another shift would add its
    events a second time. Raise StackError if `as_recorded` is set, but a shifted record is loaded.
    """
    answers = anki_log.read(loading.LOG)
    stored = shifts.find_stored(connection, _LEARNER, answers)
    if as_recorded and stored and stored.days:
        raise StackError(
            f"the demo's record is loaded already, with dates shifted by {stored.days:,} days: to "
            "load it as recorded, run `progress down` and delete the data folder (.progress)"
        )
    if as_recorded or (stored and not stored.days):
        return LivingRecord(loading.messages(), 0)
    days = (
        stored.days
        if stored
        else shifts.count_days_to_yesterday(answers, now, _ZONE, _LEARNER.day_start_hour or 0)
    )
    learner = msgspec.structs.replace(_LEARNER, shifted_days=days)
    shifted = loading.messages(learner, shifts.shift(answers, days, _ZONE))
    return LivingRecord([*shifted, Message("user-events", list(_choices(days)))], days)


def _choices(days: int) -> Iterator[dict[str, Any]]:
    """Yield the events that set a goal and take a rest day; the log has no such events."""
    user = _LEARNER.user_id
    rest_day = _REST_DAY + timedelta(days)
    goal = events.GoalSet(user_id=user, answers_per_day=_GOAL)
    yield _envelope(goal, _GOAL_DAY + timedelta(days))
    yield _envelope(events.RestDayTaken(user_id=user, date=rest_day.isoformat()), rest_day)


def _envelope(event: events.Event, day: date) -> dict[str, Any]:
    kind = type(event).__name__
    return {
        "event_id": str(uuid5(_NAMESPACE, f"{kind} {day}")),
        "event_type": kind,
        "occurred_at": datetime.combine(day, time(12), ZoneInfo(_ZONE)).astimezone(UTC),
        "data": msgspec.to_builtins(event),
        "metadata": {"user_id": _LEARNER.user_id},
    }
