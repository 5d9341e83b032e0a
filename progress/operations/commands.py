"""Commands: what Pub/Sub pushes from `progress-commands`."""

import json
from collections.abc import Mapping
from uuid import UUID

from progress.adapters.pubsub import push_envelope, wakeups
from progress.errors import SerializationError
from progress.operations import step_actions
from progress.projections import notifications, worker
from progress.projections.notifications import Publisher
from progress.projections.projector import SHARDS

SPAN_ATTRIBUTES = {"messaging.destination.name": wakeups.TOPIC}


def parse_push(body: bytes) -> tuple[int | UUID | None, Mapping[str, str]]:
    """Return the shard to wake or the operation to run, None for anything else; and attributes."""
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


def obey(command: int | UUID, publisher: Publisher = notifications.DISABLED) -> None:
    """Carry the command out. Unavailable, ProjectionError: it is to be delivered again."""
    if isinstance(command, UUID):
        step_actions.carry_out(command, publisher)
    else:
        worker.wake(command, publisher)
