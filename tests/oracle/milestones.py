"""Milestones: what a learner reached, with the local day on which it was reached."""

import json
import math
import uuid
from datetime import date
from fractions import Fraction

from tests.oracle.catalogue import LEVELS, catalogue
from tests.oracle.days import day, firsts, masteries, study_days
from tests.oracle.events import Row, World, defines_by_learner
from tests.oracle.items import item_stats
from tests.oracle.levels import level_stats
from tests.oracle.standing import goal_on, runs, user_progress

KINDS = ("STREAK", "ITEMS_LEARNED", "ITEMS_MASTERED", "GOAL_MET", "LEVEL_REACHED")


def milestones(world: World, user_id: str) -> list[Row]:
    """Return the learner's milestones, the newest first; an empty list if there is no summary."""
    if user_progress(world, user_id) is None:
        return []
    rows = [
        *_streaks(world, user_id),
        *_items("ITEMS_LEARNED", [day(world, e) for e in firsts(world.correct(user_id))]),
        *_items("ITEMS_MASTERED", [day(world, e) for e in masteries(world, user_id)]),
        *_goals_met(world, user_id),
        *_levels(world, user_id),
    ]
    return sorted(({"id": milestone_id(user_id, row), **row} for row in rows), key=_order)


def milestone_id(user_id: str, row: Row) -> uuid.UUID:
    """Return the UUIDv5, in the OID namespace, of the JSON array of the milestone's identity."""
    if row["kind"] == "GOAL_MET":
        identity = [user_id, row["kind"], row["reached_on"].isoformat()]
    else:
        identity = [user_id, row["kind"], row["value"], row["level"]]
    text = json.dumps(identity, ensure_ascii=False, separators=(",", ":"))
    return uuid.uuid5(uuid.NAMESPACE_OID, text)


@defines_by_learner("milestones")
def milestone_rows(world: World, user_id: str) -> dict[str, Row]:
    rows = {}
    for row in milestones(world, user_id):
        part = row["reached_on"] if row["kind"] == "GOAL_MET" else row["level"] or row["value"]
        rows[f"{row['kind']} {part}"] = {
            name: row[name] for name in ("value", "level", "reached_on")
        }
    return rows


def _order(row: Row) -> tuple[int, int, int, int]:
    level = LEVELS.index(row["level"]) if row["level"] else 0
    return (-row["reached_on"].toordinal(), KINDS.index(row["kind"]), level, -(row["value"] or 0))


def _row(kind: str, value: int | None, level: str | None, reached_on: date) -> Row:
    return {"kind": kind, "value": value, "level": level, "reached_on": reached_on}


def _streaks(world: World, user_id: str) -> list[Row]:
    studied = sorted(study_days(world, user_id))
    reached: dict[int, date] = {}
    for run in runs(world, user_id):  # oldest first: the earliest day of a value comes first
        days = [d for d in studied if run.starts <= d <= run.ends]
        for value, on in enumerate(days, 1):
            if value in (3, 7, 14, 30, 50, 100, 200) or value % 365 == 0:
                reached.setdefault(value, on)
    return [_row("STREAK", value, None, on) for value, on in reached.items()]


def _items(kind: str, days: list[date]) -> list[Row]:
    return [
        _row(kind, value, None, on)
        for value, on in enumerate(sorted(days), 1)
        if value in (10, 50, 100, 250, 500) or value % 1000 == 0
    ]


def _goals_met(world: World, user_id: str) -> list[Row]:
    answered = [day(world, e) for e in world.answers(user_id)]
    return [
        _row("GOAL_MET", goal_on(world, user_id, on), None, on)
        for on in sorted(set(answered))
        if 0 < goal_on(world, user_id, on) <= answered.count(on)
    ]


def _levels(world: World, user_id: str) -> list[Row]:
    """Return the levels reached now, each on the day of the item that was the last one needed."""
    items = item_stats(world, user_id)
    ever = [(e.data["item_id"], day(world, e)) for e in masteries(world, user_id)]
    rows = []
    for level, stats in level_stats(world, user_id).items():
        if level == "UNKNOWN" or not stats["reached"]:
            continue
        days = sorted(
            on
            for item_id, on in ever
            if items[item_id]["level"] == level and item_id in catalogue(world)
        )
        needed = math.ceil(Fraction(4, 5) * stats["catalogue_items"])
        rows.append(_row("LEVEL_REACHED", None, level, days[needed - 1]))
    return rows
