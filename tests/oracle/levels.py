"""domain_stats, level_stats and the forecast, from item_stats and the latest descriptions."""

import math
from datetime import date, timedelta
from fractions import Fraction

from tests.oracle.catalogue import LEVELS, catalogue, catalogue_items, descriptions, language_of
from tests.oracle.days import day, day_of, last_days, masteries
from tests.oracle.events import LEARNERS, Row, World, defines_by_learner, ratio
from tests.oracle.items import item_stats, pairs, tally


def domain_stats(world: World, user_id: str, language: str | None = None) -> dict[str, Row]:
    """Return a row for each domain studied, or of the catalogue in the learner's pairs.

    With `language`, count only items in this language, also if the learner does not have it.
    """
    return _rows(world, user_id, "domain", language)


def level_stats(world: World, user_id: str, language: str | None = None) -> dict[str, Row]:
    """Return a row for each level studied, or of the catalogue in the learner's pairs.

    With `language`, count only items in this language, also if the learner does not have it.
    """
    today = day_of(world, user_id, world.now)
    days = last_days(world, user_id, 28)
    rows = _rows(world, user_id, "level", language)
    for level, row in rows.items():
        mastered = _mastered(world, user_id, level, language)
        recent = sum(1 for mastered_on in mastered.values() if mastered_on in days)
        row.update(forecast(today, row["catalogue_items"] or 0, len(mastered), recent))
    return rows


def forecast(today: date, catalogue_items: int, mastered: int, recent: int) -> Row:
    """Return a level's forecast; `recent` is the number of items mastered in the last 28 days."""
    goal = math.ceil(Fraction(4, 5) * catalogue_items)
    reached = catalogue_items > 0 and mastered >= goal
    days = math.ceil(Fraction((goal - mastered) * 28, recent)) if recent >= 10 else None
    is_expected = not reached and days is not None and days <= 3650
    return {
        "mastered_last28_days": recent,
        "expected_date": today + timedelta(days=days) if is_expected and days else None,
        "reached": reached,
    }


@defines_by_learner("mastery_days")
def mastery_days(world: World, user_id: str) -> dict[str, Row]:
    days = [
        f"{level} {language_of(world, item_id)} {d}"
        for level in LEVELS
        for item_id, d in _mastered(world, user_id, level).items()
    ]
    return {key: {"items": days.count(key)} for key in days}


def _mastered(
    world: World, user_id: str, level: str, language: str | None = None
) -> dict[str, date]:
    """Return the level's mastered items that are in the catalogue, each with its day of mastery.

    An item's day of mastery is that of its first review with an interval of 7 days or more.
    """
    items = item_stats(world, user_id)
    return {
        e.data["item_id"]: day(world, e)
        for e in masteries(world, user_id)
        if level != "UNKNOWN"
        and items[e.data["item_id"]]["level"] == level
        and items[e.data["item_id"]]["mastery"] in ("SHORT_TERM", "LONG_TERM")
        and e.data["item_id"] in catalogue(world)
        and language in (None, language_of(world, e.data["item_id"]))
    }


@defines_by_learner("domain_stats")
def domain_rows(world: World, user_id: str) -> dict[str, Row]:
    """Return the rows of the view, which has none of a learner without a summary."""
    return domain_stats(world, user_id) if world.of(user_id, *LEARNERS) else {}


@defines_by_learner("level_stats")
def level_rows(world: World, user_id: str) -> dict[str, Row]:
    """Return the rows of the view, which has none of a learner without a summary."""
    return level_stats(world, user_id) if world.of(user_id, *LEARNERS) else {}


@defines_by_learner("catalogue_shares")
def catalogue_shares(world: World, user_id: str) -> dict[str, Row]:
    """Return the sums over the items of each domain and level by language, and of each pair."""
    items: dict[str, list[Row]] = {}
    for row in item_stats(world, user_id).values():
        language = language_of(world, row["item_id"])
        places = [f"level {row['level']}", *(f"domain {name}" for name in row["domains"])]
        if row["item_id"] in descriptions(world):
            places.append(f"language {row['kind'] or ''}")
        for place in places:
            items.setdefault(f"{place} {language}", []).append(row)
    return {
        place: {**sums_of_items(rows), "mastered_in_catalogue": _mastered_in_catalogue(world, rows)}
        for place, rows in items.items()
    }


def _rows(world: World, user_id: str, kind: str, language: str | None) -> dict[str, Row]:
    totals = catalogue_items(world, kind, pairs(world, user_id, language))
    studied: dict[str, list[Row]] = {name: [] for name in totals}
    for row in item_stats(world, user_id).values():
        if language in (None, language_of(world, row["item_id"])):
            for name in row["domains"] if kind == "domain" else [row["level"]]:
                studied.setdefault(name, []).append(row)
    rows: dict[str, Row] = {}
    for name, items in studied.items():
        total = None if name == "UNKNOWN" else totals.get(name, 0)
        rate = ratio(_mastered_in_catalogue(world, items), total) if total else None
        sums = sums_of_items(items)
        rows[name] = {kind: name, **sums, "catalogue_items": total, "progress_rate": rate}
    return rows


def sums_of_items(items: list[Row]) -> Row:
    answers = sum(i["answers"] for i in items)
    correct = sum(i["correct_answers"] for i in items)
    return {
        "items_studied": len(items),
        "answers": answers,
        "correct_answers": correct,
        "accuracy_rate": ratio(correct, answers),
        **tally(item["mastery"] for item in items),
    }


def _mastered_in_catalogue(world: World, items: list[Row]) -> int:
    mastered = [i for i in items if i["mastery"] in ("SHORT_TERM", "LONG_TERM")]
    return sum(1 for i in mastered if i["item_id"] in catalogue(world))
