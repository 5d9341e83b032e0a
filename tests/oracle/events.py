"""Stored events, and the part of them that a question may see."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

ANSWERS = ("CorrectAnswerGiven", "IncorrectAnswerGiven")
PREFERENCES = ("UserCreated", "UserPreferencesChanged")
DESCRIPTIONS = ("ItemPublished", "ItemUpdated")
CATALOGUE = (*DESCRIPTIONS, "ItemArchived")
LEARNERS = (
    "SessionStarted",
    *ANSWERS,
    "SessionCompleted",
    "SessionAbandoned",
    "ReviewProcessed",
    *PREFERENCES,
    "UserDeleted",
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """An event as it is stored; `user_id` is None where it belongs to no learner."""

    event_id: UUID
    type: str
    data: Mapping[str, Any]
    occurred_at: datetime
    created_at: datetime
    user_id: str | None

    @property
    def when(self) -> tuple[datetime, UUID]:
        """What "first", "latest" and "before" compare."""
        return (self.occurred_at, self.event_id)


@dataclass(frozen=True)
class World:
    """The events that count for a question, in their order, and its moment."""

    events: tuple[Event, ...]
    deleted: frozenset[str]
    now: datetime

    def of(self, user_id: str, *types: str) -> list[Event]:
        """The learner's events of these types, in order; none for a deleted learner."""
        if user_id in self.deleted:
            return []
        return [e for e in self.events if e.user_id == user_id and e.type in types]

    def answers(self, user_id: str) -> list[Event]:
        """Every answer of the learner."""
        return self.of(user_id, *ANSWERS)

    def correct(self, user_id: str) -> list[Event]:
        """Every correct answer of the learner."""
        return self.of(user_id, "CorrectAnswerGiven")

    def reviews(self, user_id: str) -> list[Event]:
        """Every review of the learner."""
        return self.of(user_id, "ReviewProcessed")

    def completions(self, user_id: str) -> list[Event]:
        """The first completion of each session of the learner."""
        firsts: dict[str, Event] = {}
        for event in self.of(user_id, "SessionCompleted"):
            firsts.setdefault(event.data["session_id"], event)
        return list(firsts.values())


def see(
    stored: Iterable[Event],
    now: datetime,
    *,
    as_of: datetime | None = None,
    known_at: datetime | None = None,
) -> World:
    """What a question sees that is asked at `now`, as of a moment, or with what was known then.

    A deletion holds for every moment.
    """
    everything = sorted(stored, key=lambda e: e.when)
    return World(
        events=tuple(
            e
            for e in everything
            if (as_of is None or e.occurred_at <= as_of)
            and (known_at is None or e.created_at <= known_at)
        ),
        deleted=frozenset(e.user_id for e in everything if e.type == "UserDeleted" and e.user_id),
        now=as_of or known_at or now,
    )


def only(events: Iterable[Event], item_id: str) -> list[Event]:
    """Those that name the item."""
    return [e for e in events if e.data["item_id"] == item_id]


def ratio(part: float, whole: int) -> float | None:
    """A rate or a mean, not rounded; None of nothing."""
    return part / whole if whole else None
