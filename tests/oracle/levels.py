"""domain_stats, level_stats and the forecast, from item_stats and the latest descriptions."""

import math
from datetime import date, timedelta
from fractions import Fraction

from tests.oracle.catalogue import LEVELS, catalogue, catalogue_items
from tests.oracle.days import day, day_of, last_days, masteries
from tests.oracle.events import Row, World, defines_by_learner, ratio
from tests.oracle.items import item_stats, languages


def domain_stats(world: World, user_id: str) -> dict[str, Row]:
    """Return a row for each domain studied, or of the catalogue in the learner's languages."""
    return _rows(world, user_id, "domain")


def level_stats(world: World, user_id: str) -> dict[str, Row]:
    """Return a row for each level studied, or of the catalogue in the learner's languages."""
    today = day_of(world, user_id, world.now)
    days = last_days(world, user_id, 28)
    rows = _rows(world, user_id, "level")
    for level, row in rows.items():
        mastered = _mastered(world, user_id, level)
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
    """Return the number of items that were mastered, by level and day."""
    days = [f"{level} {d}" for level in LEVELS for d in _mastered(world, user_id, level).values()]
    return {key: {"items": days.count(key)} for key in days}


def _mastered(world: World, user_id: str, level: str) -> dict[str, date]:
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
    }


@defines_by_learner("domain_stats")
def studied_domains(world: World, user_id: str) -> dict[str, Row]:
    return _only_studied(domain_stats(world, user_id))


@defines_by_learner("level_stats")
def studied_levels(world: World, user_id: str) -> dict[str, Row]:
    return _only_studied(level_stats(world, user_id))


def _only_studied(rows: dict[str, Row]) -> dict[str, Row]:
    return {name: row for name, row in rows.items() if row["items_studied"]}


def _rows(world: World, user_id: str, kind: str) -> dict[str, Row]:
    totals = catalogue_items(world, kind, languages(world, user_id))
    studied: dict[str, list[Row]] = {name: [] for name in totals}
    for row in item_stats(world, user_id).values():
        for name in row["domains"] if kind == "domain" else [row["level"]]:
            studied.setdefault(name, []).append(row)
    return {
        name: _row(world, kind, name, items, totals.get(name, 0)) for name, items in studied.items()
    }


def _row(world: World, kind: str, name: str, items: list[Row], count: int) -> Row:
    answers = sum(i["answers"] for i in items)
    correct = sum(i["correct_answers"] for i in items)
    mastered = [i for i in items if i["mastery"] in ("SHORT_TERM", "LONG_TERM")]
    in_catalogue = [i for i in mastered if i["item_id"] in catalogue(world)]
    total = None if name == "UNKNOWN" else count
    return {
        kind: name,
        "items_studied": len(items),
        "answers": answers,
        "correct_answers": correct,
        "accuracy_rate": ratio(correct, answers),
        "learning": sum(1 for i in items if i["mastery"] == "LEARNING"),
        "short_term_mastered": sum(1 for i in items if i["mastery"] == "SHORT_TERM"),
        "long_term_mastered": sum(1 for i in items if i["mastery"] == "LONG_TERM"),
        "catalogue_items": total,
        "progress_rate": ratio(len(in_catalogue), total) if total else None,
    }
