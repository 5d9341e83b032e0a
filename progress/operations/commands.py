"""Commands that Pub/Sub pushes from the topic `progress-commands`."""

import json
from collections.abc import Mapping
from uuid import UUID

from progress.adapters.pubsub import push_envelope, wakeups
from progress.errors import SerializationError
from progress.projections import notifications, worker
from progress.projections.notifications import Publisher
from progress.projections.projector import SHARDS

SPAN_ATTRIBUTES = {"messaging.destination.name": wakeups.TOPIC}


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


def handle(command: int | UUID, publisher: Publisher = notifications.DISABLED) -> None:
    """Run the command; raise Unavailable or ProjectionError if it must be delivered again."""
    if isinstance(command, UUID):
        # Imported here, so that a cold start for a wake-up does not load the steps of operations.
        from progress.operations import executor

        executor.run(command, publisher)
    else:
        worker.wake(command, publisher)
