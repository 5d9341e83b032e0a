"""Typed records of the read models' rows, and the queries about one learner that return them.

Times are in UTC, days in the learner's time zone. Each query is one SELECT: a SQL block with its
parameters. The typed Python API (`queries`) and GraphQL's fields (`progress.query.graphql.schema`)
run the same queries.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import convert

from progress.event_store.outgoing import MilestoneReached


class Mastery(StrEnum):
    """The mastery of an item, by the interval of its latest review."""

    UNLEARNED = "UNLEARNED"
    LEARNING = "LEARNING"
    SHORT_TERM = "SHORT_TERM"
    LONG_TERM = "LONG_TERM"


class Domain(StrEnum):
    """A domain of the vocabulary: reading, writing, listening or speaking."""

    R = "R"
    W = "W"
    L = "L"
    S = "S"
    UNKNOWN = "UNKNOWN"


class CefrLevel(StrEnum):
    """A level of the Common European Framework."""

    A1 = "A1"
    A2 = "A2"
    B1 = "B1"
    B2 = "B2"
    C1 = "C1"
    C2 = "C2"
    UNKNOWN = "UNKNOWN"


class ItemFilter(StrEnum):
    ALL = "ALL"
    LEARNING = "LEARNING"
    MASTERED = "MASTERED"
    STRUGGLING = "STRUGGLING"
    DUE = "DUE"
    LEECH = "LEECH"
    FADING = "FADING"
    SET_ASIDE = "SET_ASIDE"
    ANSWERED = "ANSWERED"
    MISSED = "MISSED"
    NEWLY_MASTERED = "NEWLY_MASTERED"
    SLIPPED_BACK = "SLIPPED_BACK"

    @property
    def is_dated(self) -> bool:
        """Whether the filter asks what happened on the days of a range."""
        return self in _DATED


_DATED = ("ANSWERED", "MISSED", "NEWLY_MASTERED", "SLIPPED_BACK")


class ItemOrder(StrEnum):
    RECENT = "RECENT"
    DUE = "DUE"
    ACCURACY = "ACCURACY"
    LAPSES = "LAPSES"
    RECALL = "RECALL"


class MasteryStats(msgspec.Struct, frozen=True):
    """Items by mastery; `unlearned` counts the catalogue's items of the learner's pairs."""

    unlearned: int
    learning: int
    short_term_mastered: int
    long_term_mastered: int


class UserProgress(msgspec.Struct, frozen=True):
    """A learner's totals, and the present display name, whatever the time of the totals."""

    user_id: str
    display_name: str | None
    total_items_learned: int
    total_sessions_completed: int
    total_study_time_minutes: int
    current_streak: int
    accuracy_rate: float | None
    mastery_stats: MasteryStats
    last_updated: datetime


class _Answers(msgspec.Struct, frozen=True, kw_only=True):
    answers: int
    correct_answers: int
    accuracy_rate: float | None


class _TimedAnswers(_Answers, frozen=True, kw_only=True):
    average_response_ms: float | None


class _Sums(_TimedAnswers, frozen=True, kw_only=True):
    sessions_completed: int
    study_seconds: int
    study_time_minutes: int
    items_learned: int
    items_reviewed: int
    reviews: int
    new_mastery_count: int
    average_score: float | None


class DailyStats(_Sums, frozen=True, kw_only=True):
    date: date


class PeriodStats(_Sums, frozen=True, kw_only=True):
    """One week or month of a learner; the day `end` is included."""

    start: date
    end: date
    active_days: int
    slipped_back: int


class Memory(msgspec.Struct, frozen=True):
    """A learner's memory of an item: after `stability_days`, the estimated recall is 0.9."""

    stability_days: float
    difficulty: float  # 1 to 10
    answered_on: date  # the local day of the latest answer


class ItemStats(_TimedAnswers, frozen=True, kw_only=True):
    """A learner's answers and reviews of one item; `memory` is None without an answer."""

    item_id: str
    headword: str | None
    level: CefrLevel
    domains: list[Domain]
    first_answered_at: datetime | None
    first_correct_at: datetime | None
    last_answered_at: datetime | None
    interval_days: int | None
    easiness_factor: float | None
    reviewed_at: datetime | None
    due_at: datetime | None
    due_on: date | None  # the local day of `due_at`
    set_aside: bool  # by the learner
    in_play: bool  # False if the item is archived or set aside
    lapses: int
    mastery: Mastery
    estimated_recall: float | None
    memory: Memory | None
    language: str | None
    kind: str | None  # what tells the cards of one word apart
    own: bool  # the headword is a word of the learner's own, which only the learner is shown


class RecallPoint(msgspec.Struct, frozen=True):
    """The estimated recall of an item on a day, before and after the answers of this day."""

    date: date
    before: float | None  # None on the day of the first answer
    after: float


class ItemMeasure(StrEnum):
    INTERVAL_DAYS = "INTERVAL_DAYS"
    RECALL = "RECALL"


class ItemCount(msgspec.Struct, frozen=True):
    """How many items have a measure from `at_least` on and, unless it is None, below `below`."""

    measure: ItemMeasure
    at_least: float
    below: float | None
    items: int


class LevelKnowledge(msgspec.Struct, frozen=True):
    """Answered items of a level; `expected` is the sum of their estimated recalls."""

    level: CefrLevel
    items: int
    expected: float
    fading: int


class Knowledge(msgspec.Struct, frozen=True):
    """What a learner still knows on a day, without further study."""

    on: date
    items: int
    expected: float
    fading: int
    levels: list[LevelKnowledge]


class KnowledgePoint(msgspec.Struct, frozen=True):
    """How many items were answered up to the day `end` of a week, and how many were then known."""

    start: date
    end: date
    items: int
    expected: float


class SessionAnswer(msgspec.Struct, frozen=True):
    """An answer of a session; `rating` is None but for a CardReviewed."""

    item_id: str
    headword: str | None
    correct: bool
    rating: int | None
    response_time_ms: float | None
    at: datetime


class StudySession(_TimedAnswers, frozen=True, kw_only=True):
    """What a learner did in one sitting; `given` is None in a list."""

    id: str
    started_at: datetime
    ended_at: datetime
    completed_at: datetime | None
    item_count: int | None
    score: int | None
    duration_seconds: int | None
    items: int
    items_new: int
    items_missed: int
    given: list[SessionAnswer] | None = None


class SessionKey(msgspec.Struct, frozen=True):
    started_at: datetime
    id: str


class MasteryPoint(msgspec.Struct, frozen=True):
    """How many items were in each class of mastery on the day `end` of a week."""

    start: date
    end: date
    learning: int
    short_term_mastered: int
    long_term_mastered: int


class CalibrationBin(msgspec.Struct, frozen=True):
    """Tests whose predicted recall is from `from_` to `to`; the means are None without a test."""

    from_: float
    to: float
    tests: int
    predicted: float | None
    recalled: float | None


class Calibration(msgspec.Struct, frozen=True):
    """How well estimates predicted tests, beside a constant, in natural logarithms."""

    tests: int
    log_loss: float
    constant_log_loss: float
    bins: list[CalibrationBin]


class ItemKey(msgspec.Struct, frozen=True):
    """The position of an item in an ordered list; `rank` ascends, None is last."""

    rank: float | None
    item_id: str


class ItemReview(msgspec.Struct, frozen=True):
    at: datetime
    interval_days: int
    easiness_factor: float | None


class ItemDay(msgspec.Struct, frozen=True):
    """A learner's answers to one item on one local day."""

    date: date
    answers: int
    correct_answers: int


class ItemHistory(msgspec.Struct, frozen=True):
    """The history of one item: its reviews, and its answers by local day, both newest first."""

    reviews: list[ItemReview]
    days: list[ItemDay]


class _Share(_Answers, frozen=True, kw_only=True):
    items_studied: int
    learning: int
    short_term_mastered: int
    long_term_mastered: int
    progress_rate: float | None


class DomainStats(_Share, frozen=True, kw_only=True):
    domain: Domain
    catalogue_items: int | None


class _Forecast(_Share, frozen=True, kw_only=True):
    mastered_last28_days: int
    expected_date: date | None
    reached: bool


class LevelStats(_Forecast, frozen=True, kw_only=True):
    """A learner's progress in one CEFR level.

    The learner has reached the level once 80 % of the level's items are mastered.
    """

    level: CefrLevel
    catalogue_items: int | None


class ItemList(msgspec.Struct, frozen=True):
    """A list that names an item; nobody but the learner sees an own list."""

    id: str  # own: and the list's id, if it is the learner's own
    own: bool
    name: str | None
    scale: str | None  # what the list is a level of, by its rank
    rank: int | None


class WordList(_Forecast, frozen=True, kw_only=True):
    """A list of items, and a learner's progress in its members."""

    id: str
    own: bool
    name: str | None
    scale: str | None
    rank: int | None
    archived: bool
    items: int
    due: int
    expected: float


class FoundList(WordList, frozen=True, kw_only=True):
    """One list, and by what its members are found."""

    user_id: str
    moment: "Moment"


class ListKey(msgspec.Struct, frozen=True):
    scale: str | None
    rank: int | None
    name: str | None
    id: str


class LearnerTask(msgspec.Struct, frozen=True):
    """A list that is assigned to a learner's group, and what the learner knows of its items.

    Of `items`, which the learner gets of the list, `known` counts those that were ever right up to
    `due_on`, `known_now` up to now, and `expected` those that the learner is expected to know at
    the end of `due_on` or, if it is past, of today. The last four are None over 2,000 items.
    """

    group_id: str
    group_name: str | None
    list_id: str
    list_name: str | None
    due_on: date
    items: int
    known: int | None
    known_now: int | None
    done: bool | None  # None for an empty list, too
    expected: float | None


class TaskKey(msgspec.Struct, frozen=True):
    due_on: date
    list_id: str
    group_id: str


class MemberKey(msgspec.Struct, frozen=True):
    """The position of an item in a list; None is last."""

    position: int | None
    item_id: str


class Scale(msgspec.Struct, frozen=True):
    """A scale, such as JLPT, and the number of its lists that are not archived."""

    name: str
    lists: int


class LearnerLanguage(msgspec.Struct, frozen=True):
    """The items of one language that a learner has answered or reviewed, and their answers."""

    language: str  # a primary subtag; und: items without a language or a description
    items_studied: int
    answers: int
    kinds: int  # distinct kinds of the described items and, of und, own words; no kind is one


class HourlyStats(_TimedAnswers, frozen=True, kw_only=True):
    """A learner's answers in one hour of the local clock (`hour`, 0 to 23), over all days."""

    hour: int


class PeriodLength(StrEnum):
    """The length of a period: a local day, an ISO week or a calendar month."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"


class Recall(msgspec.Struct, frozen=True):
    """The number of tests (`asked`), and how many of them were correct (`recalled`).

    A test is the first answer to an item after a review. The interval of this review decides
    whether the item is young or mature. Without a test, `rate` is None.
    """

    asked: int
    recalled: int
    rate: float | None


class Retention(msgspec.Struct, frozen=True):
    """A learner's recall of young and mature items in one period; the day `end` is included."""

    start: date
    end: date
    young: Recall
    mature: Recall


class Streak(msgspec.Struct, frozen=True):
    """A learner's streaks of study days; rest days do not break a streak."""

    current: int
    longest: int
    longest_start: date | None
    longest_end: date | None
    last_study_date: date | None
    active_today: bool
    at_risk: bool
    rest_today: bool


class Goal(msgspec.Struct, frozen=True):
    """A learner's goal of answers per day, and the local days on which the goal was met.

    `days_met7` counts these days in the last 7 days, `days_met30` in the last 30 days. `week` has
    one value for each of the last seven days: true if the goal was met. Today's value is the last.
    """

    answers_per_day: int
    answers_today: int
    days_met7: int
    days_met30: int
    week: list[bool]
    study_days30: int


class LocalDay(msgspec.Struct, frozen=True):
    """When a learner's local day begins and ends; equal if the clocks skip the day."""

    date: date
    start: datetime
    end: datetime


class DueDay(msgspec.Struct, frozen=True):
    """The items due on a local day. Today's items include the `overdue` ones of earlier days."""

    date: date
    items: int
    overdue: int


class Workload(msgspec.Struct, frozen=True):
    """A learner's due items, and how long they take at the pace of the last 28 local days."""

    due: int
    overdue: int
    seconds_per_answer: float | None
    minutes: int | None


class MilestoneKind(StrEnum):
    """What a learner reached, in the order of lists."""

    STREAK = "STREAK"
    ITEMS_LEARNED = "ITEMS_LEARNED"
    ITEMS_MASTERED = "ITEMS_MASTERED"
    GOAL_MET = "GOAL_MET"
    LEVEL_REACHED = "LEVEL_REACHED"


class Milestone(msgspec.Struct, frozen=True):
    """A milestone of a learner; `value` is a number of days or items, or the day's goal."""

    id: str
    kind: MilestoneKind
    value: int | None
    level: CefrLevel | None
    reached_on: date


class MilestoneKey(msgspec.Struct, frozen=True):
    reached_on: date
    kind: MilestoneKind
    level: CefrLevel | None
    value: int | None


class LagStatus(StrEnum):
    """The status of a projection: NORMAL if it keeps up with the log, else CRITICAL."""

    NORMAL = "NORMAL"
    CRITICAL = "CRITICAL"


class ProjectionStatus(msgspec.Struct, frozen=True):
    name: str
    realtime: bool
    events_behind: int
    seconds_behind: float
    status: LagStatus
    updated_at: datetime | None
    changed_at: datetime | None


class RecordedEvent(msgspec.Struct, frozen=True):
    """A recorded event; `data` is JSON."""

    event_id: str
    stream_id: str
    stream_version: int
    global_position: str  # text, because some JSON parsers lose digits of a 64-bit number
    event_type: str
    retracted: bool  # by a recorded EventRetracted, whether or not the event would count
    data: str
    correlation_id: str | None
    causation_id: str | None
    posted_by: str | None
    source_id: str | None
    occurred_at: datetime
    recorded_at: datetime


class OwnPosts(msgspec.Struct, frozen=True):
    recently: bool
    conflicts: int


_T = TypeVar("_T")
_Row = Mapping[str, Any]

_FEWEST_TESTS = 50


# Some fields return days up to ten years after today.
_FIRST, _LAST = datetime(4, 1, 1, tzinfo=UTC), datetime(9988, 1, 1, tzinfo=UTC)


class Moment(NamedTuple):
    """The time `at` of a query, and the past times `as_of` and `known_at` that it is about."""

    at: datetime
    as_of: datetime | None = None
    known_at: datetime | None = None

    @property
    def is_past(self) -> bool:
        return self.as_of is not None or self.known_at is not None

    @property
    def now(self) -> datetime:
        """The time whose local day is today, within the years in which dates can be computed."""
        return min(max(self.as_of or self.known_at or self.at, _FIRST), _LAST)


def parameters_after(key: type[msgspec.Struct], place: msgspec.Struct | None) -> dict[str, Any]:
    """Return the parameters of a page that begins after a place; None stands for the beginning."""
    return {f"after_{name}": getattr(place, name, None) for name in key.__struct_fields__}


class RowQuery(NamedTuple, Generic[_T]):
    """A block of SQL about one learner, and the function that converts each row to a record."""

    moment: Moment
    file: str
    block: str
    parameters: Mapping[str, object]  # without `user_id`, `is_learner` and `now`
    record: Callable[[_Row], _T]


def select_user_progress(moment: Moment) -> RowQuery[UserProgress]:
    return RowQuery(moment, "read_models/user_progress", "current", {}, _user_progress)


def select_daily_stats(
    moment: Moment, first_day: date, last_day: date, *, zero_fill: bool = False
) -> RowQuery[DailyStats]:
    block = "range" if zero_fill else "days"
    parameters = {"first_day": first_day, "last_day": last_day}
    return RowQuery(moment, "read_models/daily_stats", block, parameters, _fill(DailyStats))


def select_weekly_stats(
    moment: Moment, first_day: date, last_day: date, *, zero_fill: bool = False
) -> RowQuery[PeriodStats]:
    parameters = {"first_day": first_day, "last_day": last_day, "zero_fill": zero_fill}
    return RowQuery(moment, "read_models/weekly_stats", "range", parameters, _fill(PeriodStats))


def select_monthly_stats(moment: Moment, first_day: date, last_day: date) -> RowQuery[PeriodStats]:
    parameters = {"first_day": first_day, "last_day": last_day}
    return RowQuery(moment, "read_models/daily_stats", "months", parameters, _fill(PeriodStats))


def select_item(moment: Moment, item_id: str) -> RowQuery[ItemStats]:
    return RowQuery(moment, "read_models/item_stats", "item", {"item_id": item_id}, convert_item)


def select_list(moment: Moment, user_id: str, list_id: str) -> RowQuery[FoundList]:
    lists = {"in_scale": None, "groups": None, **parameters_after(ListKey, None)}
    parameters = {**lists, "list_id": list_id, "first": 1, "days": 1}

    def record(row: _Row) -> FoundList:
        values = {name: row[name] for name in WordList.__struct_fields__}
        return FoundList(**values, user_id=user_id, moment=moment)

    return RowQuery(moment, "read_models/lists", "numbers", parameters, record)


def select_item_forgetting(moment: Moment, item_id: str, days: int) -> RowQuery[RecallPoint]:
    parameters = {"item_id": item_id, "days": days}
    return RowQuery(moment, "read_models/memory", "forgetting", parameters, _fill(RecallPoint))


def select_item_distribution(moment: Moment) -> RowQuery[ItemCount]:
    return RowQuery(moment, "read_models/memory", "distribution", {}, _convert(ItemCount))


def select_domain_stats(moment: Moment, language: str | None = None) -> RowQuery[DomainStats]:
    parameters = {"language": language}
    return RowQuery(
        moment, "read_models/domain_stats", "by domain", parameters, _convert(DomainStats)
    )


def select_level_stats(moment: Moment, language: str | None = None) -> RowQuery[LevelStats]:
    parameters = {"language": language}
    return RowQuery(moment, "read_models/level_stats", "by level", parameters, _convert(LevelStats))


def select_languages(moment: Moment) -> RowQuery[LearnerLanguage]:
    return RowQuery(moment, "read_models/item_stats", "rows languages", {}, _fill(LearnerLanguage))


def select_hourly_stats(moment: Moment) -> RowQuery[HourlyStats]:
    return RowQuery(moment, "read_models/hourly_stats", "rows hourly", {}, _fill(HourlyStats))


def select_retention(
    moment: Moment, first_day: date, last_day: date, by: PeriodLength
) -> RowQuery[Retention]:
    parameters = {"first_day": first_day, "last_day": last_day, "by": by.value}
    return RowQuery(moment, "read_models/retention_stats", "periods", parameters, _retention)


def select_streak(moment: Moment) -> RowQuery[Streak]:
    return RowQuery(moment, "read_models/learning_streaks", "streak", {}, _fill(Streak))


def select_rest_days(moment: Moment, first_day: date, last_day: date) -> RowQuery[date]:
    parameters = {"first_day": first_day, "last_day": last_day}
    return RowQuery(
        moment, "read_models/rest_days", "range", parameters, lambda row: row["rest_days"]
    )


def select_goal(moment: Moment) -> RowQuery[Goal]:
    return RowQuery(moment, "read_models/goals", "goal", {}, _fill(Goal))


def select_due_forecast(moment: Moment, days: int) -> RowQuery[DueDay]:
    return RowQuery(moment, "read_models/item_stats", "forecast", {"days": days}, _fill(DueDay))


def select_workload(moment: Moment) -> RowQuery[Workload]:
    return RowQuery(moment, "read_models/item_stats", "workload", {"days": 1}, _fill(Workload))


def _fill(record: Callable[..., _T]) -> Callable[[_Row], _T]:
    return lambda row: record(**row)


def _convert(type_: type[_T]) -> Callable[[_Row], _T]:
    """Convert texts to members of enums, too."""
    return lambda row: convert(dict(row), type_)


def _user_progress(row: _Row) -> UserProgress:
    return convert({**row, "mastery_stats": dict(row)}, UserProgress)


def convert_item(row: _Row) -> ItemStats:
    return convert({**row, "memory": dict(row) if row["answered_on"] else None}, ItemStats)


def calibrate(found: Sequence[_Row]) -> Calibration | None:
    """Return the calibration of the rows' bins; None under 50 tests. Sums are in millionths."""
    tests, correct = (sum(row[name] for row in found) for name in ("tests", "correct"))
    if tests < _FEWEST_TESTS:
        return None
    bins = {row["bin"]: row for row in found}
    share = min(max(correct / tests, 0.001), 0.999)
    losses = (round(-math.log(p) * 10**6) for p in (share, 1 - share))
    constant = sum(n * loss for n, loss in zip((correct, tests - correct), losses, strict=True))
    return Calibration(
        tests,
        sum(row["loss"] for row in found) / tests / 10**6,
        constant / tests / 10**6,
        [_bin(number, bins.get(number)) for number in range(10)],
    )


def _bin(number: int, row: _Row | None) -> CalibrationBin:
    limits = number / 10, (number + 1) / 10
    if row is None:
        return CalibrationBin(*limits, 0, None, None)
    tests = row["tests"]
    return CalibrationBin(*limits, tests, row["predicted"] / tests / 10**6, row["correct"] / tests)


def convert_milestone(user_id: str, row: _Row) -> tuple[MilestoneKey, Milestone]:
    """Return the milestone and its key; its id is that of the message that tells of it."""
    kind, value, level, day = (row[name] for name in ("kind", "value", "level", "reached_on"))
    id_ = MilestoneReached(user_id, kind, value, level, day.isoformat()).id
    milestone = convert({**row, "id": str(id_)}, Milestone)
    return MilestoneKey(day, milestone.kind, milestone.level, value), milestone


def _retention(row: _Row) -> Retention:
    return Retention(row["start"], row["end"], _recall(row, "young"), _recall(row, "mature"))


def _recall(row: _Row, maturity: str) -> Recall:
    return Recall(*(row[f"{maturity}_{name}"] for name in Recall.__struct_fields__))
