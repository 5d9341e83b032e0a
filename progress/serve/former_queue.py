"""The queue of version 0.4: what it has for ingest is recorded at the first start, and it goes."""

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.telemetry import logs
from progress.event_store import log
from progress.event_store.entries import POSTED_BY, ParsedEvent
from progress.ingest import push

_FILE = "serve/former_queue"


def record(connection: Connection) -> None:
    """Record the messages as pushes, one after the other, and drop the queue.

    A start that was killed meanwhile repeats at most one message, which is recognized.
    Raise LettersFull if there is no space for a message's dead letters.
    """
    if not database.run(connection, _FILE, "exists")[0][0]:
        return
    number = 0
    while rows := database.run(connection, _FILE, "messages"):
        for row in rows:
            log.append(connection, [_parse(*row)])
            values = {"subscription": row[0], "message_id": row[1]}
            database.run(connection, _FILE, "remove", **values)
        number += len(rows)
    database.run(connection, _FILE, "drop")
    if number:
        logs.write("INFO", f"{number} messages that version 0.4 had queued are recorded")


def _parse(
    subscription: str, message_id: str, data: bytes, attributes: str, published_at: object
) -> log.Delivery:
    message = {
        "data": data,
        "attributes": msgspec.json.decode(attributes),
        "messageId": message_id,
        "publishTime": published_at,
    }
    body = msgspec.json.encode({"message": message, "subscription": subscription})
    delivery = push.parse_delivery(body)
    if "/learner-events-" in subscription:  # what learners have posted
        for entry in delivery.entries:
            if isinstance(entry, ParsedEvent):
                entry.metadata[POSTED_BY] = "learner"
    return delivery
