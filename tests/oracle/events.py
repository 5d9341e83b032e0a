"""Stored events, the subset that a query takes into account, the registry of read models."""

import functools
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, TypeVar
from uuid import NAMESPACE_OID, UUID, uuid5

ANSWERS = ("CorrectAnswerGiven", "IncorrectAnswerGiven")
CARD = "CardReviewed"  # an answer, and the review that is its outcome
PREFERENCES = ("UserCreated", "UserPreferencesChanged")
DESCRIPTIONS = ("ItemPublished", "ItemUpdated")
CATALOGUE = (*DESCRIPTIONS, "ItemArchived")
MEMBERSHIPS = ("LearnerJoinedGroup", "LearnerLeftGroup")
# Events of these types may have been recorded before the types were declared.
SETTINGS_ASIDE = ("ItemSetAside", "ItemResumed")
NEWEST = (*MEMBERSHIPS, "GoalSet", "RestDayTaken", "EventRetracted", *SETTINGS_ASIDE)
OF_LISTS = ("ListPublished", "ListArchived", "ItemListed", "ItemUnlisted")
ASSIGNMENTS = ("ListAssigned", "ListUnassigned")
RETRACTABLE = (
    *ANSWERS,
    "SessionCompleted",
    "ReviewProcessed",
    CARD,
    "GoalSet",
    "RestDayTaken",
    *MEMBERSHIPS,
    *SETTINGS_ASIDE,
)
LEARNERS = (
    "SessionStarted",
    *ANSWERS,
    "SessionCompleted",
    "SessionAbandoned",
    "ReviewProcessed",
    CARD,
    *PREFERENCES,
    "UserDeleted",
    *NEWEST,
    *OF_LISTS,
)

_IDS = {  # what an event of a newest type names
    **dict.fromkeys(MEMBERSHIPS, "group_id"),
    **dict.fromkeys(SETTINGS_ASIDE, "item_id"),
    "EventRetracted": "retracted_event_id",
}

Row = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """A stored event; `user_id` is None if the event does not belong to a learner.

    `names_learner` is False if only the event's session determines the learner.
    """

    event_id: UUID
    type: str
    data: Mapping[str, Any]
    occurred_at: datetime
    created_at: datetime
    user_id: str | None
    names_learner: bool = True

    @property
    def when(self) -> tuple[datetime, UUID]:
        """Return the sort key that defines "first", "latest" and "before"."""
        return (self.occurred_at, self.event_id)


@dataclass(frozen=True)
class World:
    """The events that a query takes into account, in order, and the time of the query."""

    events: tuple[Event, ...]
    deleted: frozenset[str]
    now: datetime
    named: Mapping[str, Event]  # by learner: the latest event that sets or removes the name
    stored: tuple[Event, ...] = ()  # all events, whatever the moment
    run: "World | None" = None  # what the last batch run saw; None: the same

    @functools.cached_property
    def present(self) -> "World":
        """Return the same of all stored events."""
        return see(self.stored, self.now)

    @functools.cached_property
    def listed(self) -> tuple[Event, ...]:
        """Return the events about lists and groups' lists, whatever the time."""
        return tuple(e for e in self.present.events if e.type in (*OF_LISTS, *ASSIGNMENTS))

    @functools.cached_property
    def learners(self) -> list[str]:
        return sorted({event.user_id for event in self.events if event.user_id})

    def display_name(self, user_id: str) -> str | None:
        """Return the present name, whatever the time of the query; None if there is none."""
        if user_id in self.deleted or user_id not in self.named:
            return None
        return self.named[user_id].data["display_name"] or None

    def of(self, user_id: str, *types: str) -> list[Event]:
        """Return the learner's events of these types, in order; none if the learner is deleted."""
        if user_id in self.deleted:
            return []
        if (user_id, types) not in self._found:
            events = self._by_learner.get(user_id, ())
            self._found[user_id, types] = [e for e in events if e.type in types]
        return self._found[user_id, types]

    @functools.cached_property
    def _found(self) -> dict[tuple[str, tuple[str, ...]], list[Event]]:
        """What `of` has returned: most answers ask again for the learner's few preferences."""
        return {}

    @functools.cached_property
    def _by_learner(self) -> dict[str | None, list[Event]]:
        events: dict[str | None, list[Event]] = {}
        for event in self.events:
            events.setdefault(event.user_id, []).append(event)
        return events

    def answers(self, user_id: str) -> list[Event]:
        return self.of(user_id, *ANSWERS, CARD)

    def correct(self, user_id: str) -> list[Event]:
        return [answer for answer in self.answers(user_id) if grade(answer) >= 2]

    def reviews(self, user_id: str) -> list[Event]:
        return self.of(user_id, "ReviewProcessed", CARD)

    def completions(self, user_id: str) -> list[Event]:
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
    """Return the events that a query at `now` takes into account, up to `as_of` or `known_at`.

    A deletion applies to every query, even if `as_of` is before the deletion. Events that are not
    acceptable are left out, and so are those that one of the selected events retracts. An event
    that is given twice counts once.
    """
    distinct = {event.event_id: event for event in stored}.values()
    all_events = sorted(filter(is_acceptable, distinct), key=lambda e: e.when)
    named = {e.user_id: e for e in all_events if e.user_id and publishes_name(e)}
    selected = [
        e
        for e in all_events
        if (as_of is None or e.occurred_at <= as_of)
        and (known_at is None or e.created_at <= known_at)
    ]
    gone = {
        (e.user_id, event_uuid(e.data["retracted_event_id"]))
        for e in selected
        if e.type == "EventRetracted"
    }
    return World(
        events=tuple(
            e for e in selected if e.type not in RETRACTABLE or (e.user_id, e.event_id) not in gone
        ),
        deleted=frozenset(e.user_id for e in all_events if e.type == "UserDeleted" and e.user_id),
        now=as_of or known_at or now,
        named=named,
        stored=tuple(distinct),
    )


def grade(answer: Event) -> int:
    """Return the grade of an answer: 1 again, 2 hard, 3 good, 4 easy."""
    if answer.type == CARD:
        rating: int = answer.data["rating"]
        return rating
    return 3 if answer.type == "CorrectAnswerGiven" else 1


def answer_ms(answer: Event) -> int | None:
    if answer.type != CARD:
        time: int | None = answer.data.get("response_time_ms")
        return time
    duration = answer.data.get("duration_ms")
    return None if duration is None else math.floor(duration)


def interval_days(review: Event) -> int:
    if review.type != CARD:
        days: int = review.data["new_interval"]
        return days
    sent: float | None = review.data.get("interval_days")
    if sent is not None:
        return math.floor(sent)
    return max(_sent_due(review) - review.occurred_at, timedelta(0)) // timedelta(hours=24)


def due_at(review: Event) -> datetime:
    """Return when the review says that the item is due, at most 36,500 days later."""
    if review.type != CARD:
        return review.occurred_at + timedelta(hours=24 * min(interval_days(review), 36_500))
    if review.data.get("due") is None:
        microseconds = min(float(review.data["interval_days"]), 36_500) * 86_400_000_000
        return review.occurred_at + timedelta(microseconds=int(microseconds))
    latest = review.occurred_at + timedelta(hours=24 * 36_500)
    return min(max(_sent_due(review), review.occurred_at), latest)


def _sent_due(review: Event) -> datetime:
    return datetime.strptime(review.data["due"], "%Y-%m-%dT%H:%M:%S.%f%z")


def event_uuid(text: str) -> UUID:
    """Return the id that an event has if it was published with this id."""
    if re.fullmatch("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", text):
        return UUID(text)
    return uuid5(NAMESPACE_OID, text)


def publishes_name(event: Event) -> bool:
    """Return whether the event sets or removes the display name; an invalid name does neither."""
    if event.type not in PREFERENCES or "display_name" not in event.data:
        return False
    name = event.data["display_name"]
    if name is None:
        return True
    return (
        isinstance(name, str)
        and len(name) <= 100
        and not any(unicodedata.category(character) == "Cc" for character in name)
    )


def group_name(event: Event) -> str | None:
    """Return the name that a LearnerJoinedGroup gives its group; None if there is no valid one."""
    name = event.data.get("group_name")
    is_name = isinstance(name, str) and re.fullmatch("[^\x00-\x1f\x7f-\x9f]{1,100}", name)
    return name if is_name else None


def is_acceptable(event: Event) -> bool:
    """Return whether the event satisfies its type's declaration; True for types not in NEWEST."""
    if event.type in NEWEST and (event.user_id is None or not event.names_learner):
        return False
    if event.type in OF_LISTS and event.user_id is not None:
        return event.names_learner
    if event.type in _IDS:
        named = event.data.get(_IDS[event.type])
        return isinstance(named, str) and 1 <= len(named) <= 200
    match event.type:
        case "CardReviewed":
            is_accepted = event.user_id is not None and _is_card(event.data)
        case "GoalSet":
            answers = event.data.get("answers_per_day")
            is_accepted = type(answers) is int and 0 <= answers <= 1000
        case "RestDayTaken":
            is_accepted = rest_date(event) is not None
        case _:
            is_accepted = True
    return is_accepted


def _is_card(data: Mapping[str, Any]) -> bool:
    """Return whether the fields of a CardReviewed that counts have these values."""
    item, due, days = data.get("item_id"), data.get("due"), data.get("interval_days")
    return (
        isinstance(item, str)
        and type(data.get("rating")) is int
        and 1 <= data["rating"] <= 4
        and (due is not None or days is not None)
        and (due is None or _is_stored_time(due))
        and _is_number(days, most=2**32 - 1)
        and _is_number(data.get("duration_ms"), most=10**12)
    )


def _is_number(value: object, *, most: int) -> bool:
    return value is None or (type(value) in (int, float) and 0 <= value <= most)  # type: ignore[operator]


def _is_stored_time(due: object) -> bool:
    """Return whether a time has the form in which ingest stores it."""
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
    if not isinstance(due, str) or not re.fullmatch(form, due, re.ASCII):
        return False
    try:
        return datetime.fromisoformat(due).isoformat(timespec="microseconds")[:19] == due[:19]
    except ValueError:
        return False


def rest_date(event: Event) -> date | None:
    text = event.data.get("date")
    if not isinstance(text, str) or not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if 2000 <= day.year <= 2099 else None


def only(events: Iterable[Event], item_id: str) -> list[Event]:
    return [e for e in events if e.data["item_id"] == item_id]


def ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None


Rows = dict[tuple[Any, ...], Row]  # the key is the first two columns of the table
_Key = TypeVar("_Key")
_OfLearner = Callable[[World, str], dict[_Key, Row]]
_OfAll = Callable[[World], Rows]

_DEFINITIONS: dict[str, _OfAll] = {}
_FIELDS: dict[str, Callable[[World, str], Any]] = {}
_Field = TypeVar("_Field", bound=Callable[..., Any])


def defines_field(function: _Field) -> _Field:
    """Register what the GraphQL field with the function's name returns about a learner."""
    _FIELDS[function.__name__] = function
    return function


def defines(model: str) -> Callable[[_OfAll], _OfAll]:
    def register(function: _OfAll) -> _OfAll:
        _DEFINITIONS[model] = function
        return function

    return register


def defines_by_learner(model: str) -> Callable[[_OfLearner[_Key]], _OfLearner[_Key]]:
    """Register a model's rows of a learner by key; the field with the function's name has them."""

    def register(function: _OfLearner[_Key]) -> _OfLearner[_Key]:
        def rows_of_all(world: World) -> Rows:
            return {
                (user, key): row
                for user in world.learners
                for key, row in function(world, user).items()
            }

        _DEFINITIONS[model] = rows_of_all
        _FIELDS[function.__name__] = lambda world, user: [*function(world, user).values()]
        return function

    return register


def defined_models() -> frozenset[str]:
    return frozenset(_DEFINITIONS)


def compute_field(world: World, field: str, user_id: str) -> list[Row]:
    """Return the rows of a field without other arguments; an object is one row, null is none."""
    name = re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", field)
    assert name in _FIELDS, f"{field}: tests/oracle has no {name}() below a decorator of events.py"
    found = _FIELDS[name](world, user_id)
    return found if isinstance(found, list) else [found][: found is not None]


def model_rows(world: World, model: str) -> Rows:
    return _DEFINITIONS[model](world)


Envelope = Mapping[str, Any]


def compute_stored(log: Iterable[Envelope]) -> tuple[dict[str, str | None], set[str]]:
    """Return the ids of stored events with their learners, and the ids of pending events.

    The function assumes that the types in NEWEST were not yet declared when the log was stored. An
    event of an undeclared type is never pending: it is stored even if its learner is unknown. If
    such an event names no learner, its learner depends on the order of arrival and is None in the
    result.
    """
    log = list(log)
    owners = {
        e["data"]["session_id"]: own_learner(e) for e in log if e["event_type"] == "SessionStarted"
    }
    stored: dict[str, str | None] = {}
    pending: set[str] = set()
    for event in log:
        known = event["event_type"] in {*LEARNERS, *CATALOGUE}.difference(NEWEST, OF_LISTS)
        learner = own_learner(event)
        if learner is None and event["event_type"] not in CATALOGUE and known:
            learner = owners.get(event["data"].get("session_id"))
        if known and learner is None and event["event_type"] not in CATALOGUE:
            pending.add(event["event_id"])
        else:
            stored[event["event_id"]] = learner
    return stored, pending


def own_learner(event: Envelope) -> str | None:
    if event["event_type"] in (*CATALOGUE, *ASSIGNMENTS):
        return None
    user_id: str | None = event["data"].get("user_id") or (event.get("metadata") or {}).get(
        "user_id"
    )
    return user_id
