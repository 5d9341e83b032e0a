"""In a burst of preference changes, each window refolds a learner at most once."""

import functools
import random
from datetime import timedelta
from typing import Any

from progress.adapters.postgres.database import Connection
from progress.projections import batch
from progress.projections import projector as shard_projector
from progress.projections.projector import Projector
from tests.support import model_rows, sample_events
from tests.support.event_logs import ZONES
from tests.support.stage import append


def changes(
    user: str, count: int, *, chance: random.Random, days: int
) -> list[sample_events.Envelope]:
    """Return `count` preference changes; every second change is backdated to a day with lessons."""
    changes = []
    for number in range(count):
        back = chance.randrange(days * 86_400) if number % 2 else days * 86_400 + number
        preferences: dict[str, Any] = {"user_id": user, "timezone": chance.choice(ZONES)}
        if number % 3:
            preferences["day_start_hour"] = chance.randrange(24)
        if number % 5 == 0:
            del preferences["timezone"]
        at = sample_events.BEGIN + timedelta(seconds=back)
        changes.append(sample_events.envelope("UserPreferencesChanged", preferences, at=at))
    return changes


def refolds(connection: Connection) -> int:
    connection.run("SELECT pg_stat_force_next_flush()")
    return model_rows.read_value(connection, "refolds") or 0


def test_a_window_refolds_a_learner_at_most_once(connection: Connection) -> None:
    days, chance = 4, random.Random(1)
    append(connection, [e for day in range(days) for e in sample_events.lesson("ann", day)])
    Projector(connection).catch_up_all()
    append(connection, sample_events.lesson("una", 0))  # una is in ann's shard
    append(connection, changes("ann", 300, chance=chance, days=days))
    append(connection, sample_events.lesson("una", 1))
    connection.run("SET track_functions = 'all'")
    projector, windows = Projector(connection), 0
    shard = model_rows.read_value(connection, "shard", user="ann")
    before = refolds(connection)
    while projector.fold_window(shard, 70):
        windows += 1
    assert windows == 5
    assert refolds(connection) - before == windows
    batch.fold(connection, list(shard_projector.SHARDS))
    assert not sample_events.find_differences(connection)


def test_folded_and_refolded_learners_get_a_version(connection: Connection) -> None:
    append(connection, [*sample_events.lesson("ann", 0), *sample_events.lesson("una", 0)])
    Projector(connection).catch_up_all()
    shard = model_rows.read_value(connection, "shard", user="ann")
    read_version = functools.partial(model_rows.read_value, connection, "version")
    moves = functools.partial(
        sample_events.envelope, "UserPreferencesChanged", at=sample_events.BEGIN
    )
    append(connection, [moves({"user_id": "ann", "timezone": "Pacific/Kiritimati"})])
    append(connection, sample_events.lesson("una", 1))
    before = [read_version(user=user) for user in ("ann", "una")]
    assert Projector(connection).fold_window(shard, 1_000)
    assert min(read_version(user=user) for user in ("ann", "una")) > max(before)


def test_a_window_refolds_only_one_long_history(connection: Connection) -> None:
    append(connection, [*sample_events.lesson("ann", 0), *sample_events.lesson("una", 0)])
    projector, shard = Projector(connection), model_rows.read_value(connection, "shard", user="ann")
    projector.catch_up_all()
    versions = [("una", 200_001), ("una", 200_002), ("ann", 200_001), ("ann", 200_002)]
    for user, version in versions:  # as if the learners had long histories
        model_rows.read_value(
            connection, "move", user=user, version=version, at=sample_events.BEGIN
        )
    assert [projector.fold_window(shard, 1_000) for _ in range(3)] == [2, 2, 0]
    batch.fold(connection, list(shard_projector.SHARDS))
    assert not sample_events.find_differences(connection)
