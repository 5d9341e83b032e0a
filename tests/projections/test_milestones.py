"""Milestones after a change of zone, and of levels whose items change."""

from datetime import timedelta

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.projections import batch
from progress.projections.projector import SHARDS, Projector
from progress.projections.schema import fingerprint
from progress.recovery import checks
from tests.support import model_rows, sample_events
from tests.support.stage import append

LATER = sample_events.BEGIN + timedelta(days=9)


def archived(item: str) -> sample_events.Envelope:
    return sample_events.envelope("ItemArchived", {"item_id": item}, at=LATER + timedelta(hours=1))


def kinds(connection: Connection) -> list[str]:
    """Return the kinds of all milestones in alphabetical order."""
    return sorted(row["kind"] for row in model_rows.read_table(connection, "milestones"))


def test_a_change_of_zone_moves_the_goals_that_are_in_force_and_keeps_the_levels(
    connection: Connection,
) -> None:
    append(connection, [sample_events.item_published("i0"), *sample_events.lesson("ann", 1)])
    at = sample_events.BEGIN + timedelta(days=1, hours=12)
    goal = {"user_id": "ann", "answers_per_day": 1}
    append(connection, [sample_events.envelope("GoalSet", goal, at=at)])
    batch.run(connection)
    assert kinds(connection) == ["GOAL_MET", "LEVEL_REACHED"]
    # In Kiritimati, the goal is set on the next day. The zone is in force after the answers.
    moved = {"user_id": "ann", "timezone": "Pacific/Kiritimati"}
    event = sample_events.envelope("UserPreferencesChanged", moved, at=at)
    append(connection, [event])
    Projector(connection).catch_up_all()
    assert kinds(connection) == ["LEVEL_REACHED"]
    assert sample_events.find_differences(connection) == []


def test_a_level_is_reached_or_lost_if_its_number_of_items_changes(connection: Connection) -> None:
    published = [sample_events.item_published(f"i{n}") for n in range(5)]
    lessons = [sample_events.lesson(user, 3, items=n) for user, n in (("ann", 4), ("bob", 3))]
    append(connection, [*published, *(event for lesson in lessons for event in lesson)])
    for events, users in (
        ([], ["ann"]),  # 4 of 5 items are needed
        ([sample_events.item_published("new", at=LATER)], []),  # 5 of 6
        ([archived("i4"), archived("new")], ["ann"]),  # 4 of 4
        ([archived("i3")], ["ann", "bob"]),  # 3 of 3
    ):
        append(connection, events)
        batch.run(connection)
        reached = model_rows.read_table(connection, "milestones")
        levels = [row["user_id"] for row in reached if row["kind"] == "LEVEL_REACHED"]
        assert sorted(levels) == users
        assert sample_events.find_differences(connection) == []
        assert checks.find_differences(connection) == []


def test_a_batch_run_reads_learners_without_new_events_only_if_they_may_reach_a_level(
    connection: Connection,
) -> None:
    published = [sample_events.item_published(f"i{n}") for n in range(5)]
    users = [f"user {n}" for n in range(8)]
    lessons = [
        sample_events.lesson(user, 3, items=4 if n == 5 else 2) for n, user in enumerate(users)
    ]
    append(connection, [*published, *(event for lesson in lessons for event in lesson)])
    batch.run(connection)
    append(connection, [sample_events.item_published("new", at=LATER)])
    Projector(connection).catch_up_all()
    with database.transaction(connection):
        assert batch.fold(connection, list(SHARDS)) == 0
        found = model_rows.read_table(connection, f"batch_learners_{fingerprint()}")
    assert [row["user_id"] for row in found] == ["user 5"]
