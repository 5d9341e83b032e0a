"""The GraphQL types of `api.graphql`; records of the read models provide the fields' values."""

from datetime import date, datetime
from typing import get_type_hints

import msgspec
import strawberry

from progress.event_store import dead_letter_record as dead_letters
from progress.operations import records as operations
from progress.query.read_models import rows

_MAX_INT = 2**31 - 1


def read_field(record: object, name: str) -> object:
    """Return a field of a record; an integer beyond GraphQL's Int becomes the largest Int."""
    value = getattr(record, name)
    return min(value, _MAX_INT) if type(value) is int else value


def list_of(record: type[msgspec.Struct]) -> object:
    """Return a list type whose entries have the record's name and fields."""
    made = type(record.__name__, (), {"__annotations__": get_type_hints(record)})
    return list[strawberry.type(made)]  # type: ignore[misc] # made at run time


Mastery = strawberry.enum(rows.Mastery)
Domain = strawberry.enum(rows.Domain)
CefrLevel = strawberry.enum(rows.CefrLevel)
LagStatus = strawberry.enum(rows.LagStatus)
DeadLetterKind = strawberry.enum(dead_letters.DeadLetterKind)
OperationKind = strawberry.enum(operations.OperationKind)
OperationState = strawberry.enum(operations.OperationState)
ItemFilter = strawberry.enum(
    rows.ItemFilter,
    description="MASTERED: short or long term. "
    "STRUGGLING: 3 answers or more, under 60 % correct. DUE: dueAt has come.",
)
ItemOrder = strawberry.enum(
    rows.ItemOrder,
    description="RECENT: newest answer or review first. DUE: earliest dueAt first. "
    "ACCURACY: lowest first. Nulls last, ties by itemId.",
)


@strawberry.type
class MasteryStats:
    unlearned: int
    learning: int
    short_term_mastered: int
    long_term_mastered: int


@strawberry.type
class UserProgress:
    user_id: strawberry.ID
    total_items_learned: int
    total_sessions_completed: int
    total_study_time_minutes: int
    current_streak: int
    accuracy_rate: float | None
    mastery_stats: MasteryStats
    last_updated: datetime


@strawberry.type
class DailyStats:
    date: date
    sessions_completed: int
    study_seconds: int
    study_time_minutes: int
    answers: int
    correct_answers: int
    accuracy_rate: float | None
    average_response_ms: float | None
    items_learned: int
    items_reviewed: int
    new_mastery_count: int
    average_score: float | None


@strawberry.type
class PeriodStats:
    start: date
    end: date = strawberry.field(description="The last day of the period.")
    active_days: int
    sessions_completed: int
    study_seconds: int
    study_time_minutes: int
    answers: int
    correct_answers: int
    accuracy_rate: float | None
    average_response_ms: float | None
    items_learned: int
    items_reviewed: int
    new_mastery_count: int
    average_score: float | None


@strawberry.type
class ItemStats:
    item_id: strawberry.ID
    headword: str | None
    level: rows.CefrLevel
    domains: list[rows.Domain]
    answers: int
    correct_answers: int
    accuracy_rate: float | None
    average_response_ms: float | None
    first_answered_at: datetime | None
    first_correct_at: datetime | None
    last_answered_at: datetime | None
    interval_days: int | None
    easiness_factor: float | None
    reviewed_at: datetime | None
    due_at: datetime | None
    lapses: int
    mastery: rows.Mastery


@strawberry.type
class DomainStats:
    domain: rows.Domain
    items_studied: int
    answers: int
    correct_answers: int
    accuracy_rate: float | None
    learning: int
    short_term_mastered: int
    long_term_mastered: int
    catalogue_items: int | None
    progress_rate: float | None


@strawberry.type
class LevelStats:
    level: rows.CefrLevel
    items_studied: int
    answers: int
    correct_answers: int
    accuracy_rate: float | None
    learning: int
    short_term_mastered: int
    long_term_mastered: int
    catalogue_items: int | None
    progress_rate: float | None


@strawberry.type
class Streak:
    current: int
    longest: int
    longest_start: date | None
    longest_end: date | None
    last_study_date: date | None
    active_today: bool
    at_risk: bool


@strawberry.type
class DueDay:
    date: date
    items: int


@strawberry.type
class ProjectionStatus:
    name: str
    events_behind: int
    seconds_behind: float
    status: rows.LagStatus
    updated_at: datetime | None


@strawberry.type
class RecordedEvent:
    event_id: strawberry.ID
    stream_id: str
    stream_version: int
    global_position: str = strawberry.field(description="A 64-bit number, as text.")
    event_type: str
    data: str = strawberry.field(description="JSON, as text.")
    correlation_id: str | None
    causation_id: str | None
    occurred_at: datetime
    recorded_at: datetime


@strawberry.type
class PageInfo:
    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class ItemStatsEdge:
    cursor: str
    node: ItemStats


@strawberry.type
class ItemStatsConnection:
    edges: list[ItemStatsEdge]
    page_info: PageInfo
    total_count: int


@strawberry.type
class EventEdge:
    cursor: str
    node: RecordedEvent


@strawberry.type
class EventConnection:
    edges: list[EventEdge]
    page_info: PageInfo


@strawberry.type
class DeadLetter:
    id: strawberry.ID
    kind: dead_letters.DeadLetterKind
    topic: str | None
    event_id: strawberry.ID | None
    event_type: str | None
    reason: str = strawberry.field(description="What is wrong: the field and the rule.")
    payload: str = strawberry.field(description="As received; addresses masked.")
    received_at: datetime
    replayed_at: datetime | None


@strawberry.type
class DeadLetterEdge:
    cursor: str
    node: DeadLetter


@strawberry.type
class DeadLetterConnection:
    edges: list[DeadLetterEdge]
    page_info: PageInfo
    total_count: int


@strawberry.type
class OperationStep:
    name: str
    state: operations.OperationState
    attempts: int
    error: str | None


@strawberry.type
class Operation:
    id: strawberry.ID
    kind: operations.OperationKind
    state: operations.OperationState
    progress: float = strawberry.field(description="0 to 1.")
    steps: list[OperationStep]
    error: str | None
    result: str | None = strawberry.field(description="JSON, as text, when it has succeeded.")
    started_at: datetime
    finished_at: datetime | None


@strawberry.type
class OperationEdge:
    cursor: str
    node: Operation


@strawberry.type
class OperationConnection:
    edges: list[OperationEdge]
    page_info: PageInfo
