"""The batch job runs every five minutes and does the work that the realtime folds leave to it.

A run replays the dead letters that are due, folds the shards whose wake-up was lost, and updates
the batch models (see `schema.BATCH`) with the changes since the last run.
"""

import time
from dataclasses import dataclass

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection, Failure
from progress.errors import ProjectionError
from progress.event_store import dead_letters
from progress.projections import changes, replacement, schema, snapshots, views
from progress.projections import projector as shard_projector
from progress.projections.changes import Publisher

_FILE = "projections/batch"


@dataclass(frozen=True)
class Report:
    """The result of one run; `learners` is None if another run held the lock.

    `is_whole` is true if the batch models include all events that the task's shards had before the
    run. If a worker held a shard during the run, `is_whole` may be false, and the next run folds
    the rest of that shard.
    """

    replayed: int
    swept: int
    learners: int | None
    is_whole: bool = True


def run(
    connection: Connection,
    task_index: int = 0,
    task_count: int = 1,
    publisher: Publisher = changes.DISABLED,
) -> Report:
    """Run one task's share of the batch job.

    Every task sweeps all shards, except those that another task is folding. Then the task updates
    the batch models, but only for the learners of every `task_count`th shard.

    Raise DatabaseUnavailable or ProjectionError if a step fails. Earlier steps stay committed.
    """
    projector = shard_projector.Projector(connection, publisher=publisher)
    shards = [shard for shard in shard_projector.SHARDS if shard % task_count == task_index]
    with database.translate_errors(_translate):
        replayed = 0
        if task_index == 0:
            replayed = dead_letters.replay_due(connection)
            views.follow(connection, replacement.former_name())  # if a swap could not move them
        log_end = database.run(connection, _FILE, "log_end")[0][0]
        swept = projector.catch_up_all()
        learners = fold(connection, shards)
        if learners is None:
            return Report(replayed, swept, None, is_whole=False)
        if publisher.is_enabled:
            _publish(connection, publisher)
        snapshots.take(connection)
        values = {"log_end": log_end, "shards": shards}
        is_whole = not database.run(connection, _FILE, "is_behind", **values)[0][0]
        return Report(replayed, swept, learners, is_whole)


def _translate(failure: Failure) -> Exception:
    return failure.to_unavailable() or ProjectionError(f"the batch folds failed: {failure.message}")


def _publish(connection: Connection, publisher: Publisher) -> None:
    known_at = time.monotonic()
    rows = database.run(connection, "projections/versions", "batch")
    publisher.publish_batch(rows[0][0], known_at=known_at)


def fold(connection: Connection, shards: list[int]) -> int | None:
    """Fold the batch models of these shards' learners; return the number of changed learners.

    Return None if another run holds one of the shards.
    """
    schema.prepare_batch(connection)
    learners: int | None = database.run(connection, _FILE, "fold_batch", shards=shards)[0][0]
    return learners
