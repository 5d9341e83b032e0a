"""The batch job runs every five minutes and does the work that the realtime folds leave to it.

A run replays the dead letters that are due. Then, in each live schema, it folds the shards whose
wake-up was lost, and updates the batch models (see `schema.BATCH`) with the changes since the last
run.
"""

from dataclasses import dataclass, replace

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection, Failure
from progress.errors import ProjectionError
from progress.event_store import dead_letters
from progress.projections import live, replacement, snapshots, views
from progress.projections import projector as shard_projector

_FILE, _INTERFACE = "projections/batch", "projections/interface"


@dataclass(frozen=True)
class BatchReport:
    """The result of one run: what it folded into the schema that comes first.

    `learners` is None if another run held the lock. `is_whole` is true if the batch models of each
    schema that is read include all events that the task's shards had before the run. If a worker
    held a shard during the run, `is_whole` may be false, and the next run folds the rest.
    """

    replayed: int
    swept: int
    learners: int | None
    is_whole: bool = True


def run(connection: Connection, task_index: int = 0, task_count: int = 1) -> BatchReport:
    """Run one task's share of the batch job.

    Every task sweeps all shards, except those that another task is folding. Then the task updates
    the batch models, but only for the learners of every `task_count`th shard.

    Raise DatabaseUnavailable or ProjectionError if a step fails. Earlier steps stay committed.
    """
    shards = [shard for shard in shard_projector.SHARDS if shard % task_count == task_index]
    with database.translate_errors(_translate):
        replayed = 0
        if task_index == 0:
            replayed = dead_letters.replay_due(connection)
            views.follow(connection, replacement.former_name())  # if a swap could not move them
        log_end = database.run(connection, _FILE, "log_end")[0][0]
        found = live.find(connection)
        projector = shard_projector.Projector(connection, found.first)
        reports = projector.fold_live(found, lambda: _run(projector, shards, log_end))
        is_whole = all(report.is_whole for report in reports[: max(1, found.read)])
        return replace(reports[0], replayed=replayed, is_whole=is_whole)


def _run(projector: shard_projector.Projector, shards: list[int], log_end: int) -> BatchReport:
    """Fold what waits for the projector's schema."""
    connection = projector.connection
    with database.translate_errors(_translate):
        swept = projector.catch_up_all()
        learners = fold(connection, shards)
        if learners is None:
            return BatchReport(0, swept, None, is_whole=False)
        snapshots.take(connection)
        values = {"log_end": log_end, "shards": shards}
        is_whole = not database.run(connection, _INTERFACE, "is batch behind", **values)[0][0]
        return BatchReport(0, swept, learners, is_whole)


def _translate(failure: Failure) -> Exception:
    return failure.to_unavailable() or ProjectionError(f"the batch folds failed: {failure.message}")


def fold(connection: Connection, shards: list[int]) -> int | None:
    """Fold the batch models of these shards' learners; return the number of changed learners.

    Return None if another run holds one of the shards.
    """
    database.run(connection, _INTERFACE, "prepare batch")
    learners: int | None = database.run(connection, _INTERFACE, "fold batch", shards=shards)[0][0]
    return learners
