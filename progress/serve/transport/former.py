"""The queue of version 0.3: its messages move into the transport's queue before its tables go."""

from typing import Any

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.telemetry import logs

_FILE = "transport/queue"
_SOURCE = "CloudPubSubDeadLetterSourceSubscription"
_COUNT = "CloudPubSubDeadLetterSourceDeliveryCount"


def take_over(connection: Connection) -> None:
    """Move what 0.3 had queued, as the owner, in one transaction.

    Messages keep their ids and their subscriptions, by which ingest recognizes a repetition. Dead
    letters, which waited in subscriptions of their own, are dead in the queue of the subscription
    that gave them up. Subscriptions that were pulled go, with their messages.
    """
    if not database.run(connection, _FILE, "has former")[0][0]:
        return
    from google.pubsub_v1 import types

    from progress.serve.transport import grpc_api

    with database.transaction(connection):
        database.run(connection, _FILE, "former topics")
        pushed = set()
        for (text,) in database.run(connection, _FILE, "former subscriptions"):
            definition = types.Subscription.pb().FromString(text)
            if definition.push_config.push_endpoint:
                pushed.add(definition.name)
                encoded = msgspec.json.encode(grpc_api.read(definition)).decode()
                values = {"name": definition.name, "definition": encoded}
                database.run(connection, _FILE, "save subscription", **values)
        lost = 0
        for subscription, text, attempts in database.run(connection, _FILE, "former messages"):
            message = types.PubsubMessage.pb().FromString(text)
            row = _row(subscription, message, attempts, pushed)
            lost += row is None
            if row is not None:
                database.run(connection, _FILE, "add", **row)
        database.run(connection, _FILE, "drop former")
    if lost:
        logs.write("WARNING", f"{lost} messages of subscriptions that were pulled are gone")


def _row(
    subscription: str, message: Any, attempts: int, pushed: set[str]
) -> dict[str, object] | None:
    attributes = dict(message.attributes)
    if is_dead := subscription not in pushed and _SOURCE in attributes:
        prefix = subscription.rpartition("/")[0]
        subscription = f"{prefix}/{attributes.pop(_SOURCE)}"
        attempts = int(attributes.pop(_COUNT, "0"))
    if subscription not in pushed:
        return None
    return {
        "subscription": subscription,
        "message_id": message.message_id,
        "message": message.data,
        "attributes": msgspec.json.encode(attributes).decode(),
        "ordering_key": message.ordering_key,
        "published_at": message.publish_time.ToJsonString(),
        "attempts": attempts,
        "is_dead": is_dead,
    }
