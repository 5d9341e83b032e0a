"""The batch job: what the realtime folds leave to a run every five minutes.

A run replays the dead letters whose time has come, folds the shards whose wake-up was lost, and
brings weekly_stats, domain_stats, level_stats and snapshots up to what changed since the last run.
"""

import time
from dataclasses import dataclass
from typing import Any

import pg8000.exceptions

from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.errors import ProjectionError, Unavailable
from progress.event_store import dead_letters
from progress.projections import notifications, schema, snapshots
from progress.projections import projector as shard_projector


@dataclass(frozen=True)
class Report:
    """What one run did. `learners` is None where another run had the lock.

    It is whole if all that was recorded when it began is in the batch models: a shard that a worker
    had at the time is left to the next run.
    """

    replayed: int
    swept: int
    learners: int | None
    is_whole: bool = True


def run(connection: Connection, task_index: int = 0, task_count: int = 1) -> Report:
    """One task's share of a run: the learners of every `task_count`th shard.

    Lost wake-ups are anyone's: shards that another task folds at the moment are passed over.

    Raises Unavailable or ProjectionError; what was done before stays done.
    """
    projector = shard_projector.Projector(connection)
    shards = [shard for shard in shard_projector.SHARDS if shard % task_count == task_index]
    try:
        replayed = dead_letters.replay_due(connection) if task_index == 0 else 0
        head = _read_value(connection, "log_end")
        swept = projector.catch_up_all()
        learners = fold(connection, shards)
        if learners is not None and notifications.is_enabled():
            _publish(connection)
        if learners is not None:
            snapshots.take(connection)
        is_whole = learners is not None and not _read_value(
            connection, "is_behind", head=head, shards=shards
        )
        return Report(replayed, swept, learners, is_whole)
    except (OSError, pg8000.exceptions.Error) as fault:
        if database.is_passing(fault):
            raise Unavailable(f"the database did not answer: {database.message(fault)}") from fault
        raise ProjectionError(f"the batch folds failed: {database.message(fault)}") from fault


def _publish(connection: Connection) -> None:
    known_at = time.monotonic()
    found = connection.run(statements.blocks("projections/versions")["batch"])
    notifications.publish_batch(found[0][0], known_at=known_at)


def fold(connection: Connection, shards: list[int]) -> int | None:
    """Fold the batch models of these shards' learners: how many changed, None if another folds."""
    schema.prepare_batch(connection)
    rows = connection.run(statements.blocks("projections/batch")["fold_batch"], shards=shards)
    changed: int | None = rows[0][0]
    return changed


def _read_value(connection: Connection, block: str, **values: object) -> Any:
    return connection.run(statements.blocks("projections/batch")[block], **values)[0][0]
