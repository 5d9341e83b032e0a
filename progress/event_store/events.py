"""The catalogue of event types, each declared once.

The checks of incoming events and their error messages, the topics, the contract (`schemas`,
docs/events.md) and the columns that the folds read (sql/read_models/facts.sql) are derived from
these declarations.
"""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta

from progress.errors import SerializationError

Id = Annotated[str, Meta(min_length=1, max_length=200)]
# The bounds are those of the publishers' types: u32, and the non-negative half of an i64. What an
# extreme value may do to a sum or a mean is bounded where it is counted.
Count = Annotated[int, Meta(ge=0, le=4_294_967_295)]
Duration = Annotated[int, Meta(ge=0, le=9_223_372_036_854_775_807)]
Hour = Annotated[int, Meta(ge=0, le=23)]
Domain = Literal["R", "W", "L", "S"]
Level = Literal["A1", "A2", "B1", "B2", "C1", "C2"]
Language = Annotated[
    str, Meta(min_length=2, max_length=35, pattern="^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$")
]
# A string without control characters. As in every pattern of these declarations, $ must not match
# before a line feed at the end, which it does in Python; see __post_init__.
_PLAIN = "^[^\\x00-\\x1f\\x7f-\\x9f]*$"
Name = Annotated[str, Meta(max_length=100, pattern=_PLAIN)]
Title = Annotated[str, Meta(min_length=1, max_length=100, pattern=_PLAIN)]
Word = Annotated[str, Meta(max_length=200, pattern=_PLAIN)]
Rank = Annotated[int, Meta(ge=0, le=2_147_483_647)]
# Tells the cards of one word apart.
Kind = Annotated[str, Meta(max_length=50, pattern=_PLAIN)]
_MONTH_AND_DAY = (
    "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
    "|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
)
# Matches the real days from 2000-01-01 to 2099-12-31; in this century, every fourth year has a
# 29 February.
Day = Annotated[
    str,
    Meta(
        min_length=10,
        max_length=10,
        pattern=f"^20([0-9]{{2}}-{_MONTH_AND_DAY}|([02468][048]|[13579][26])-02-29)$",
    ),
]
_LEAP = "(0[48]|[2468][048]|[13579][26])"
# Matches the form in which ingest stores a time, with a real day of the years 1 to 9999.
Moment = Annotated[
    str,
    Meta(
        pattern=f"^(([0-9]{{3}}[1-9]|[0-9]{{2}}[1-9]0|[0-9][1-9]00|[1-9]000)-{_MONTH_AND_DAY}"
        f"|([0-9]{{2}}{_LEAP}|{_LEAP}00)-02-29)"
        "T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9][.][0-9]{6}Z$"
    ),
]


LEARNING, ALGORITHM = "learning-events", "algorithm-events"
VOCABULARY, USER = "vocabulary-events", "user-events"

# The types about a learner's own list or, if they name no learner, a list of the catalogue; and the
# types about a group's lists, whose learner is dropped.
OF_LISTS = ("ListPublished", "ListArchived", "ItemListed", "ItemUnlisted")
ASSIGNMENTS = ("ListAssigned", "ListUnassigned")

# The types that learners post about themselves; sql/event_store/functions/append_own.sql, too.
LEARNERS_POST = frozenset(
    {
        *("SessionStarted", "CorrectAnswerGiven", "IncorrectAnswerGiven", "SessionCompleted"),
        *("SessionAbandoned", "CardReviewed", "ReviewProcessed", "ItemSetAside", "ItemResumed"),
        *("UserPreferencesChanged", "GoalSet", "RestDayTaken", "EventRetracted"),
        *OF_LISTS,
    }
)
READ_BY_TEACHERS = {"UserPreferencesChanged": "display_name"}  # the field that no learner posts


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The `data` of an event; undeclared fields are kept."""

    topic: ClassVar[str]
    fact: ClassVar[str]  # the value of the column `kind`
    own_fact: ClassVar[str | None]  # its value in a learner's stream, if it is another one
    columns: ClassVar[Mapping[str, str | None]]
    limits: ClassVar[Mapping[str, int]]
    rechecked: ClassVar[bool]
    late_fields: ClassVar[tuple[str, ...]]
    has_day: ClassVar[bool]
    can_be_retracted: ClassVar[bool]


EVENT_TYPES: dict[str, type[Event]] = {}
_E = TypeVar("_E", bound=Event)


def declare(
    topic: str,
    kind: str,
    *,
    own_kind: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    limits: Mapping[str, int] | None = None,
    rechecked: bool = True,
    late_fields: tuple[str, ...] = (),
    has_day: bool = False,
    can_be_retracted: bool = False,
) -> Callable[[type[_E]], type[_E]]:
    """Add an event type to the catalogue.

    `kind` is the value of the column `kind` by which folds select the type; `own_kind`, its value
    in a learner's stream if events of the type may belong to the catalogue, too. A field is a
    column of the same name, unless `columns` gives another name, or None if no fold reads the
    field. In sums and means, a value above the field's limit in `limits` counts as this limit. If
    `has_day`, folds read the local day of the event, which a change of the zone moves. If
    `can_be_retracted`, an EventRetracted takes an event of the type out of every number. If
    `rechecked`, folds skip events that the declaration rejects, because events of the type may have
    been recorded before it was declared. An invalid value of one of `late_fields`, which were
    declared later than the type, counts as omitted. A field whose default is UNSET differs from the
    others: null, like an empty text, is a value of it, which removes the former value.
    """

    def add(declared: type[_E]) -> type[_E]:
        declared.topic, declared.fact, declared.own_fact = topic, kind, own_kind
        declared.columns, declared.limits = columns or {}, limits or {}
        declared.rechecked, declared.late_fields = rechecked, late_fields
        declared.has_day, declared.can_be_retracted = has_day, can_be_retracted
        EVENT_TYPES[declared.__name__] = declared
        return declared

    return add


class LearnerEvent(Event, frozen=True, kw_only=True):
    """An event that names its learner; `metadata.user_id` may be given instead of `user_id`."""

    user_id: Id


class SessionEvent(Event, frozen=True, kw_only=True):
    """An event of a session; without a `user_id` it belongs to the session's learner."""

    session_id: Id


class ItemEvent(Event, frozen=True, kw_only=True):
    """An event about an item of the catalogue; it belongs to no learner."""

    item_id: Id


class ListEvent(Event, frozen=True, kw_only=True):
    """An event about a list of the learner's own or, if it names no learner, of the catalogue."""

    list_id: Id
    user_id: Id | None = None

    def __post_init__(self) -> None:
        if self.user_id is None:
            _check_catalogue_list(self.list_id)
        for field in ("name", "scale", "headword", "kind"):
            _check_end(field, getattr(self, field, None))


class AssignmentEvent(Event, frozen=True, kw_only=True):
    """An event about a list of the catalogue and a group; it belongs to no learner."""

    group_id: Id
    list_id: Id

    def __post_init__(self) -> None:
        _check_catalogue_list(self.list_id)


@declare(LEARNING, "start", rechecked=False)
class SessionStarted(LearnerEvent, frozen=True, kw_only=True):
    """A session began; the first such event to arrive determines the session's learner."""

    session_id: Id
    item_count: Count | None = None


class Answer(SessionEvent, frozen=True, kw_only=True):
    """The learner answered an item."""

    item_id: Id
    response_time_ms: Duration | None = None


_declare_answer = declare(
    LEARNING,
    "answer",
    columns={"response_time_ms": "response_ms"},
    limits={"response_time_ms": 60_000},
    rechecked=False,
    has_day=True,
    can_be_retracted=True,
)


@_declare_answer
class CorrectAnswerGiven(Answer, frozen=True, kw_only=True):
    """The learner knew the item."""


@_declare_answer
class IncorrectAnswerGiven(Answer, frozen=True, kw_only=True):
    """The learner did not know the item."""


@declare(
    LEARNING,
    "completion",
    limits={"duration_seconds": 14_400},
    rechecked=False,
    has_day=True,
    can_be_retracted=True,
)
class SessionCompleted(SessionEvent, frozen=True, kw_only=True):
    """The learner reached the end of a session."""

    score: Count | None = None
    duration_seconds: Duration | None = None


@declare(LEARNING, "abandonment", rechecked=False)
class SessionAbandoned(SessionEvent, frozen=True, kw_only=True):
    """The learner left a session before its end."""


@declare(
    ALGORITHM,
    "review",
    columns={"new_interval": "interval_days"},
    rechecked=False,
    has_day=True,
    can_be_retracted=True,
)
class ReviewProcessed(LearnerEvent, frozen=True, kw_only=True):
    """The review algorithm has chosen the days until an item's next review (`new_interval`)."""

    item_id: Id
    new_interval: Count  # days
    easiness_factor: Annotated[float, Meta(ge=0.0, le=1_000.0)] | None = None


@declare(
    ALGORITHM,
    "card",
    columns=dict.fromkeys(("rating", "due", "interval_days", "duration_ms")),
    has_day=True,
    can_be_retracted=True,
)
class CardReviewed(Event, frozen=True, kw_only=True):
    """The learner answered an item and rated the answer, and the app scheduled the next review.

    In the folds, it is an answer and a review with one time and id: see sql/read_models/facts.sql.
    """

    item_id: Id
    rating: Annotated[int, Meta(ge=1, le=4)]
    user_id: Id | None = None
    due: Moment | None = None
    interval_days: Annotated[float, Meta(ge=0.0, le=4_294_967_295.0)] | None = None
    duration_ms: Annotated[float, Meta(ge=0.0, le=1_000_000_000_000.0)] | None = None
    session_id: Id | None = None

    def __post_init__(self) -> None:
        _check_end("due", self.due)
        if self.due is None and self.interval_days is None:
            raise ValueError("$.due")
        if self.user_id is None and self.session_id is None:
            raise ValueError("$.user_id")


_declare_description = declare(
    VOCABULARY,
    "catalogue",
    columns={"cefr_level": "level", "kind": "item_kind"},
    rechecked=False,
    late_fields=("language", "kind"),
)


@_declare_description
class ItemPublished(ItemEvent, frozen=True, kw_only=True):
    """An item was added to the catalogue."""

    domains: list[Domain] | None = None
    cefr_level: Level | None = None
    headword: str | None = None
    language: Language | None = None  # of the headword
    kind: Kind | None = None  # an empty text counts as omitted

    def __post_init__(self) -> None:
        if self.domains is not None and len(set(self.domains)) < len(self.domains):
            raise ValueError("$.domains")
        _check_end("language", self.language)
        _check_end("kind", self.kind)


@_declare_description
class ItemUpdated(ItemPublished, frozen=True, kw_only=True):
    """All fields of an item were replaced."""


@declare(VOCABULARY, "catalogue", rechecked=False)
class ItemArchived(ItemEvent, frozen=True, kw_only=True):
    """An item was removed from the catalogue; learners' statistics keep it."""


@declare(USER, "preference", rechecked=False, late_fields=("display_name",))
class UserPreferencesChanged(LearnerEvent, frozen=True, kw_only=True):
    """The learner changed preferences; a missing field keeps its value."""

    timezone: str | None = None
    day_start_hour: Hour | None = None
    display_name: Name | msgspec.UnsetType | None = msgspec.UNSET  # null removes it

    def __post_init__(self) -> None:
        if self.timezone is not None:
            from progress.event_store import time_zones  # late, because few requests need it

            if self.timezone not in time_zones.names():
                raise ValueError("$.timezone")
        _check_end("display_name", self.display_name)


@declare(
    USER, "preference", columns={"email": None}, rechecked=False, late_fields=("display_name",)
)
class UserCreated(UserPreferencesChanged, frozen=True, kw_only=True):
    """An account was created; its e-mail address is stored masked."""

    email: str | None = None


@declare(USER, "deletion", rechecked=False)
class UserDeleted(LearnerEvent, frozen=True, kw_only=True):
    """The account was deleted; the read models drop all rows of the learner."""


@declare(USER, "join", late_fields=("group_name",), can_be_retracted=True)
class LearnerJoinedGroup(LearnerEvent, frozen=True, kw_only=True):
    """The learner became a member of a group."""

    group_id: Id
    group_name: Name | None = None  # an empty text counts as omitted

    def __post_init__(self) -> None:
        _check_end("group_name", self.group_name)


@declare(USER, "leave", can_be_retracted=True)
class LearnerLeftGroup(LearnerEvent, frozen=True, kw_only=True):
    """The learner's membership of a group ended."""

    group_id: Id


@declare(USER, "goal", has_day=True, can_be_retracted=True)
class GoalSet(LearnerEvent, frozen=True, kw_only=True):
    """The learner set a goal of answers per day; 0 means no goal."""

    answers_per_day: Annotated[int, Meta(ge=0, le=1000)]


@declare(USER, "rest_day", columns={"date": "rest_day"}, can_be_retracted=True)
class RestDayTaken(LearnerEvent, frozen=True, kw_only=True):
    """The learner chose a local day as a rest day, which does not break a streak."""

    date: Day


@declare(ALGORITHM, "set_aside", can_be_retracted=True)
class ItemSetAside(LearnerEvent, frozen=True, kw_only=True):
    """The learner set an item aside: until it is resumed, it is nobody's task."""

    item_id: Id


@declare(ALGORITHM, "resume", can_be_retracted=True)
class ItemResumed(ItemSetAside, frozen=True, kw_only=True):
    """The learner took back an item that was set aside."""


@declare(LEARNING, "retraction", columns={"retracted_event_id": None})
class EventRetracted(LearnerEvent, frozen=True, kw_only=True):
    """Another event of the learner counts as if it had never been published."""

    retracted_event_id: Id


_declare_list = declare(USER, "list", own_kind="own_list")


@_declare_list
class ListPublished(ListEvent, frozen=True, kw_only=True):
    """All fields of a list were replaced: of the learner's own, or of the catalogue's."""

    name: Title
    scale: Name | None = None  # an empty text counts as omitted
    rank: Rank | None = None


@_declare_list
class ListArchived(ListEvent, frozen=True, kw_only=True):
    """A list was put away; its items, and what was learned, are kept."""


@_declare_list
class ItemListed(ListEvent, frozen=True, kw_only=True):
    """An item was added to a list, or has another place in it.

    In a list of the learner's own, `headword` is the learner's own word for the item.
    """

    item_id: Id
    position: Rank | None = None
    headword: Word | None = None  # an empty text takes the learner's word away
    kind: Kind | None = None


@_declare_list
class ItemUnlisted(ListEvent, frozen=True, kw_only=True):
    """An item was removed from a list."""

    item_id: Id


@declare(USER, "assignment")
class ListAssigned(AssignmentEvent, frozen=True, kw_only=True):
    """A list of the catalogue was assigned to a group, until a local day of its members."""

    due_on: Day


@declare(USER, "assignment")
class ListUnassigned(AssignmentEvent, frozen=True, kw_only=True):
    """The assignment of a list to a group ended."""


TOPICS = {name: declared.topic for name, declared in EVENT_TYPES.items()}


def check(declared: type[Event], data: dict[str, Any]) -> None:
    """Raise SerializationError, naming the field and rule, if `data` does not match `declared`."""
    try:
        msgspec.convert(data, declared)
    except msgspec.ValidationError as error:
        field = _field_name(str(error))
        suffix = "" if data.get(field) is not None else ", found none"
        raise SerializationError(
            f"expected {describe_rule(declared, field)}{suffix} - at $.data.{field}"
        ) from None


OF_TASKS = "progress-task-"  # begins the id of a list that a teacher has made
_MAX_DAYS_AHEAD = timedelta(days=7)  # of a mutation's rest day


def check_own(event_type: object, data: object, *, today: date | None = None) -> None:
    """Raise SerializationError if a learner may not record such an event, by a post or a mutation.

    Doors call this, and folds do not: what is recorded counts. A mutation knows the learner's
    `today`; a device posts rest days of any date.
    """
    if type(event_type) is not str or event_type not in LEARNERS_POST:
        raise SerializationError("expected a type that learners post - at $.event_type")
    if not isinstance(data, dict):
        return
    if (field := READ_BY_TEACHERS.get(event_type)) in data:
        raise SerializationError(f"expected none, because teachers read it - at $.data.{field}")
    if event_type == "RestDayTaken" and today:
        last = today + _MAX_DAYS_AHEAD
        if not f"{today}" <= data["date"] <= f"{last}":
            raise SerializationError(f"expected a day from {today} to {last} - at $.data.date")


def check_published(event_type: str, data: dict[str, Any]) -> None:
    """Raise SerializationError if the catalogue's event says what is in a list of a teacher's task.

    Doors call this, and folds do not.
    """
    if event_type in ("ListPublished", "ItemListed") and data["list_id"].startswith(OF_TASKS):
        raise SerializationError(f"expected a list without {OF_TASKS} - at $.data.list_id")


def _field_name(message: str) -> str:
    """Return the field that msgspec's message names.

    Messages end with "missing required field `score`", "at `$.score`" or "$.score".
    """
    if "missing required field" in message:
        return message.split("`")[1]
    return message.rpartition("$.")[2].rstrip("`").partition("[")[0]


_RULES = {
    "date": "a day from 2000-01-01 to 2099-12-31 in the form YYYY-MM-DD",
    "due": "an RFC 3339 time with an offset, in UTC from year 1 to 9999",
    "due_on": "a day from 2000-01-01 to 2099-12-31 in the form YYYY-MM-DD",
    "language": "a language tag of 2 to 35 characters, such as en or pt-BR",
    "list_id": "a string of 1 to 200 characters, which in the catalogue does not begin with own:",
    "timezone": "an IANA zone name",
}


def describe_rule(declared: type[Event], field: str) -> str:
    """Return the rule of a field in words, such as "an integer from 0 to 1,000"."""
    from msgspec import inspect  # takes 5 ms, and only errors need it

    types = {each.name: each.type for each in msgspec.structs.fields(declared)}
    kind = inspect.type_info(types[field])
    if isinstance(kind, inspect.UnionType):
        kind = next(t for t in kind.types if not isinstance(t, inspect.NoneType))
    rule = "a string"
    match kind:
        case inspect.IntType(ge=low, le=high) | inspect.FloatType(ge=low, le=high):
            number = "an integer" if isinstance(kind, inspect.IntType) else "a number"
            rule = f"{number} from {low:,} to {high:,}".replace(".0", "")
        case inspect.StrType() if field in _RULES:
            rule = _RULES[field]
        case inspect.StrType(min_length=low, max_length=most, pattern=str()):
            length = f"{low} to {most}" if low else f"at most {most}"
            rule = f"a string of {length} characters without control characters"
            if field == "display_name":  # null is a value of its own
                rule += ", or null"
        case inspect.StrType(min_length=1, max_length=most):
            rule = f"a string of 1 to {most} characters"
        case inspect.LiteralType():
            rule = f"one of {', '.join(get_args(Level))}"
        case inspect.ListType():
            rule = f"an array of distinct {', '.join(get_args(Domain))}"
    return rule


def _check_end(field: str, name: object) -> None:
    """Raise ValueError if the text ends with a line break, which the patterns accept."""
    if isinstance(name, str) and name.endswith("\n"):
        raise ValueError(f"$.{field}")


def _check_catalogue_list(list_id: str) -> None:
    if list_id.startswith("own:"):  # by which readers know a list of a learner's own
        raise ValueError("$.list_id")
