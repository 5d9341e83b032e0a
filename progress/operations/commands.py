"""Commands: what Pub/Sub pushes from `progress-commands`."""

import base64
import json
from collections.abc import Callable
from uuid import UUID

from progress.adapters.pubsub import wakeups
from progress.adapters.telemetry import tracing
from progress.operations import step_actions
from progress.projections import notifications, worker
from progress.projections.notifications import Publisher
from progress.projections.projector import SHARDS

TOLD = {"messaging.destination.name": wakeups.TOPIC}  # by a span, of a command


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
        sent = tracing.traceparent_of_message(json.loads(body)["message"]["attributes"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sent = None
    return sent or tracing.traceparent_of_request(header)


def obey(command: int | UUID, publisher: Publisher = notifications.DISABLED) -> None:
    """Carry the command out. Unavailable, ProjectionError: it is to be delivered again."""
    if isinstance(command, UUID):
        step_actions.carry_out(command, publisher)
    else:
        worker.wake(command, publisher)
