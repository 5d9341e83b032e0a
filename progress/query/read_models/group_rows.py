"""Typed records of groups, their members, and the difficulty of items."""

from datetime import date
from enum import StrEnum

import msgspec

from progress.query.read_models.rows import CefrLevel


class LearnerOrder(StrEnum):
    """A sort order for the members of a group."""

    AT_RISK = "AT_RISK"
    INACTIVE = "INACTIVE"
    ACCURACY = "ACCURACY"
    STREAK = "STREAK"


class Group(msgspec.Struct, frozen=True):
    """The standing of a group; the numbers of 7 days are those of each member's local days."""

    group_id: str
    members: int
    active_last7_days: int
    answers_last7_days: int
    accuracy_last7_days: float | None


class Learner(msgspec.Struct, frozen=True):
    """A member's standing, as a teacher reads it."""

    user_id: str
    last_study_date: date | None
    current_streak: int
    answers_last7_days: int
    accuracy_last7_days: float | None
    total_items_learned: int
    at_risk: bool


class LearnerKey(msgspec.Struct, frozen=True):
    """The position of a member in an ordered list; `rank` ascends."""

    rank: float
    user_id: str


class LearnerPage(msgspec.Struct, frozen=True):
    """A page of a list: members with their keys, and the number of members of the group."""

    learners: list[tuple[LearnerKey, Learner]]
    has_next: bool
    total_count: int


class ItemDifficulty(msgspec.Struct, frozen=True):
    """The answers of several learners to an item."""

    item_id: str
    headword: str | None
    level: CefrLevel
    learners: int
    answers: int
    accuracy_rate: float
    average_response_ms: float
    lapses: int


class DifficultyPage(msgspec.Struct, frozen=True):
    """A page of a list: items, and the number of items in the whole list."""

    items: list[ItemDifficulty]
    has_next: bool
    total_count: int
