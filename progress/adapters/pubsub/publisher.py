"""Publish events to the local stack's Pub/Sub or to Google Cloud."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from progress.adapters.pubsub import clients, wakeups
from progress.adapters.telemetry import tracing
from progress.errors import PubSubUnavailable, SerializationError

# Pub/Sub's limit is 10,000,000 bytes, including the attributes and the topic's name.
MAX_MESSAGE_BYTES = 9_990_000

_TIMEOUT_S = 20.0  # for each request
_BATCH_MESSAGES, _BATCH_BYTES = 1_000, 1 << 20  # a larger message gets a request of its own


class Message(msgspec.Struct, frozen=True):
    """A message of one event, or of several events that belong together."""

    topic: str
    events: list[dict[str, Any]]


class Packed(msgspec.Struct, frozen=True):
    """The encoded data of a message, with the number of its events."""

    topic: str
    data: bytes
    count: int


_Encoded = tuple[Message | Packed, bytes]


def publish(
    messages: Sequence[Message | Packed],
    *,
    project: str,
    emulator: str | None,
    on_published: Callable[[int], None],
    count: int = 0,
) -> int:
    """Publish the messages; return the number of events, with the `count` of those before.

    Return once Pub/Sub has stored all messages. After each request, `on_published` receives the
    number of events stored so far. `emulator` is an address; None means Google Cloud.
    Raise PubSubUnavailable if Pub/Sub does not accept a request, and SerializationError, before
    anything is published, if a message is too large.
    """
    encoded = [(message, encode(message)) for message in messages]
    largest = max((len(data) for _, data in encoded), default=0)
    if largest > MAX_MESSAGE_BYTES:
        raise SerializationError(
            f"a message has {largest:,} bytes, and Pub/Sub accepts {MAX_MESSAGE_BYTES:,}: split it"
        )
    for topic, batch in _split(encoded):
        _publish_batch(f"projects/{project}/topics/{topic}", batch, emulator, count)
        count += sum(count_events(message) for message, _ in batch)
        on_published(count)
    return count


def _split(encoded: Sequence[_Encoded]) -> Iterator[tuple[str, list[_Encoded]]]:
    """Yield requests: a topic and its messages.

    The messages of a window become one request for each topic, so that an account is not published
    long after its answers; `user-events` and `learning-events` come before `algorithm-events`, so
    that no reviews are stored without their session.
    """
    window: dict[str, list[_Encoded]] = {}
    number = size = 0
    for message, data in encoded:
        if number == _BATCH_MESSAGES or (number and size + len(data) > _BATCH_BYTES):
            yield from sorted(window.items(), reverse=True)
            window, number, size = {}, 0, 0
        window.setdefault(message.topic, []).append((message, data))
        number, size = number + 1, size + len(data)
    yield from sorted(window.items(), reverse=True)


def _publish_batch(
    topic: str, batch: Sequence[_Encoded], emulator: str | None, published: int
) -> None:
    messages = [_add_trace(message, data) for message, data in batch]
    try:
        clients.publish(topic, messages, emulator=emulator, timeout_s=_TIMEOUT_S)
    except PubSubUnavailable as error:
        before = f"; {published:,} were published before, and count once if published again"
        raise PubSubUnavailable(
            f"Pub/Sub at {emulator or 'Google Cloud'} does not accept messages: {error}"
            + (before if published else "")
        ) from None


def _add_trace(message: Message | Packed, data: bytes) -> dict[str, Any]:
    attributes = wakeups.publish_attributes(message.topic)
    with tracing.start_span(f"publish {message.topic}", None, "producer", attributes):
        return {"data": data, "attributes": tracing.message_attributes()}


def encode(message: Message | Packed) -> bytes:
    """Return a message's data; encode the events of a `Message` as a JSON array."""
    if isinstance(message, Message):
        return msgspec.json.encode(message.events)
    return message.data


def count_events(message: Message | Packed) -> int:
    return len(message.events) if isinstance(message, Message) else message.count
