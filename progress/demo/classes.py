"""Classes of generated learners, who study and forget as people do.

Each learner has habits, an ability and pauses, which follow from the learner's number. New words
come in the order of the demo's course, and reviews when SM-2 schedules them. A learner remembers a
word with the probability that FSRS-6 estimates, more or less often by the learner's ability and the
word's difficulty.
"""

import functools
import itertools
import math
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub.publisher import Message
from progress.demo import loading, sm2
from progress.event_store import events
from progress.importers import anki_events, forgetting, local_days, review_log, word_lists
from progress.importers.review_log import Answer

SIZE = 30  # learners in a class
WEEKS = 17
DAYS = 7 * WEEKS
MOST = 900  # learners, because an id has three digits

_EPOCH = date(2024, 1, 1)  # the shift that the first account stores begins here
_NAMESPACE = UUID("c1b7a0de-2f0d-5a43-9f52-8f2b0f6a3e11")
# The week in which each class begins, and the classes' zones; both repeat.
_STARTS = (0, 0, 4, 0, 4, 4)
_ZONES = ("Europe/Berlin", "Asia/Tokyo", "America/New_York", "Europe/London", "America/Sao_Paulo")
_DAY_START = 4
_UNIT = (120, 160)  # the words of the course that the first class has to learn
_MOST_REPEATS = 3  # how often a word is asked on a day
_KEEPS_STREAK = 0.9  # a learner who studies on a larger share of days takes rest days
_LEVEL_EASE = {"A1": 0.4, "A2": 0.2, "B1": 0.0, "B2": -0.2, "C1": -0.5, "C2": -0.6}
_FIRST_NAMES = (
    *("Aiko", "Ben", "Chloe", "Daichi", "Elif", "Farid", "Greta", "Haruto", "Ines", "Jonas"),
    *("Kavya", "Lena", "Mateo", "Nora", "Omar", "Paula", "Quentin", "Rin", "Sofia", "Tomas"),
    *("Uma", "Viktor", "Wei", "Ximena", "Yuki", "Zoe", "Anton", "Bruna", "Carlos"),
)
_LAST_NAMES = (
    *("Abe", "Becker", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia", "Hoffmann", "Ito"),
    *("Jansen", "Kim", "Lopez", "Mori", "Novak", "Okafor", "Petit", "Rossi", "Sato", "Tanaka"),
    *("Usman", "Vargas", "Weber", "Yamada"),
)


class _Kind(msgspec.Struct, frozen=True):
    """How a learner studies: the share of days, the chance to give up each day, new words a day."""

    share: float
    gives_up: float
    new: int


_AT_SCHOOL = {
    _Kind(0.95, 0.0, 4): 20,  # weights
    _Kind(0.65, 0.0005, 4): 45,
    _Kind(0.4, 0.003, 3): 25,
    _Kind(0.4, 0.015, 6): 10,
}
_IN_OPEN_COURSE = _AT_SCHOOL | {_Kind(0.6, 0.12, 5): 90}  # all classes but the first: many only try


class Profile(msgspec.Struct, frozen=True):
    """A learner's habits; `ability` is added to the logit of each probability to be right."""

    learner: anki_events.Learner
    zone: str
    group: str
    group_name: str
    kind: _Kind
    begins: date
    ability: float
    weekend: float  # the factor of the share of days on Saturday and Sunday
    hour: float
    capacity: int  # reviews a day
    seconds: float  # median time of an answer
    goal: int
    pauses: list[tuple[date, date]]
    has_started: bool


class _Word(msgspec.Struct):
    state: forgetting.ForgettingState
    schedule: sm2.Sm2Memory

    def is_due(self, day: date, zone: str) -> bool:
        reviewed = _find_day(self.schedule.repeated_at, zone)
        return reviewed + timedelta(self.schedule.interval_days) <= day


def messages(learners: int, last: date, now: datetime) -> list[Message]:
    """Return the messages of the catalogue and of this number of learners.

    The record of each learner ends with the day `last`, or before the learner's day at `now`. The
    first message is the account of the first learner, which stores `last`.
    """
    made = [message for n in range(learners) for message in _learner_messages(n, last, now)]
    course = [*loading.item_messages(_course()), *loading.list_messages(_course())]
    unit = itertools.islice(_course(), *_UNIT)
    task = loading.task_message(groups(1)[0], unit, last + timedelta(4))
    return [made[0], *course, task, *made[1:]]


def find_yesterday(now: datetime) -> date:
    """Return the day before the date that is today where the day began first."""
    return max(_find_day(now, zone) for zone in _ZONES) - timedelta(1)


def find_last_day(connection: Connection) -> date | None:
    rows = database.run(connection, "importers/shifts", "accounts", stream_id=f"learner-{FIRST}")
    return next((_EPOCH + timedelta(days) for _, days, _ in rows if days is not None), None)


def groups(learners: int) -> list[str]:
    return [f"class-{n + 1}" for n in range(-(-learners // SIZE))]


def _user_id(number: int) -> str:
    return f"learner-{number + 1:03}"


FIRST = _user_id(0)


@functools.cache
def _course() -> dict[str, word_lists.Word]:
    return loading.deal(word_lists.read(), loading.cards(review_log.read(loading.LOG)))


def _learner_messages(number: int, last: date, now: datetime) -> Iterator[Message]:
    chance = Random(f"learner {number}")  # noqa: S311 - generates a record, no secret
    profile = describe(chance, number, last)
    ended = _find_day(now, profile.zone) - timedelta(1)
    answers = [*_Student(chance, profile).study(min(last, ended))]
    if not answers:
        account = anki_events.create_account(profile.learner, _at(profile.zone, profile.begins, 12))
        yield Message("user-events", [account])
    yield from anki_events.messages(profile.learner, answers)
    yield Message("user-events", list(_choices(profile, answers)))


def describe(chance: Random, number: int, last: date) -> Profile:
    place, seat = divmod(number, SIZE)
    first = last - timedelta(DAYS - 1)
    begins = first - timedelta(first.weekday()) + timedelta(weeks=_STARTS[place % len(_STARTS)])
    begins += timedelta(chance.randrange(7))
    if is_late := chance.random() < 0.1:
        begins += timedelta(chance.randint(5, 30))
    begins = max(begins, first)
    zone = _ZONES[(place if chance.random() < 0.9 else chance.randrange(99)) % len(_ZONES)]
    name = f"{_FIRST_NAMES[number % len(_FIRST_NAMES)]} {chance.choice(_LAST_NAMES)}"
    kinds = _IN_OPEN_COURSE if place else _AT_SCHOOL
    pauses = []
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        start = begins + timedelta(chance.randint(7, DAYS))
        pauses.append((start, start + timedelta(chance.randint(4, 13))))
    shown = None if chance.random() < 0.1 else name
    return Profile(
        anki_events.Learner(_user_id(number), zone, _DAY_START, (last - _EPOCH).days, shown),
        zone,
        f"class-{place + 1}",
        f"Class {5 + place // 6}{'abcdef'[place % 6]}",
        chance.choices([*kinds], [*kinds.values()])[0],
        begins,
        ability=chance.gauss(0, 0.5),
        weekend=chance.choice((0.5, 0.8, 1.0, 1.05)),
        hour=chance.choice((7.2, 12.5, 17, 20, 21.5)) + chance.uniform(-0.7, 0.7),
        capacity=chance.choice((12, 16, 20, 30)),
        seconds=chance.uniform(1.8, 5),
        goal=chance.choice((0, 0, 10, 20, 30, 50)),
        pauses=pauses,
        has_started=seat != SIZE - 1 and not (is_late and chance.random() < 0.2),
    )


class _Student:
    """A learner while the record is generated: `words` is what the learner knows of each item."""

    def __init__(self, chance: Random, profile: Profile) -> None:
        self._chance, self._profile = chance, profile
        self._words: dict[str, _Word] = {}

    def study(self, last: date) -> Iterator[Answer]:
        """Yield the answers up to the day `last`, oldest first."""
        day, has_given_up = self._profile.begins, not self._profile.has_started
        while day <= last and not has_given_up:
            if self._is_studying(day):
                yield from self._study_day(day)
            has_given_up = self._chance.random() < self._profile.kind.gives_up
            day += timedelta(1)

    def _is_studying(self, day: date) -> bool:
        profile = self._profile
        share = profile.kind.share * (profile.weekend if day.weekday() >= 5 else 1)
        if any(begin <= day <= end for begin, end in profile.pauses):
            share = 0.02
        return day == profile.begins or self._chance.random() < share

    def _study_day(self, day: date) -> Iterator[Answer]:
        """Ask for the due words and for some new ones; ask for wrong ones again, later."""
        chance, profile = self._chance, self._profile
        due = [item for item, word in self._words.items() if word.is_due(day, profile.zone)]
        chance.shuffle(due)
        known = len(self._words)
        new = 0 if len(due) > profile.capacity else chance.randint(1, 2 * profile.kind.new - 1)
        asked = [*due[: profile.capacity], *itertools.islice(_course(), known, known + new)]
        chance.shuffle(asked)
        times = Counter(asked)
        at = _at(profile.zone, day, min(max(chance.gauss(profile.hour, 0.8), 5), 23))
        for item in asked:  # the list grows
            answer = self._answer(item, day, at)
            yield answer
            at = answer.at
            if not answer.correct and times[item] < _MOST_REPEATS:
                times[item] += 1
                asked.append(item)

    def _answer(self, item: str, day: date, before: datetime) -> Answer:
        chance, known = self._chance, self._words.get(item)
        is_right = chance.random() < self._chance_to_be_right(item, day)
        seconds = self._profile.seconds * chance.lognormvariate(0, 0.5) * (1 if is_right else 1.5)
        ms = min(round(1_000 * seconds), 60_000)
        at = before + timedelta(milliseconds=ms + chance.randint(400, 2_500))
        rating = chance.choices((2, 3, 4), (15, 75, 10))[0] if is_right else 1
        state = forgetting.follow(known.state if known else None, day, 3 if is_right else 1)
        schedule = sm2.repeat(known.schedule if known else None, at, rating)
        self._words[item] = _Word(state, schedule)
        return Answer(at, item, rating, ms, schedule.interval_days)

    def _chance_to_be_right(self, item: str, day: date) -> float:
        ease, known = self._profile.ability + _ease(item), self._words.get(item)
        if known is None:
            return _logistic(ease - 0.3)
        if known.state.answered_on == day:
            return _logistic(ease + 1.8)
        recall = forgetting.recall(known.state, day)
        return _logistic(math.log(recall / (1 - recall)) + ease / 2)


@functools.cache
def _ease(item: str) -> float:
    """Return how much easier the item is than others, on the scale of abilities."""
    chance = Random(f"item {item}")  # noqa: S311 - generates a record, no secret
    return chance.gauss(_LEVEL_EASE[_course()[item].level], 0.5)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _choices(profile: Profile, answers: list[Answer]) -> Iterator[dict[str, Any]]:
    """Yield the join, the goal, and the rest days of a learner who keeps a streak."""
    user = profile.learner.user_id
    joined = events.LearnerJoinedGroup(
        user_id=user, group_id=profile.group, group_name=profile.group_name
    )
    yield _envelope(profile, joined, profile.begins)
    if profile.goal and answers:
        goal = events.GoalSet(user_id=user, answers_per_day=profile.goal)
        yield _envelope(profile, goal, profile.begins)
    days = sorted({_find_day(answer.at, profile.zone) for answer in answers})
    for before, after in itertools.pairwise(days):
        if after - before == timedelta(2) and profile.kind.share > _KEEPS_STREAK:
            rest = before + timedelta(1)
            yield _envelope(profile, events.RestDayTaken(user_id=user, date=rest.isoformat()), rest)


def _envelope(profile: Profile, event: events.Event, day: date) -> dict[str, Any]:
    kind, user = type(event).__name__, profile.learner.user_id
    return {
        "event_id": str(uuid5(_NAMESPACE, f"{user} {kind} {day}")),
        "event_type": kind,
        "occurred_at": _at(profile.zone, day, 12),
        "data": msgspec.to_builtins(event),
        "metadata": {"user_id": user},
    }


def _at(zone: str, day: date, hour: float) -> datetime:
    wall = datetime.combine(day, time(), ZoneInfo(zone)) + timedelta(hours=hour)
    at = wall.astimezone(UTC)
    return at.replace(microsecond=at.microsecond // 1_000 * 1_000)


def _find_day(at: datetime, zone: str) -> date:
    return local_days.find_day(at, zone, _DAY_START)
