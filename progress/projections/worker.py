"""Wake-ups, carried out: the connections that fold are kept between them."""

import queue

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.telemetry import logs
from progress.errors import ProgressError, Unavailable
from progress.projections.projector import Projector

_idle: "queue.LifoQueue[Projector]" = queue.LifoQueue()


def wake(shard: int) -> int:
    """Fold what the shard has not seen: how many events. Unavailable, ProjectionError."""
    try:
        waited, folded = _catch_up(_idle.get_nowait(), shard)
    except (queue.Empty, Unavailable):  # it may have broken while it was idle
        connection = database.connect(settings.current(), name="project")
        waited, folded = _catch_up(Projector(connection), shard)
    logs.write(
        "INFO", "projected", operation="wake", shard=shard, projection_lag=waited, outcome="ok"
    )
    return folded


def _catch_up(projector: Projector, shard: int) -> tuple[int, int]:
    """How many events waited when it began, and how many were folded."""
    try:
        waited = projector.count_waiting(shard)
        folded = projector.catch_up(shard)
    except ProgressError:
        projector.close()
        raise
    _idle.put(projector)
    return waited, folded
