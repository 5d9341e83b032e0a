"""What Pub/Sub pushes: raw push bodies, and Eventarc's binary CloudEvents, which wrap the same."""

import hashlib
from datetime import datetime

from progress.adapters.pubsub import push_envelope
from progress.adapters.pubsub.push_envelope import PushEnvelope
from progress.adapters.telemetry.spans import Attributes
from progress.errors import SerializationError
from progress.event_store import envelope, timestamps
from progress.event_store.envelope import Message
from progress.event_store.log import Delivery

_SOURCE = "//pubsub.googleapis.com/"


def parse_delivery(body: bytes | bytearray, source: str = "") -> Delivery:
    """The message that was pushed; a body that is no push is a message of one dead letter.

    `source` is the CloudEvent's (`ce-source`), which names the topic.
    """
    try:
        push = push_envelope.parse(body)
        if b"\\u0000" in body:
            _refuse_nul(push)
    except SerializationError:
        return _no_push(bytes(body))
    message = Message(
        subscription=push.subscription,
        topic=source.removeprefix(_SOURCE) if source.startswith(_SOURCE) else "",
        message_id=push.message.message_id or _digest(body),
        published_at=_published_at(push.message.publish_time),
        attributes=push.message.attributes or {},
    )
    data = push.message.data or b""
    return Delivery(message, envelope.decode(data, message), len(data))


def span_attributes(delivery: Delivery) -> Attributes:
    """What a span tells of the message."""
    message = delivery.message
    known = {
        "messaging.destination.name": message.topic.rpartition("/")[2],
        "messaging.destination.subscription.name": message.subscription.rpartition("/")[2],
        "messaging.message.id": message.message_id,
    }
    return {name: said for name, said in known.items() if said}


def age_ms(delivery: Delivery, at: datetime) -> int | None:
    """How old the message was at a moment; None where the transport does not tell."""
    published = delivery.message.published_at
    return None if published is None else round((at - published).total_seconds() * 1_000)


def _published_at(text: str | None) -> datetime | None:
    try:
        return None if text is None else timestamps.read(text, "publishTime")
    except SerializationError:
        return None


def _refuse_nul(push: PushEnvelope) -> None:
    attributes = push.message.attributes or {}
    texts = [push.subscription, push.message.message_id, *attributes, *attributes.values()]
    if any("\0" in text for text in texts):
        raise SerializationError("expected a text without U+0000 - at $.message")


def _no_push(body: bytes) -> Delivery:
    message = Message(message_id=_digest(body))
    return Delivery(
        message, [envelope.malformed(body, 0, "expected a Pub/Sub push with a message - at $")]
    )


def _digest(body: bytes | bytearray) -> str:
    """In place of a message id: the same body again is the same message."""
    return f"sha256-{hashlib.sha256(body).hexdigest()}"
