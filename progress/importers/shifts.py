"""Move a review log by whole days, so that an old log looks like a recent one."""

from collections.abc import Sequence
from datetime import UTC, timedelta
from zoneinfo import ZoneInfo

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.importers import anki_events
from progress.importers.review_log import Answer


class StoredShift(msgspec.Struct, frozen=True):
    """The shift of a log that was imported before; `days` is 0 if the log was not shifted."""

    days: int
    timezone: str


def shift(answers: Sequence[Answer], days: int, zone: str) -> list[Answer]:
    """Move the answers forward by `days` local days.

    Each session begins at its old time of day and keeps its length, so that a change to or from
    daylight saving time moves no session to another local day.
    """
    if not days:
        return list(answers)
    shifted = []
    for session in anki_events.split_at_pauses(answers):
        begin = session[0].at
        wall = begin.astimezone(ZoneInfo(zone))
        later = wall.replace(tzinfo=None) + timedelta(days)
        moved_by = later.replace(tzinfo=ZoneInfo(zone), fold=wall.fold).astimezone(UTC) - begin
        shifted += [
            msgspec.structs.replace(
                answer, at=answer.at + moved_by, due=answer.due and answer.due + moved_by
            )
            for answer in session
        ]
    return shifted


def find_stored(
    connection: Connection, learner: anki_events.Learner, answers: Sequence[Answer]
) -> StoredShift | None:
    as_recorded = next(anki_events.messages(learner, list(answers[:1]))).events[0]["event_id"]
    stream_id = f"learner-{learner.user_id}"
    rows = database.run(connection, "importers/shifts", "accounts", stream_id=stream_id)
    for event_id, days, zone in rows:
        if days is not None and zone is not None:
            return StoredShift(days, zone)
        if str(event_id) == as_recorded:
            return StoredShift(0, zone or "UTC")
    return None
