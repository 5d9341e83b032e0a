"""Groups: their members, the members' standing, and the items that are hardest for them."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from tests.oracle.catalogue import archived
from tests.oracle.days import (
    day_of,
    days_with_rows,
    last_days,
    preference,
    stats_of,
    study_days,
    weekly_rows,
)
from tests.oracle.events import (
    MEMBERSHIPS,
    Row,
    Rows,
    World,
    defines,
    defines_by_learner,
    group_name,
    ratio,
)
from tests.oracle.items import difficulties, item_stats, sums
from tests.oracle.standing import folded, goal_on, runs, streak

DAY = timedelta(days=1)
COUNTED = 50  # A learner's items count in this many groups: those that the learner joined last.


@defines("group_members")
def group_members(world: World) -> Rows:
    return {
        (event.data["group_id"], user): {"is_member": event.type == "LearnerJoinedGroup"}
        for user in world.learners
        for event in world.of(user, *MEMBERSHIPS)  # the latest event comes last and wins
    }


@defines("group_names")
def group_names(world: World) -> Rows:
    """Return the latest name that each learner's joins give each group."""
    return {
        (event.data["group_id"], user): {
            "group_name": name,
            "named_at": event.occurred_at,
            "named_id": event.event_id,
        }
        for user in world.learners
        for event in world.of(user, "LearnerJoinedGroup")
        if (name := group_name(event))
    }


def name_of(world: World, group_id: str) -> str | None:
    """Return the latest name that any learner's join gives the group."""
    named = [row for (group, _), row in group_names(world).items() if group == group_id]
    latest = max(named, key=lambda row: (row["named_at"], row["named_id"]), default={})
    return latest.get("group_name")


def members(world: World, group_id: str) -> list[str]:
    return [
        user
        for (group, user), row in group_members(world).items()
        if group == group_id and row["is_member"]
    ]


def search_groups(world: World, text: str, first: int = 20) -> list[str]:
    """Return the groups with members and `text` in the id, in any case.

    Order: the group with exactly this id, ids that start with the text, the others; then by id.
    """
    found = [group for group in with_members(world) if folded(text) in folded(group)]
    found.sort(key=lambda id_: (id_ != text, not folded(id_).startswith(folded(text)), id_))
    return found[:first]


def with_members(world: World) -> set[str]:
    return {group for (group, _), row in group_members(world).items() if row["is_member"]}


def find_groups(world: World, text: str = "") -> list[tuple[str, str | None]]:
    """Return the ids and names of the groups with members and `text` in one of both, in any case.

    They are sorted by name, groups without one last, then by id.
    """
    named = [(group, name_of(world, group)) for group in with_members(world)]
    found = [one for one in named if any(folded(text) in folded(part) for part in one)]
    return sorted(found, key=lambda one: (one[1] is None, one[1] or "", one[0]))


def counted_members(world: World) -> dict[str, list[str]]:
    counted: dict[str, list[str]] = {}
    for user in {user for _, user in group_members(world)}:
        decisions = {event.data["group_id"]: event for event in world.of(user, *MEMBERSHIPS)}
        joins = [event for event in decisions.values() if event.type == "LearnerJoinedGroup"]
        for event in sorted(joins, key=lambda join: join.when)[-COUNTED:]:
            counted.setdefault(event.data["group_id"], []).append(user)
    return counted


@defines_by_learner("member_weeks")
def member_weeks(world: World, user_id: str) -> dict[str, Row]:
    """Return the row of a learner who ever joined or left a group, under an empty key."""
    days = days_with_rows(world, user_id)
    if not days or not world.of(user_id, *MEMBERSHIPS):
        return {}
    last = max(days)
    row: Row = {"last_day": last, "last_study_date": None, "run_days": None}
    for run in runs(world, user_id)[-1:]:
        row |= {"last_study_date": run.ends, "run_days": run.study_days}
    for count in range(1, 8):
        sums = stats_of(world, user_id, {last - n * DAY for n in range(count)})
        row |= {f"answers_{count}": sums["answers"], f"correct_{count}": sums["correct_answers"]}
    newest = datetime.max.replace(tzinfo=UTC)
    row["timezone"], row["day_start_hour"] = preference(world, user_id, newest)
    return {"": row}


@defines("group_items")
def group_items(world: World) -> Rows:
    return {
        (group, item): row
        for group, users in counted_members(world).items()
        for item, row in sums(world, users).items()
    }


def learner(world: World, user_id: str) -> Row:
    week = stats_of(world, user_id, last_days(world, user_id, 7))
    studied = study_days(world, user_id)
    reasons = {
        "NEVER_STUDIED": not studied,
        "INACTIVE": bool(studied) and max(studied) < min(last_days(world, user_id, 7)),
        "LOW_ACCURACY": week["answers"] >= 20 and week["correct_answers"] / week["answers"] < 0.6,
    }
    return {
        "user_id": user_id,
        "display_name": world.display_name(user_id),
        "last_study_date": max(studied, default=None),
        "current_streak": streak(world, user_id)["current"],
        "answers_last7_days": week["answers"],
        "accuracy_last7_days": week["accuracy_rate"],
        "total_items_learned": sum(
            1 for row in item_stats(world, user_id).values() if row["correct_answers"]
        ),
        "at_risk": any(reasons.values()),
        "risk_reasons": [name for name, applies in reasons.items() if applies],
        "last_answered_at": max((e.occurred_at for e in world.answers(user_id)), default=None),
    }


def since(world: World, user_id: str, span: date | int) -> Row:
    """Return what the learner did from a local day to today, or in the last `span` local days."""
    if not isinstance(span, int):
        span = (day_of(world, user_id, world.now) - span).days + 1
    days = last_days(world, user_id, span)
    sums = stats_of(world, user_id, days)
    goals = {day: goal for day in days if (goal := goal_on(world, user_id, day))}
    return {
        "answers": sums["answers"],
        "accuracy_rate": sums["accuracy_rate"],
        "study_days": len(days & study_days(world, user_id)),
        "days_with_goal": len(goals),
        "days_met": sum(
            stats_of(world, user_id, {day})["answers"] >= goal for day, goal in goals.items()
        ),
    }


def learners(world: World, group_id: str, order_by: str) -> list[Row]:
    def inactive(row: Row) -> tuple[object, ...]:
        studied = row["last_study_date"]
        return studied is not None, studied

    def key(row: Row) -> tuple[object, ...]:
        accuracy = row["accuracy_last7_days"]
        answers, studied = row["answers_last7_days"], row["last_study_date"]
        today = day_of(world, row["user_id"], world.now)
        away = max((today - studied).days, 0) if studied else 0
        never = studied is None
        wrong = answers - round(answers * (accuracy or 0))
        keys: dict[str, tuple[object, ...]] = {
            "AT_RISK": (not row["at_risk"], *inactive(row)),
            "INACTIVE": inactive(row),
            "ACCURACY": (accuracy is None, accuracy),
            "STREAK": (-row["current_streak"],),
            "PRAISE": (
                -len(last_days(world, row["user_id"], 7) & study_days(world, row["user_id"])),
                *(accuracy is None, -(accuracy or 0), -answers),
            ),
            "URGENCY": (
                *(never, not row["at_risk"]),
                *(0 if never else away if row["at_risk"] else -away, -wrong),
            ),
        }
        # None becomes 0, so that the id decides between two learners who both have None.
        return *(0 if one is None else one for one in keys[order_by]), row["user_id"]

    return sorted((learner(world, user) for user in members(world, group_id)), key=key)


def group(world: World, group_id: str) -> Row | None:
    of = members(world, group_id)
    if not of:
        return None
    risks = [learner(world, user)["risk_reasons"] for user in of]
    days = {user: last_days(world, user, 7) for user in of}
    weeks = [stats_of(world, user, days[user]) for user in of]
    answers = sum(week["answers"] for week in weeks)
    return {
        "group_id": group_id,
        "name": name_of(world, group_id),
        "members": len(of),
        "active_last7_days": sum(bool(days[user] & study_days(world, user)) for user in of),
        "answers_last7_days": answers,
        "accuracy_last7_days": ratio(sum(week["correct_answers"] for week in weeks), answers),
        "at_risk": sum(bool(reasons) for reasons in risks),
        "never_studied": sum("NEVER_STUDIED" in reasons for reasons in risks),
        "inactive": sum("INACTIVE" in reasons for reasons in risks),
        "low_accuracy": sum("LOW_ACCURACY" in reasons for reasons in risks),
    }


def weeks(world: World, users: Iterable[str], now: datetime) -> list[Row]:
    """Return the learners' current ISO week (UTC) and the 11 before it, oldest first."""
    monday = now.astimezone(UTC).date() - now.astimezone(UTC).weekday() * DAY
    rows = []
    for start in (monday - n * 7 * DAY for n in range(11, -1, -1)):
        found = [row for user in users if (row := weekly_rows(world, user).get(start))]
        answers = sum(row["answers"] for row in found)
        rows.append(
            {
                "start": start,
                "active_members": sum(row["active_days"] > 0 for row in found),
                "answers": answers,
                "accuracy_rate": ratio(sum(row["correct_answers"] for row in found), answers),
            }
        )
    return rows


def hardest_items(world: World, group_id: str, first: int = 10) -> list[Row]:
    """Return the group's hardest items, the lowest accuracy first.

    At least 3 counted members have answered each of these items, at least 5 times in total.
    Archived items are left out.
    """
    of = counted_members(world).get(group_id, [])
    found = difficulties(world, of, fewest_learners=3, fewest_answers=5)
    return [row for row in found if row["item_id"] not in archived(world)][:first]
