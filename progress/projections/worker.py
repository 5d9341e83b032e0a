"""Read the commands of the topic `progress-commands`, and handle wake-ups.

Connections for folds stay open between wake-ups.
"""

import json
import queue
from collections.abc import Mapping
from uuid import UUID

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.pubsub import push_envelope
from progress.adapters.telemetry import logs
from progress.errors import DatabaseUnavailable, ProgressError, SerializationError
from progress.projections import notifications
from progress.projections.notifications import Publisher
from progress.projections.projector import SHARDS, Projector

_idle: "queue.LifoQueue[Projector]" = queue.LifoQueue()


def parse_push(body: bytes) -> tuple[int | UUID | None, Mapping[str, str]]:
    """Return the command and the message's attributes.

    A command is the number of a shard to wake, or the id of an operation to run. For any other
    body, the command is None.
    """
    try:
        message = push_envelope.parse(body).message
    except SerializationError:
        return None, {}
    return _parse_command(message.data or b""), message.attributes or {}


def _parse_command(data: bytes) -> int | UUID | None:
    try:
        command = json.loads(data)
        if command["command"] == "operation":
            return UUID(command["id"])
        shard = command["shard"] if command["command"] == "wake" else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return shard if type(shard) is int and shard in SHARDS else None


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
