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
    """The standing of a group: its size, and its members' activity in their last 7 local days."""

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
