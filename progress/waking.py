"""Commands: what Pub/Sub pushes from `progress-commands`, and the connections that fold for it."""

import base64
import json
import queue
from collections.abc import Callable
from uuid import UUID

from progress import database, logs, procedures, settings, telemetry, wakeups
from progress.errors import ProgressError, Unavailable
from progress.projections import SHARDS, Projector

TOLD = {"messaging.destination.name": wakeups.TOPIC}  # by a span, of a command

_idle: "queue.LifoQueue[Projector]" = queue.LifoQueue()


def open_push(body: bytes) -> int | UUID | None:
    """The shard to wake, or the operation to carry out; None for anything else."""
    try:
        data = base64.b64decode(json.loads(body)["message"]["data"])
        command = json.loads(data)
        if command["command"] == "operation":
            return UUID(command["id"])
        shard = command["shard"] if command["command"] == "wake" else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return shard if type(shard) is int and shard in SHARDS else None


def trace_parent(body: bytes, header: Callable[[str], str | None]) -> str | None:
    """The trace of whoever sent the command; where the message carries none, the request's."""
    try:
        sent = telemetry.of_message(json.loads(body)["message"]["attributes"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sent = None
    return sent or telemetry.of_request(header)


def obey(command: int | UUID) -> None:
    """Carry the command out. Unavailable, ProjectionError: it is to be delivered again."""
    if isinstance(command, UUID):
        procedures.carry_out(command)
    else:
        wake(command)


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
        waited = projector.lag(shard)
        folded = projector.catch_up(shard)
    except ProgressError:
        projector.close()
        raise
    _idle.put(projector)
    return waited, folded
