"""Typed records of the read models' rows, and the queries about one learner that return them.

Times are in UTC, days in the learner's time zone. Each query is declared once: its SQL
block, its parameters, and what the rows become. The methods of `queries.Queries` and GraphQL's
fields (`progress.query.graphql.schema`) follow from these declarations.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import (
    Any,
    Generic,
    NamedTuple,
    ParamSpec,
    TypedDict,
    TypeVar,
    Unpack,
    get_args,
    get_origin,
)

import msgspec
from msgspec import convert

from progress.errors import BadInput
from progress.event_store import intake, learner_post_check
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


class StreakDayKind(StrEnum):
    """What a local day is: the first that is true."""

    STUDIED = "STUDIED"
    AHEAD = "AHEAD"
    REST = "REST"
    OPEN = "OPEN"
    MISSED = "MISSED"


class StreakDay(msgspec.Struct, frozen=True):
    """A local day of a learner, and the length of the run that it belongs to, or 0."""

    date: date
    kind: StreakDayKind
    run: int
    answers: int
    sessions_completed: int


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


class EventCount(StrEnum):
    """What became of an event in the numbers: the first that is true, COUNTED otherwise."""

    NOBODYS = "NOBODYS"
    POISONED = "POISONED"
    UNDECLARED = "UNDECLARED"
    REFUSED = "REFUSED"
    NOT_YET = "NOT_YET"
    RETRACTED = "RETRACTED"
    SECOND_COMPLETION = "SECOND_COMPLETION"
    WITHOUT_EFFECT = "WITHOUT_EFFECT"
    COUNTED = "COUNTED"


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
    counted: EventCount
    posted_by: str | None
    source_id: str | None
    occurred_at: datetime
    recorded_at: datetime


class OwnPosts(msgspec.Struct, frozen=True):
    recently: bool
    conflicts: int


_P = ParamSpec("_P")
_T = TypeVar("_T")
_Row = Mapping[str, Any]
_Rows = Sequence[_Row]
_Asked = Mapping[str, Any]

_FEWEST_TESTS = 50
_FEWEST_LEARNERS = 20
_MAX_AHEAD = timedelta(days=3_650)
_recorded = msgspec.json.Decoder(RecordedEvent)

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


# To whom the lists of tasks are shown: a caller and the groups that they teach; None for all lists.
Reader = Sequence[str] | None


class At(TypedDict, total=False):
    """The keyword argument that decides which day is today; the default is the current time."""

    at: datetime | None


class Past(At, total=False):
    """The keyword arguments of a query that may be about the past; see `queries`."""

    as_of: datetime | None
    known_at: datetime | None


class Page(msgspec.Struct, Generic[_T], frozen=True):
    """A page of a list; `total_count` is that of the whole list, if it was counted."""

    items: list[_T]
    has_next: bool
    total_count: int | None


def build_page(
    rows: _Rows, first: int, record: Callable[[_Row], _T], id_column: str = "item_id"
) -> Page[_T]:
    """Return the page of `first` rows; a row more says that another page follows.

    Every row has the column `total_count`. For an empty page, there is one row in which `id_column`
    is null.
    """
    found = [row for row in rows if row[id_column] is not None]
    items = [record(dict(row)) for row in found[:first]]
    return Page(items, has_next=len(found) > first, total_count=rows[0]["total_count"])


def parameters_after(key: type[msgspec.Struct], place: msgspec.Struct | None) -> dict[str, Any]:
    """Return the parameters of a page that begins after a place; None stands for the beginning."""
    return {f"after_{name}": getattr(place, name, None) for name in key.__struct_fields__}


class Query(NamedTuple, Generic[_T]):
    """A block of SQL with its parameters, and the function that makes the result of its rows."""

    file: str
    block: str
    moment: Moment
    parameters: Mapping[str, Any]  # without `now`
    make: Callable[[_Rows, _Asked], _T]  # takes the rows and the parameters
    constants: Mapping[str, str]  # see `Reader.fetch`


class Declared(Generic[_P, _T]):
    """A declared query: what makes a `Query` of arguments; see `_query`."""

    def __init__(
        self,
        function: Callable[_P, _T],
        place: tuple[str, str | Callable[[_Asked], str]],
        make: Callable[[_Rows, _Asked], Any] | None,
        constants: Sequence[str],
        more: Mapping[str, object],
    ) -> None:
        signature = inspect.signature(function)
        self.function, self.name = function, function.__name__
        self.result = signature.return_annotation
        self.is_dated = signature.parameters["at"].annotation == Unpack[Past]
        self.parameters = {n: p for n, p in signature.parameters.items() if n != "at"}
        self._place, self._constants, self._more = place, constants, more
        own = self.parameters.items()
        self._defaults: dict[str, Any] = {n: p.default for n, p in own if p.default != p.empty}
        self._renamed = [name for name in self.parameters if name in _SQL_NAMES]
        after = self.parameters.get("after")
        self._key = get_args(after.annotation)[0] if after else None
        self._is_page = get_origin(self.result) is Page
        self.has_rows = not (make or self._is_page)  # whether the rows are the result
        self._make = make or _make_of(self.result)

    def __call__(self, *values: _P.args, **named: _P.kwargs) -> Query[_T]:
        asked: dict[str, Any] = {**self._defaults, **named}
        asked.update(zip(self.parameters, values, strict=False))
        at, as_of = asked.pop("at", None), asked.pop("as_of", None)
        known_at = asked.pop("known_at", None)
        if asked.keys() != self.parameters.keys():
            raise TypeError(f"{self.name}: expected {[*self.parameters]} - found {[*asked]}")
        for name, value in self._more.items():
            asked[name] = value(asked) if callable(value) else value
        for name in self._renamed:
            asked[_SQL_NAMES[name]] = asked[name]
        if self._key:
            asked |= parameters_after(self._key, asked["after"])
        if self._is_page:
            asked["first"] += 1
        moment = asked["moment"] = Moment(at or datetime.now(UTC), as_of, known_at)
        file, block = self._place
        block = block if isinstance(block, str) else block(asked)
        constants = {name: asked[name] for name in self._constants} if self._constants else {}
        return Query(file, block, moment, asked, self._make, constants)


# The names in SQL of parameters that have another one in Python.
_SQL_NAMES = {
    "start_date": "first_day",
    "end_date": "last_day",
    "date": "day",
    "session_id": "id",
    "scale": "in_scale",
    "before_version": "before",
}


def _query(
    file: str,
    block: str | Callable[[_Asked], str],
    make: Callable[[_Rows, _Asked], Any] | None = None,
    *,
    constants: Sequence[str] = (),
    **more: object,
) -> Callable[[Callable[_P, _T]], Declared[_P, _T]]:
    """Declare a query by a function without a body: its parameters are those of the SQL block.

    What the rows become follows from what the function returns, unless `make` does that. A page has
    the parameters `first` and `after`; the SQL returns one row more. `more` has parameters that are
    no arguments: values, or functions of the arguments. `constants` are written into the statement.
    """
    return lambda function: Declared(function, (file, block), make, constants, more)


def _make_of(result: Any) -> Callable[[_Rows, _Asked], Any]:
    """Return what makes a page, a list, a record or None, a record, or a value of rows."""
    inner, *none = get_args(result) or (result,)
    if get_origin(result) is Page:
        key, type_ = get_args(inner)
        pair, id_column = _record(type_), key.__struct_fields__[-1]
        return lambda rows, asked: build_page(
            rows, asked["first"] - 1, lambda row: (convert(row, key), pair(row)), id_column
        )
    record = _record(inner)
    if get_origin(result) is list:
        return lambda rows, _: [record(row) for row in rows]
    if none:
        return lambda rows, _: record(rows[0]) if rows else None
    return lambda rows, _: record(rows[0])


def _record(type_: type[_T]) -> Callable[[_Row], _T]:
    """Return what makes a record of a row, or its only value if this is no record."""
    if not issubclass(type_, msgspec.Struct):
        return lambda row: next(iter(row.values()))
    shape = _SHAPES.get(type_, dict)
    return lambda row: convert(shape(row), type_)


# What has the records inside a record, for those that have some.
_SHAPES: dict[type[Any], Callable[[_Row], Mapping[str, Any]]] = {
    UserProgress: lambda row: {**row, "mastery_stats": dict(row)},
    ItemStats: lambda row: {**row, "memory": dict(row) if row["answered_on"] else None},
    Retention: lambda row: {
        **row,
        **{
            maturity: {name: row[f"{maturity}_{name}"] for name in Recall.__struct_fields__}
            for maturity in ("young", "mature")
        },
    },
}


@_query("read_models/user_progress", "current")
def user_progress(user_id: str, **at: Unpack[Past]) -> UserProgress | None:
    """Return the learner's progress; None if the learner has no events or is deleted."""


@_query(
    "read_models/daily_stats",
    "days",
    first_day=lambda asked: asked["date"],
    last_day=lambda asked: asked["date"],
)
def day_stats(user_id: str, date: date, **at: Unpack[Past]) -> DailyStats | None:
    """Return one local day; None if the learner has no events on this day."""


@_query("read_models/daily_stats", lambda asked: "range" if asked["zero_fill"] else "days")
def daily_stats(
    user_id: str, start_date: date, end_date: date, *, zero_fill: bool = False, **at: Unpack[Past]
) -> list[DailyStats]:
    """Return the local days of a range, both ends inclusive, oldest first.

    Days without events are left out; `zero_fill` adds them, unless the learner has no events.
    """


@_query("read_models/weekly_stats", "range")
def weekly_stats(
    user_id: str, start_date: date, end_date: date, *, zero_fill: bool = False, **at: Unpack[Past]
) -> list[PeriodStats]:
    """Return the weeks whose Monday lies in the range, oldest first."""


@_query("read_models/daily_stats", "months")
def monthly_stats(
    user_id: str, start_date: date, end_date: date, **at: Unpack[Past]
) -> list[PeriodStats]:
    """Return the whole calendar months whose first day lies in the range, oldest first."""


@_query(
    *("read_models/item_stats", "list"),
    constants=("filter", "order_by"),
    first_day=lambda asked: asked["span"] and asked["span"][0],
    last_day=lambda asked: asked["span"] and asked["span"][1],
    days=1,  # the filter DUE needs only today's due items
)
def item_stats(
    user_id: str,
    *,
    first: int,
    filter: ItemFilter = ItemFilter.ALL,  # noqa: A002 - the name in api.graphql
    order_by: ItemOrder = ItemOrder.RECENT,
    level: CefrLevel | None = None,
    domain: Domain | None = None,
    list_id: str | None = None,
    search: str = "",
    language: str | None = None,
    span: tuple[date, date] | None = None,
    after: ItemKey | None = None,
    is_learner: bool = False,
    reader: Reader = (),
    **at: Unpack[Past],
) -> Page[tuple[ItemKey, ItemStats]]:
    """Return at most `first` studied items after `after` whose headwords contain `search`.

    `span` is the first and the last day of a dated filter; without it, such a filter lists nothing.
    """


@_query("read_models/item_stats", "item")
def item(
    user_id: str, item_id: str, *, is_learner: bool = False, **at: Unpack[Past]
) -> ItemStats | None:
    """Return one item; None if it is neither described nor studied nor an own word."""


@_query(
    *("read_models/item_days", "history"),
    lambda rows, _: ItemHistory(
        [convert(dict(row), ItemReview) for row in rows if row["at"] is not None],
        [convert(dict(row), ItemDay) for row in rows if row["at"] is None],
    ),
)
def item_history(user_id: str, item_id: str, **at: Unpack[Past]) -> ItemHistory:
    """Return the item's reviews and its answers by day, both for the last 731 local days."""


@_query("read_models/memory", "forgetting")
def item_forgetting(user_id: str, item_id: str, days: int, **at: Unpack[Past]) -> list[RecallPoint]:
    """Return the estimated recall on each day with an answer, and on so many days from today."""


@_query("read_models/memory", "distribution")
def item_distribution(user_id: str, **at: Unpack[Past]) -> list[ItemCount]:
    """Return how many items have which intervals and estimated recalls."""


@_query("read_models/item_stats", "rows languages")
def languages(
    user_id: str, *, is_learner: bool = False, **at: Unpack[Past]
) -> list[LearnerLanguage]:
    """Return the languages of the learner's items, most items first."""


@_query("read_models/item_stats", "forecast")
def due_forecast(user_id: str, days: int, **at: Unpack[Past]) -> list[DueDay]:
    """Return, for each of `days` local days from today, the number of items that fall due."""


@_query("read_models/item_stats", "workload", days=1)
def workload(user_id: str, **at: Unpack[Past]) -> Workload:
    """Return today's due items, and how long they take."""


@_query("read_models/domain_stats", "by domain")
def domain_stats(
    user_id: str, *, language: str | None = None, **at: Unpack[Past]
) -> list[DomainStats]:
    """Return each domain that has items in the catalogue or that the learner has studied.

    The order is R, W, L, S, UNKNOWN.
    """


@_query("read_models/level_stats", "by level")
def level_stats(
    user_id: str, *, language: str | None = None, **at: Unpack[Past]
) -> list[LevelStats]:
    """Return each level that has items in the catalogue or that the learner has studied.

    The easiest level comes first, UNKNOWN last.
    """


@_query("read_models/hourly_stats", "rows hourly")
def hourly_stats(user_id: str, **at: Unpack[Past]) -> list[HourlyStats]:
    """Return the hours with an answer, from midnight."""


@_query("read_models/retention_stats", "periods")
def retention(
    user_id: str,
    start_date: date,
    end_date: date,
    by: PeriodLength = PeriodLength.DAY,
    **at: Unpack[Past],
) -> list[Retention]:
    """Return the periods in the range that have a test, oldest first."""


@_query("read_models/learning_streaks", "streak")
def streak(user_id: str, **at: Unpack[Past]) -> Streak:
    """Return the learner's streak on today's local day; zeros if the learner has no events."""


@_query("read_models/learning_streaks", "days")
def streak_days(
    user_id: str, start_date: date, end_date: date, **at: Unpack[Past]
) -> list[StreakDay]:
    """Return the local days of a range, oldest first, from the first study day on."""


@_query("read_models/rest_days", "range")
def rest_days(user_id: str, start_date: date, end_date: date, **at: Unpack[Past]) -> list[date]:
    """Return the rest days in the range, oldest first."""


@_query("read_models/goals", "goal")
def goal(user_id: str, **at: Unpack[Past]) -> Goal | None:
    """Return the learner's goal; None if there is none."""


@_query("read_models/lists", "numbers", list_id=None, days=1)
def lists(
    user_id: str,
    *,
    scale: str | None = None,
    first: int,
    after: ListKey | None = None,
    is_learner: bool = False,
    reader: Reader = (),
    groups: Sequence[str] | None = None,
    **at: Unpack[Past],
) -> Page[tuple[ListKey, WordList]]:
    """Return at most `first` lists after `after`, by scale, rank, name and id.

    These are all lists of the scale or, without one, those that are assigned to the learner's
    groups, of which only `groups` count unless it is None; and the learner's own.
    """


_ANY_LIST = {"in_scale": None, "groups": None, "days": 1, **parameters_after(ListKey, None)}


# Without a list, the row has nulls.
@_query(
    *("read_models/lists", "numbers"),
    lambda rows, asked: convert({**rows[0], **asked}, FoundList) if rows[0]["id"] else None,
    first=1,
    **_ANY_LIST,
)
def list_(
    user_id: str, list_id: str, *, is_learner: bool = False, reader: Reader = (), **at: Unpack[Past]
) -> FoundList | None:
    """Return one list; None if there is none, or if it is an own one of another reader."""


@_query("read_models/lists", "members")
def list_items(
    user_id: str,
    list_id: str,
    *,
    first: int,
    after: MemberKey | None = None,
    is_learner: bool = False,
    reader: Reader = (),
    **at: Unpack[Past],
) -> Page[tuple[MemberKey, ItemStats]]:
    """Return at most `first` members of the list after `after`, in the list's order."""


@_query("read_models/lists", "of item")
def item_lists(
    user_id: str, item_id: str, *, is_learner: bool = False, reader: Reader = (), **at: Unpack[At]
) -> list[ItemList]:
    """Return the lists that name the item, by scale, rank, name and id, at most 50."""


@_query("read_models/lists", "scales")
def scales(user_id: str, *, is_learner: bool = False, **at: Unpack[At]) -> list[Scale]:
    """Return the scales of lists, those with most lists first, at most 100."""


@_query("read_models/list_assignments", "of learner")
def tasks(
    user_id: str,
    *,
    first: int,
    after: TaskKey | None = None,
    groups: Sequence[str] | None = None,
    **at: Unpack[At],
) -> list[LearnerTask]:
    """Return at most `first` tasks of the learner's groups after `after`, latest day first.

    Only `groups` count unless it is None.
    """


def _make_knowledge(rows: _Rows, asked: _Asked) -> Knowledge:
    total, *levels = map(dict, rows)
    on, today, last = asked["on"], total["today"], total["today"] + _MAX_AHEAD
    if on is not None and not today <= on <= last:
        raise BadInput(f"on: expected a day from {today} to {last} - found {on}")
    return convert({**total, "levels": levels}, Knowledge)


@_query("read_models/memory", "knowledge", _make_knowledge)
def knowledge(
    user_id: str, on: date | None = None, *, language: str | None = None, **at: Unpack[Past]
) -> Knowledge:
    """Return what the learner still knows on a day; the default is today.

    Raise BadInput unless the day is today or at most 3,650 days later.
    """


@_query("read_models/knowledge_weeks", "curve")
def knowledge_curve(
    user_id: str, start_date: date, end_date: date, **at: Unpack[At]
) -> list[KnowledgePoint]:
    """Return the weeks whose Monday lies in the range, oldest first, up to the current one.

    The first is the week of the learner's first day with an answer.
    """


@_query("read_models/mastery_weeks", "curve")
def mastery_curve(
    user_id: str, start_date: date, end_date: date, **at: Unpack[At]
) -> list[MasteryPoint]:
    """Return the weeks whose Monday lies in the range, oldest first, up to the current one.

    The first is the week of the learner's first day with an answer or review.
    """


@_query("read_models/learner_sessions", "list")
def sessions(
    user_id: str,
    *,
    first: int,
    after: SessionKey | None = None,
    is_counted: bool = True,
    **at: Unpack[Past],
) -> Page[tuple[SessionKey, StudySession]]:
    """Return at most `first` sessions after `after`, newest first, without their answers.

    The page has the number of all only if `is_counted`.
    """


def _make_session(rows: _Rows, _: _Asked) -> StudySession | None:
    if not rows:
        return None
    given = [convert(dict(row), SessionAnswer) for row in rows if row["at"] is not None]
    return convert({**rows[0], "given": given}, StudySession)


@_query(
    *("read_models/learner_sessions", "session"),
    _make_session,
    own_id=lambda asked: learner_post_check.own_id(asked["user_id"], asked["session_id"]),
)
def session(
    user_id: str, session_id: str, *, is_learner: bool = False, **at: Unpack[Past]
) -> StudySession | None:
    """Return a session with its first 1,000 answers, in order; None if there is none.

    If there is none of this id, return that of the id that a post of the learner gives it.
    """


def _calibrate(rows: _Rows, _: _Asked) -> Calibration | None:
    """Return the calibration of the rows' bins. Sums are in millionths."""
    tests, correct = (sum(row[name] for row in rows) for name in ("tests", "correct"))
    if tests < _FEWEST_TESTS:
        return None
    bins = {row["bin"]: row for row in rows}
    share = min(max(correct / tests, 0.001), 0.999)
    losses = (round(-math.log(p) * 10**6) for p in (share, 1 - share))
    constant = sum(n * loss for n, loss in zip((correct, tests - correct), losses, strict=True))
    return Calibration(
        tests,
        sum(row["loss"] for row in rows) / tests / 10**6,
        constant / tests / 10**6,
        [_bin(number, bins.get(number)) for number in range(10)],
    )


def _bin(number: int, row: _Row | None) -> CalibrationBin:
    limits = number / 10, (number + 1) / 10
    if row is None:
        return CalibrationBin(*limits, 0, None, None)
    tests = row["tests"]
    return CalibrationBin(*limits, tests, row["predicted"] / tests / 10**6, row["correct"] / tests)


@_query("read_models/calibration_days", "of learner", _calibrate)
def calibration(user_id: str, **at: Unpack[At]) -> Calibration | None:
    """Return how well estimates predicted the last 365 local days; None under 50 tests."""


@_query(
    *("read_models/calibration_days", "of all"),
    lambda rows, asked: (
        _calibrate(rows, asked) if rows and rows[0]["learners"] >= _FEWEST_LEARNERS else None
    ),
)
def calibration_of_all(**at: Unpack[At]) -> Calibration | None:
    """Return the same over all learners; None with fewer than 20 learners that have a test."""


@_query(
    *("read_models/milestones", "list"),
    lambda rows, asked: build_page(
        rows, asked["first"] - 1, lambda row: convert_milestone(asked["user_id"], row), "kind"
    ),
)
def milestones(
    user_id: str,
    *,
    kinds: Sequence[MilestoneKind] | None = None,
    first: int,
    after: MilestoneKey | None = None,
    **at: Unpack[At],
) -> Page[tuple[MilestoneKey, Milestone]]:
    """Return at most `first` milestones after `after`, newest first; by default, of all kinds.

    `after` need not be the key of an existing milestone.
    """


def convert_milestone(user_id: str, row: _Row) -> tuple[MilestoneKey, Milestone]:
    """Return the milestone and its key; its id is that of the message that tells of it."""
    kind, value, level, day = (row[name] for name in ("kind", "value", "level", "reached_on"))
    id_ = MilestoneReached(user_id, kind, value, level, day.isoformat()).id
    milestone = convert({**row, "id": str(id_)}, Milestone)
    return MilestoneKey(day, milestone.kind, milestone.level, value), milestone


@_query("read_models/preferences", "today")
def today(user_id: str, **at: Unpack[Past]) -> date:
    """Return the learner's local day at the moment; in UTC if the learner has no zone."""


@_query("read_models/preferences", "local day")
def local_day(user_id: str, date: date, **at: Unpack[At]) -> LocalDay:
    """Return when the learner's local day begins and ends; UTC if the learner has no zone."""


@_query(
    *("query/audit_trail", lambda asked: "events of day" if asked["day"] else "list_events"),
    lambda rows, _: [_recorded.decode(text) for row in rows for text in row.values()],
    own_id=lambda asked: (
        asked["session_id"] and learner_post_check.own_id(asked["user_id"], asked["session_id"])
    ),
    declared=lambda _: intake.declared_types(),
)
def recorded_events(
    user_id: str,
    *,
    first: int,
    types: Sequence[str] | None = None,
    day: date | None = None,
    item_id: str | None = None,
    session_id: str | None = None,
    before_version: int | None = None,
    **at: Unpack[At],
) -> list[RecordedEvent]:
    """Return the newest of the learner's events that all given conditions select.

    They are at most `first`. With `before_version`, they have lower stream versions. `day` is the
    learner's local day by the present preferences.
    """


@_query("query/audit_trail", "own posts")
def own_posts(user_id: str, **at: Unpack[At]) -> OwnPosts:
    """Return what the learner's own devices have posted."""
