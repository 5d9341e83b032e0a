"""item_stats: answers, reviews and mastery of each item; an item's history and difficulty."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from types import MappingProxyType

from tests.oracle.catalogue import (
    Description,
    Pair,
    descriptions,
    language_of,
    names,
    out_of_play,
    set_aside,
)
from tests.oracle.days import answer_sums, curve_weeks, day, day_of, last_days, week
from tests.oracle.events import (
    CARD,
    Event,
    Row,
    Rows,
    World,
    defines,
    defines_by_learner,
    due_at,
    grade,
    interval_days,
    only,
)
from tests.oracle.retention import find_tests


@defines_by_learner("item_stats")
def item_stats(world: World, user_id: str) -> dict[str, Row]:
    events = world.answers(user_id) + world.reviews(user_id)
    return {
        item_id: item_of(world, user_id, item_id) for item_id in {e.data["item_id"] for e in events}
    }


def pairs(world: World, user_id: str, language: str | None = None) -> set[Pair]:
    """Return the pairs of language and kind whose items of the catalogue the learner has to learn.

    These are the pairs that the learner met, or all if there are none. With `language`, only items
    in this language count.
    """
    every = {one.pair for one in descriptions(world).values()}
    some = {pair for pair in every if language in (None, pair[0])}
    return some & pairs_met(world, user_id) or some


def pairs_met(world: World, user_id: str) -> set[Pair]:
    """Return the pairs of the described items that the learner met, archived ones included."""
    described = descriptions(world)
    met = item_stats(world, user_id).keys() & described.keys()
    return {described[item_id].pair for item_id in met}


def items_by_language(
    world: World, user_id: str, words: Mapping[str, str | None] = MappingProxyType({})
) -> list[Row]:
    """Return the languages of the learner's items, most items first; undescribed items are und.

    `words` has the kinds of the items that the reader is shown as words of the learner's own.
    """
    items = item_stats(world, user_id)
    kinds = {item: one.kind for item, one in descriptions(world).items()}
    kinds |= {item: kind for item, kind in words.items() if language_of(world, item) == "und"}
    found = [
        {
            "language": language,
            "items_studied": len(mine),
            "answers": sum(items[item_id]["answers"] for item_id in mine),
            "kinds": len({kinds[item_id] for item_id in mine if item_id in kinds}),
        }
        for language in {language_of(world, item_id) for item_id in items}
        if (mine := [item_id for item_id in items if language_of(world, item_id) == language])
    ]
    return sorted(found, key=lambda row: (-row["items_studied"], row["language"]))


def item(world: World, user_id: str, item_id: str) -> Row | None:
    """Return the item's row, with zeros if the item is only described; None if it is unknown."""
    row = item_stats(world, user_id).get(item_id)
    if row is None and item_id in descriptions(world):
        return item_of(world, user_id, item_id)
    return row


def item_of(world: World, user_id: str, item_id: str) -> Row:
    """Return the item's row, with zeros if the learner never met the item."""
    answers = only(world.answers(user_id), item_id)
    correct = only(world.correct(user_id), item_id)
    reviews = only(world.reviews(user_id), item_id)
    description = descriptions(world).get(item_id, Description())
    return {
        "item_id": item_id,
        "headword": description.headword or None,
        "level": description.level,
        "domains": list(description.domains),
        **answer_sums(answers),
        "first_answered_at": answers[0].occurred_at if answers else None,
        "last_answered_at": answers[-1].occurred_at if answers else None,
        "first_correct_at": correct[0].occurred_at if correct else None,
        **_review(world, user_id, reviews[-1] if reviews else None),
        "lapses": sum(not test.is_recalled for test in find_tests(world, answers)),
        "mastery": _mastery(answers, reviews),
        "language": description.language,
        "kind": description.kind,
        "set_aside": item_id in set_aside(world, user_id),
        "in_play": item_id not in out_of_play(world, user_id),
    }


def _review(world: World, user_id: str, latest: Event | None) -> Row:
    if latest is None:
        names = ("interval_days", "easiness_factor", "reviewed_at", "due_at", "due_on")
        return dict.fromkeys(names)
    return {
        "interval_days": interval_days(latest),
        "easiness_factor": _easiness(latest),
        "reviewed_at": latest.occurred_at,
        "due_at": due_at(latest),
        "due_on": day_of(world, user_id, due_at(latest)),
    }


def _easiness(review: Event) -> float | None:
    factor = None if review.type == CARD else review.data.get("easiness_factor")
    return None if factor is None else float(factor)


def _mastery(answers: list[Event], reviews: list[Event]) -> str:
    interval = interval_days(reviews[-1]) if reviews else 0
    if interval >= 21:
        return "LONG_TERM"
    if interval >= 7:
        return "SHORT_TERM"
    return "LEARNING" if answers or reviews else "UNLEARNED"


def count_masteries(world: World, user_id: str, until: date = date.max) -> Row:
    answers, reviews = (
        [event for event in events if day(world, event) <= until]
        for events in (world.answers(user_id), world.reviews(user_id))
    )
    items = {event.data["item_id"] for event in answers + reviews}
    return tally(_mastery(only(answers, one), only(reviews, one)) for one in items)


def tally(masteries: Iterable[str]) -> Row:
    found = Counter(masteries)
    return {
        "learning": found["LEARNING"],
        "short_term_mastered": found["SHORT_TERM"],
        "long_term_mastered": found["LONG_TERM"],
    }


@defines_by_learner("mastery_weeks")
def mastery_weeks(world: World, user_id: str) -> dict[date, Row]:
    """Return the counts of each week in which one of them changes, keyed by Monday."""
    events = world.answers(user_id) + world.reviews(user_id)
    rows: dict[date, Row] = {}
    before = count_masteries(world, user_id, date.min)
    for monday, sunday in sorted({week(day(world, event)) for event in events}):
        counts = count_masteries(world, user_id, sunday)
        if counts != before:
            rows[monday] = before = counts
    return rows


def mastery_curve(world: World, user_id: str, first: date, last: date) -> list[Row]:
    """Return a point for each ISO week with its Monday from `first` to `last`."""
    events = world.answers(user_id) + world.reviews(user_id)
    return [
        {"start": monday, "end": end, **count_masteries(world, user_id, until)}
        for monday, end, until in curve_weeks(world, user_id, events, first, last)
    ]


@defines_by_learner("item_days")
def item_days(world: World, user_id: str) -> dict[str, Row]:
    answers: dict[str, list[Event]] = {}
    for answer in world.answers(user_id):
        key = f"{answer.data['item_id']} {day(world, answer)}"
        answers.setdefault(key, []).append(answer)
    return {key: _counts(events) for key, events in answers.items()}


def item_history(world: World, user_id: str, item_id: str) -> Row:
    """Return an item's reviews and daily answer counts of the last 731 local days, newest first."""
    days = last_days(world, user_id, 731)
    reviews = [e for e in only(world.reviews(user_id), item_id) if day(world, e) in days]
    answers = [e for e in only(world.answers(user_id), item_id) if day(world, e) in days]
    return {
        "reviews": [
            {
                "at": e.occurred_at,
                "interval_days": interval_days(e),
                "easiness_factor": _easiness(e),
            }
            for e in reviews[::-1][:1000]
        ],
        "days": [
            {"date": d, **_counts([e for e in answers if day(world, e) == d])}
            for d in sorted({day(world, e) for e in answers}, reverse=True)
        ],
    }


def _counts(answers: list[Event]) -> Row:
    correct = sum(1 for e in answers if grade(e) >= 2)
    return {"answers": len(answers), "correct_answers": correct}


def sums(world: World, learners: Iterable[str]) -> dict[str, Row]:
    """Return the sums over the learners' rows, by item; items without an answer are left out."""
    people = list(learners)
    rows = [(item, row) for user in people for item, row in item_stats(world, user).items()]
    answers = [answer for user in people for answer in world.answers(user)]
    summed = {
        item: {
            "learners": sum(1 for one, row in rows if one == item and row["answers"]),
            **answer_sums(only(answers, item)),
            "lapses": sum(row["lapses"] for one, row in rows if one == item),
        }
        for item, _ in rows
    }
    return {item: row for item, row in summed.items() if row["learners"]}


@defines("item_difficulty")
def difficulty_rows(world: World) -> Rows:
    return {(item, ""): row for item, row in sums(world, world.learners).items()}


def item_difficulty(world: World, level: str | None = None, domain: str | None = None) -> list[Row]:
    return difficulties(
        world, world.learners, fewest_learners=5, fewest_answers=1, level=level, domain=domain
    )


def difficulties(
    world: World,
    of: Iterable[str],
    *,
    fewest_learners: int,
    fewest_answers: int,
    level: str | None = None,
    domain: str | None = None,
) -> list[Row]:
    described = descriptions(world)
    listed = []
    for item, row in sums(world, of).items():
        description = described.get(item, Description())
        if row["learners"] < fewest_learners or row["answers"] < fewest_answers:
            continue
        if level in (None, *names(description, "level")) and domain in (
            None,
            *names(description, "domain"),
        ):
            words = {"headword": description.headword or None, "level": description.level}
            listed.append({"item_id": item, **words, **row})
    return sorted(listed, key=lambda row: (row["accuracy_rate"], row["item_id"]))
