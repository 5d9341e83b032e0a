"""What of the newest events does not count, or counts wrongly, by the log alone.

It follows the table of the specification, "What arrives and does not count".
"""

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tests.oracle.events import (
    ANSWERS,
    CARD,
    DESCRIPTIONS,
    PREFERENCES,
    RETRACTABLE,
    Event,
    Row,
    answer_ms,
    event_uuid,
    grade,
    is_acceptable,
    see,
)

_HOUR = timedelta(hours=1)
_Found = tuple[str, list[Event], int | None, str | None]  # kind, events, another count, name


class Sample:
    """The newest events of a log in the order of recording; `own` are what learners posted."""

    def __init__(self, log: Sequence[Event], own: Collection[UUID], now: datetime) -> None:
        self.log, self.own, self.now, self.world = log, own, now, see(log, now)
        self.events = [e for e in log[-10_000:] if e.created_at >= now - timedelta(days=7)]
        self.retractions = defaultdict(list)
        for e in log:
            if e.type == "EventRetracted" and is_acceptable(e):
                named = event_uuid(e.data["retracted_event_id"])
                self.retractions[e.user_id, named].append(e)
        self.counted = [
            e
            for e in self.events
            if e.type != "Erased"
            and e.user_id not in self.world.deleted
            and not (e.type in RETRACTABLE and (e.user_id, e.event_id) in self.retractions)
        ]
        self.valid = [e for e in self.counted if is_acceptable(e)]
        self.answers = self.of(*ANSWERS, CARD)
        self.answers_of = Counter(e.user_id for e in self.answers)

    def of(self, *types: str) -> list[Event]:
        return [e for e in self.valid if e.type in types]

    def is_old(self, event: Event) -> bool:
        return event.created_at <= self.now - _HOUR


def intake(
    sample: Sample, pending: Iterable[tuple[datetime, UUID]], declared: Collection[str]
) -> Row:
    """Return the sample's size, since when it is, and the findings.

    `pending` has when each waiting event was received, and its id.
    """
    place = {e.event_id: n for n, e in enumerate(sample.log)}
    rows = []
    for kind, events, count, name in _find(sample, declared):
        if events:
            last = max(events, key=lambda e: place[e.event_id])
            row = _row(
                kind, len(events) if count is None else count, last.created_at, last.event_id
            )
            means = meant(name or "", declared) if kind == "UNDECLARED_TYPE" else None
            rows.append(row | {"name": name, "meant": means})
    if waiting := sorted(one for one in pending if one[0] <= sample.now - _HOUR)[-10_000:]:
        rows.append(_row("PENDING", len(waiting), *waiting[-1]))
    since = min((e.created_at for e in sample.events), default=None)
    return {"events": len(sample.events), "since": since, "findings": rows}


def _row(kind: str, count: int, newest: datetime, example: UUID) -> Row:
    named = {"kind": kind, "name": None, "meant": None}
    return named | {"count": count, "newest": newest, "example": str(example)}


def _find(sample: Sample, declared: Collection[str]) -> Iterator[_Found]:
    types = (e for e in sample.counted if e.type not in declared)
    yield from _by_type("UNDECLARED_TYPE", types, 20)
    refused = (e for e in sample.counted if e.type in declared and not is_acceptable(e))
    yield from _by_type("REFUSED_BY_DECLARATION", refused, None)
    if len(sample.answers) >= 20:
        yield _by("UNDESCRIBED_ITEM", _undescribed(sample), lambda e: e.data["item_id"])
        yield _by("NO_ZONE", _zoneless(sample), lambda e: e.user_id)
    yield _by("NO_REVIEW", _unreviewed(sample), lambda e: e.user_id)
    empty = _empty_sessions(sample)
    yield _by("SESSION_WITHOUT_ANSWERS", empty, lambda e: (e.user_id, e.data["session_id"]))
    at_once = Counter((e.user_id, e.occurred_at) for e in sample.answers)
    instant = [e for e in sample.answers if at_once[e.user_id, e.occurred_at] >= 10]
    yield "ONE_INSTANT", instant, None, None
    for name in (None, "learner"):
        yield "TIME_IN_SECONDS", _short(sample, is_own=bool(name)), None, name
    yield "TWICE", _twice(sample), None, None
    yield _alike(sample)
    yield "NO_EFFECT", [e for e in sample.of("EventRetracted") if _is_vain(sample, e)], None, None


def _by_type(kind: str, events: Iterable[Event], most: int | None) -> Iterator[_Found]:
    found = defaultdict(list)
    for e in events:
        found[e.type].append(e)
    for name, of in sorted(found.items(), key=lambda one: (-len(one[1]), one[0]))[:most]:
        yield kind, of, None, name


def _by(kind: str, events: list[Event], key: Callable[[Event], Any]) -> _Found:
    return kind, events, len({key(e) for e in events}), None


def _undescribed(sample: Sample) -> list[Event]:
    described = {e.data["item_id"] for e in sample.world.events if e.type in DESCRIPTIONS}
    own = {
        (e.user_id, e.data["item_id"]): e.data["headword"]
        for e in sample.world.events
        if e.type == "ItemListed" and e.user_id and e.data.get("headword") is not None
    }
    studied = sample.of(*ANSWERS, CARD, "ReviewProcessed")
    items = [(e.user_id or "", e.data["item_id"]) for e in studied]
    described |= {item for user, item in items if own.get((user, item))}
    return [e for e in studied if e.data["item_id"] not in described]


def _zoneless(sample: Sample) -> list[Event]:
    preferences = (e for e in sample.world.events if e.type in PREFERENCES)
    zoned = {e.user_id for e in preferences if e.data.get("timezone")}
    active = sample.of(*ANSWERS, CARD, "ReviewProcessed", "SessionCompleted")
    return [e for e in active if e.user_id not in zoned]


def _unreviewed(sample: Sample) -> list[Event]:
    many = (user for user, count in sample.answers_of.items() if count >= 20 and user)
    users = {user for user in many if not sample.world.reviews(user)}
    return [e for e in sample.answers if e.user_id in users]


def _empty_sessions(sample: Sample) -> list[Event]:
    answers = (e for e in sample.log if e.type in (*ANSWERS, CARD) and is_acceptable(e))
    answered = {(e.user_id, e.data.get("session_id")) for e in answers}
    done = (e for e in sample.of("SessionCompleted") if sample.is_old(e))
    of_active = (e for e in done if sample.answers_of[e.user_id])
    return [e for e in of_active if (e.user_id, e.data["session_id"]) not in answered]


def _short(sample: Sample, *, is_own: bool) -> list[Event]:
    sent = [e for e in sample.answers if (e.event_id in sample.own) is is_own]
    times = [(answer_ms(e), e) for e in sent]
    timed = [(ms, e) for ms, e in times if ms is not None]
    short = [e for ms, e in timed if ms < 100]
    return short if len(timed) >= 50 and len(short) >= 0.9 * len(timed) else []


def _twice(sample: Sample) -> list[Event]:
    def key(e: Event) -> tuple[Any, ...]:
        return e.user_id, e.data["item_id"], grade(e) >= 2

    others = defaultdict(list)
    for e in sample.answers:
        if e.event_id not in sample.own:
            others[key(e)].append(e.occurred_at)
    own = [e for e in sample.answers if e.event_id in sample.own]
    near = timedelta(seconds=2)
    return [e for e in own if any(abs(at - e.occurred_at) <= near for at in others[key(e)])]


def _alike(sample: Sample) -> _Found:
    forms = defaultdict(set)
    for e in sample.counted:
        if e.user_id:
            forms[e.user_id.strip().lower()].add(e.user_id)
    alike = {user for users in forms.values() if len(users) > 1 for user in users}
    events = [e for e in sample.counted if e.user_id in alike]
    return "ALIKE_LEARNERS", events, sum(len(users) - 1 for users in forms.values()), None


def _is_vain(sample: Sample, retraction: Event) -> bool:
    """Return whether nothing is there to retract, or another one did so before, for an hour."""
    key = retraction.user_id, event_uuid(retraction.data["retracted_event_id"])
    known = {(e.user_id, e.event_id) for e in sample.log if e.type in RETRACTABLE}
    first = min(sample.retractions[key], key=lambda e: e.when)
    return sample.is_old(retraction) and (key not in known or first is not retraction)


def meant(name: str, declared: Iterable[str]) -> str | None:
    """Return the declared type at the least distance; None if it is more than two edits."""

    @functools.cache
    def distance(one: str, other: str) -> int:
        if not one or not other:
            return len(one or other)
        changed = distance(one[1:], other[1:]) + (one[0] != other[0])
        return min(changed, distance(one[1:], other) + 1, distance(one, other[1:]) + 1)

    def letters(text: str) -> str:
        return "".join(filter(str.isalnum, text)).casefold()

    edits, nearest = min((distance(letters(name), letters(one)), one) for one in declared)
    return nearest if edits <= 2 else None
