"""Handle wake-ups. Connections for folds stay open between wake-ups."""

import queue

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.telemetry import logs
from progress.errors import DatabaseUnavailable, ProgressError
from progress.projections import notifications
from progress.projections.notifications import Publisher
from progress.projections.projector import Projector

_idle: "queue.LifoQueue[Projector]" = queue.LifoQueue()


def wake(shard: int, publisher: Publisher = notifications.DISABLED) -> int:
    """Fold the shard's new events; return their number.

    Raise DatabaseUnavailable or ProjectionError.
    """
    try:
        waiting, folded = _catch_up(_idle.get_nowait(), shard)
    except (queue.Empty, DatabaseUnavailable):  # no connection is idle, or the idle one broke
        connection = database.connect(settings.current(), name="project")
        waiting, folded = _catch_up(Projector(connection, publisher=publisher), shard)
    logs.write(
        "INFO", "projected", operation="wake", shard=shard, projection_lag=waiting, outcome="ok"
    )
    return folded


def _catch_up(projector: Projector, shard: int) -> tuple[int, int]:
    """Fold the shard; return how many events waited at the start, and how many were folded."""
    try:
        waiting = projector.count_waiting(shard)
        folded = projector.catch_up(shard)
    except ProgressError:
        projector.close()
        raise
    _idle.put(projector)
    return waiting, folded
