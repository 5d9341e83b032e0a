"""The timeline of a soak test: sessions, and changes of accounts and items, in order of time.

Events of every declared type occur.
"""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from bench import envelopes
from bench.envelopes import Envelope

ITEMS = [f"item-{number}" for number in range(500)]
GROUPS = [f"group-{number}" for number in range(10)]

_INTERVAL = timedelta(minutes=10)  # between the beginnings of two sessions
_ZONES = ("Asia/Tokyo", "Europe/Berlin", "America/New_York", "UTC")
_CHANGES = {  # the probability of each change before a session
    "UserCreated": 0.05,
    "UserPreferencesChanged": 0.02,
    "LearnerJoinedGroup": 0.3,
    "LearnerLeftGroup": 0.2,
    "GoalSet": 0.2,
    "RestDayTaken": 0.3,
}
_ITEM_CHANGES = {"ItemUpdated": 0.05, "ItemArchived": 0.03, "ItemPublished": 0.02}
_ABANDONED = 0.1  # share of the sessions
_RETRACTED = 0.02  # share of the sessions' events


class Timeline:
    """Sessions, ten minutes apart, and the changes of accounts and items before each of them."""

    def __init__(self, begin: datetime, chance: random.Random) -> None:
        self._begin, self._chance = begin, chance

    def publish_items(self) -> Iterator[Envelope]:
        """Yield an `ItemPublished` for each item, at the time of the first session."""
        for item in ITEMS:
            yield _event("ItemPublished", self._begin, self._describe(item))

    def study(self, learner: str, number: int) -> Iterator[Envelope]:
        """Yield changes of the learner's account, then the timeline's session `number`."""
        begin = self._begin + number * _INTERVAL
        yield from self._change_account(learner, begin)
        is_abandoned = self._chance.random() < _ABANDONED
        is_named = self._chance.random() < 0.5
        for event in envelopes.session(learner, begin, self._chance, ITEMS):
            data = event["data"]
            if is_abandoned and event["event_type"] == "SessionCompleted":
                event["event_type"] = "SessionAbandoned"
                del data["score"], data["duration_seconds"]
            if not is_named and event["event_type"] not in ("SessionStarted", "ReviewProcessed"):
                del data["user_id"]  # SessionStarted still names the session's learner
            yield event
            if self._chance.random() < _RETRACTED:
                retraction = {"user_id": learner, "retracted_event_id": event["event_id"]}
                yield _event("EventRetracted", begin, retraction)

    def delete(self, learner: str, number: int) -> Iterator[Envelope]:
        """Yield two events before session `number`: the account's deletion, and a new account.

        The new account has the same id. The learner stays deleted, because a deletion is final.
        """
        at = self._begin + number * _INTERVAL
        yield _event("UserDeleted", at, {"user_id": learner})
        yield _event("UserCreated", at, {"user_id": learner, "email": f"{learner}@example.com"})

    def change_items(self, number: int) -> Iterator[Envelope]:
        """Yield the changes of the catalogue before session `number`."""
        at = self._begin + number * _INTERVAL
        for kind, share in _ITEM_CHANGES.items():
            if self._chance.random() < share:
                item = self._chance.choice(ITEMS)
                is_archived = kind == "ItemArchived"
                yield _event(kind, at, {"item_id": item} if is_archived else self._describe(item))

    def _describe(self, item: str) -> dict[str, Any]:
        return {
            "item_id": item,
            "domains": self._chance.sample("RWLS", self._chance.randint(0, 2)),
            "cefr_level": self._chance.choice(("A1", "B2", None)),
            "headword": f"word of {item}",
            "language": self._chance.choice(("en", "ja", None)),
        }

    def _change_account(self, learner: str, at: datetime) -> Iterator[Envelope]:
        zone, rest = self._chance.choice(_ZONES), timedelta(days=self._chance.randint(-2, 2))
        group = {"group_id": self._chance.choice(GROUPS)}
        data: dict[str, dict[str, Any]] = {
            "UserCreated": {"email": f"{learner}@example.com", "timezone": zone},
            "UserPreferencesChanged": {"timezone": zone, "day_start_hour": 4},
            "LearnerJoinedGroup": group | {"group_name": f"Class {group['group_id']}"},
            "LearnerLeftGroup": group,
            "GoalSet": {"answers_per_day": self._chance.choice((0, 10, 40))},
            "RestDayTaken": {"date": (at + rest).date().isoformat()},
        }
        for kind, share in _CHANGES.items():
            if self._chance.random() < share:
                yield _event(kind, at, {"user_id": learner} | data[kind])


def _event(kind: str, at: datetime, data: dict[str, Any]) -> Envelope:
    time = at.isoformat()
    return {"event_id": str(uuid4()), "event_type": kind, "occurred_at": time, "data": data}
