"""What ingest measures of a delivery: the attributes of its span, and the age of its message."""

from datetime import datetime

from progress.adapters.telemetry.spans import Attributes
from progress.event_store.log import Delivery


def span_attributes(delivery: Delivery) -> Attributes:
    """Return the message's topic, subscription and id, as OpenTelemetry names them."""
    message = delivery.message
    attributes = {
        "messaging.destination.name": message.topic.rpartition("/")[2],
        "messaging.destination.subscription.name": message.subscription.rpartition("/")[2],
        "messaging.message.id": message.message_id,
    }
    return {name: value for name, value in attributes.items() if value}


def age_ms(delivery: Delivery, at: datetime) -> int | None:
    """Return the milliseconds from publication to `at`; None without a publish time."""
    published = delivery.message.published_at
    return None if published is None else round((at - published).total_seconds() * 1_000)
