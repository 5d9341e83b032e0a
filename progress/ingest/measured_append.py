"""Append a delivery, and measure it: a span, and a log line that counts as an operation."""

from flask import Request

from progress.adapters.pubsub.push_request import HandledDelivery
from progress.adapters.telemetry import logs, tracing
from progress.errors import LettersFull
from progress.event_store.log import Delivery
from progress.ingest.group_commit import GroupCommit, Others


def append(
    group: GroupCommit, request: Request, delivery: Delivery, arrived: float
) -> tuple[int, Others | None]:
    """Return the status of a push and, if all is on disk, what was not appended."""
    others, message = None, delivery.message
    trace = tracing.traceparent_of_push(message.attributes, request.headers.get)
    attributes = {
        "messaging.destination.name": message.topic.rpartition("/")[2],
        "messaging.destination.subscription.name": message.subscription.rpartition("/")[2],
        "messaging.message.id": message.message_id,
    }
    present = {name: value for name, value in attributes.items() if value}
    with HandledDelivery("ingest", trace, "ingest", present) as handled:
        committed = group.append_parts(delivery, arrived)
        others = committed.others
        logs.write(
            "INFO", "recorded", operation="ingest", outcome="ok",
            event_delay_ms=message.age_ms(committed.at), latency_ms=handled.milliseconds,
        )  # fmt: skip
    if isinstance(handled.error, LettersFull) and delivery.is_reported:
        raise handled.error
    return handled.status, others
