"""The catalogue: every type of event that Progress understands, declared once.

The decoder's checks and their messages are read off these declarations.
"""

from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from progress.errors import SerializationError

Id = Annotated[str, Meta(min_length=1, max_length=200)]
Milliseconds = Annotated[int, Meta(ge=0, le=86_400_000)]
Hour = Annotated[int, Meta(ge=0, le=23)]
Domain = Literal["R", "W", "L", "S"]
Level = Literal["A1", "A2", "B1", "B2", "C1", "C2"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What an event's `data` holds; fields beyond those declared are kept."""


class LearnerEvent(Event, frozen=True, kw_only=True):
    """Names its learner; `metadata.user_id` may stand in."""

    user_id: Id


class SessionEvent(Event, frozen=True, kw_only=True):
    """Belongs to the session's learner where it names none."""

    session_id: Id


class ItemEvent(Event, frozen=True, kw_only=True):
    """About the catalogue; belongs to no learner."""

    item_id: Id


class SessionStarted(LearnerEvent, frozen=True, kw_only=True):
    """The first to arrive tells the session's learner."""

    session_id: Id
    item_count: Annotated[int, Meta(ge=0, le=10_000)]


class Answer(SessionEvent, frozen=True, kw_only=True):
    """The learner answered an item."""

    item_id: Id
    response_time_ms: Milliseconds


class CorrectAnswerGiven(Answer, frozen=True, kw_only=True):
    """The learner knew the item."""


class IncorrectAnswerGiven(Answer, frozen=True, kw_only=True):
    """The learner did not know the item."""


class SessionCompleted(SessionEvent, frozen=True, kw_only=True):
    """The learner reached the end of a session."""

    score: Annotated[int, Meta(ge=0, le=100)]
    duration_seconds: Annotated[int, Meta(ge=0, le=86_400)]


class SessionAbandoned(SessionEvent, frozen=True, kw_only=True):
    """The learner left a session before its end."""


class ReviewProcessed(LearnerEvent, frozen=True, kw_only=True):
    """The algorithm set when the item is due again; `new_interval` in days."""

    item_id: Id
    new_interval: Annotated[int, Meta(ge=0, le=36_500)]
    easiness_factor: Annotated[float, Meta(ge=1.0, le=10.0)]


class ItemPublished(ItemEvent, frozen=True, kw_only=True):
    """An item came into the catalogue."""

    domains: list[Domain]
    cefr_level: Level | None = None
    headword: str | None = None

    def __post_init__(self) -> None:
        if len(set(self.domains)) < len(self.domains):
            raise ValueError("$.domains")


class ItemUpdated(ItemPublished, frozen=True, kw_only=True):
    """The item's description was replaced as a whole."""


class ItemArchived(ItemEvent, frozen=True, kw_only=True):
    """The item left the catalogue; what was learned stays."""


class UserPreferencesChanged(LearnerEvent, frozen=True, kw_only=True):
    """What is left out keeps the value of the preference event before it."""

    timezone: str | None = None
    day_start_hour: Hour | None = None

    def __post_init__(self) -> None:
        if self.timezone is not None and not _is_zone(self.timezone):
            raise ValueError("$.timezone")


class UserCreated(UserPreferencesChanged, frozen=True, kw_only=True):
    """An account was made; the address is stored masked."""

    email: str


class UserDeleted(LearnerEvent, frozen=True, kw_only=True):
    """No read model has a row of the learner from now on."""


CATALOGUE: dict[str, type[Event]] = {
    declared.__name__: declared
    for declared in (
        SessionStarted,
        CorrectAnswerGiven,
        IncorrectAnswerGiven,
        SessionCompleted,
        SessionAbandoned,
        ReviewProcessed,
        ItemPublished,
        ItemUpdated,
        ItemArchived,
        UserCreated,
        UserPreferencesChanged,
        UserDeleted,
    )
}


def check(declared: type[Event], data: dict[str, Any]) -> None:
    """SerializationError names the field of `data` that is not as declared, and the rule."""
    try:
        msgspec.convert(data, declared)
    except msgspec.ValidationError as fault:
        field = _field(str(fault))
        found = "" if data.get(field) is not None else ", found none"
        raise SerializationError(
            f"expected {_rule(declared, field)}{found} - at $.data.{field}"
        ) from None


def _is_zone(name: str) -> bool:
    from progress.event_store import time_zones  # not needed by the first answers of an instance

    return name in time_zones.names()


def _field(message: str) -> str:
    """`score`, from "… missing required field `score`", "… - at `$.score`" or "$.score"."""
    if "missing required field" in message:
        return message.split("`")[1]
    return message.rpartition("$.")[2].rstrip("`").partition("[")[0]


def _rule(declared: type[Event], field: str) -> str:
    from msgspec import inspect  # 5 ms, for faults alone

    kind = inspect.type_info(msgspec.structs.fields(declared)[_names(declared).index(field)].type)
    if isinstance(kind, inspect.UnionType):
        kind = next(t for t in kind.types if not isinstance(t, inspect.NoneType))
    rule = "a text"
    match kind:
        case inspect.IntType(ge=low, le=high) | inspect.FloatType(ge=low, le=high):
            what = "an integer" if isinstance(kind, inspect.IntType) else "a number"
            rule = f"{what} from {low} to {high}"
        case inspect.StrType(min_length=1, max_length=most):
            rule = f"a text of 1 to {most} characters"
        case inspect.StrType() if field == "timezone":
            rule = "an IANA zone name"
        case inspect.LiteralType():
            rule = f"one of {', '.join(get_args(Level))}"
        case inspect.ListType():
            rule = f"an array of distinct {', '.join(get_args(Domain))}"
    return rule


def _names(declared: type[Event]) -> list[str]:
    return [field.name for field in msgspec.structs.fields(declared)]
