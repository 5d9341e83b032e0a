"""Parse Pub/Sub pushes of domain events, which arrive raw or as Eventarc CloudEvents."""

import contextlib
import hashlib

from progress.adapters.pubsub import push_request
from progress.adapters.pubsub.push_request import PushEnvelope
from progress.errors import SerializationError
from progress.event_store import envelope, owners, rejections, timestamps
from progress.event_store.entries import HASHED, Message
from progress.event_store.log import Delivery

_SOURCE = "//pubsub.googleapis.com/"


def parse_delivery(body: bytes | bytearray, topic: str = "") -> Delivery:
    """Return the pushed message; a body that is not a push becomes one dead letter."""
    try:
        push = push_request.parse(body)
        if b"\\u0000" in body:
            _check_nul(push)
    except SerializationError:
        reason = "expected a Pub/Sub push with a message - at $"
        rejection = rejections.reject_bytes(bytes(body), 0, reason, owners.find(bytes(body), {}))
        return Delivery(Message(message_id=digest(body)), [rejection])
    published_at = None
    with contextlib.suppress(SerializationError):
        published_at = timestamps.parse(push.message.publish_time, "publishTime")
    message = Message(
        subscription=push.subscription,
        topic=topic,
        message_id=push.message.message_id or digest(body),
        published_at=published_at,
        attributes=push.message.attributes or {},
    )
    data = push.message.data or b""
    return Delivery(message, envelope.decode(data, message), len(data))


def read_topic(source: str) -> str:
    """Return the topic that the CloudEvent's `ce-source` names; "" if it names none."""
    return source.removeprefix(_SOURCE) if source.startswith(f"{_SOURCE}projects/") else ""


def _check_nul(push: PushEnvelope) -> None:
    attributes = push.message.attributes or {}
    texts = [push.subscription, push.message.message_id, *attributes, *attributes.values()]
    if any("\0" in text for text in texts):
        raise SerializationError("expected a string without U+0000 - at $.message")


def digest(body: bytes | bytearray) -> str:
    """Return an id for a message that has none; the same body always gets the same id."""
    return f"{HASHED}{hashlib.sha256(body).hexdigest()}"
