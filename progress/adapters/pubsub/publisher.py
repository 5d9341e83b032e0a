"""Publish messages to the local stack's Pub/Sub: the emulator or the stand-in."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from progress.adapters.pubsub import wakeups
from progress.adapters.telemetry import tracing
from progress.errors import PubSubUnavailable, SerializationError

if TYPE_CHECKING:
    from google.cloud.pubsub_v1 import PublisherClient
    from google.cloud.pubsub_v1.publisher.futures import Future

LEARNING = "learning-events"

TOPICS = {
    "SessionStarted": LEARNING,
    "CorrectAnswerGiven": LEARNING,
    "IncorrectAnswerGiven": LEARNING,
    "SessionCompleted": LEARNING,
    "SessionAbandoned": LEARNING,
    "ReviewProcessed": "algorithm-events",
    "ItemPublished": "vocabulary-events",
    "ItemUpdated": "vocabulary-events",
    "ItemArchived": "vocabulary-events",
    "UserCreated": "user-events",
    "UserPreferencesChanged": "user-events",
    "UserDeleted": "user-events",
    "LearnerJoinedGroup": "user-events",
    "LearnerLeftGroup": "user-events",
    "GoalSet": "user-events",
    "RestDayTaken": "user-events",
}

_TIMEOUT_S = 60.0  # the time limit for publishing a message


class Message(msgspec.Struct, frozen=True):
    """A message of one event, or of several events that belong together."""

    topic: str
    events: list[dict[str, Any]]


class Packed(msgspec.Struct, frozen=True):
    """The encoded data of a message, with the number of its events."""

    topic: str
    data: bytes
    count: int


class Command(msgspec.Struct, frozen=True):
    """An internal command."""

    data: bytes

    @property
    def topic(self) -> str:
        """The topic of all commands."""
        return wakeups.TOPIC


def publish(
    messages: Sequence[Message | Packed | Command],
    *,
    project: str,
    emulator: str,
    on_published: Callable[[int], None],
) -> int:
    """Publish each message; return the number of events and commands.

    Return once Pub/Sub has stored all messages. After each message, `on_published` receives the
    number of events and commands stored so far. Raise PubSubUnavailable if Pub/Sub does not accept
    a message, and SerializationError if a message is too large.
    """
    from google.api_core.exceptions import GoogleAPIError  # takes 400 ms
    from google.cloud.pubsub_v1.publisher.exceptions import MessageTooLargeError

    publisher, count = _publisher(emulator), 0
    try:
        for message, published in _start_publishing(publisher, project, messages):
            published.result(timeout=_TIMEOUT_S)
            count += _count(message)
            on_published(count)
    except (GoogleAPIError, TimeoutError) as error:
        raise PubSubUnavailable(
            f"Pub/Sub at {emulator} does not accept messages: {error}"
        ) from None
    except MessageTooLargeError as error:
        raise SerializationError(f"a message is over Pub/Sub's limit: {error}") from None
    finally:
        publisher.stop()
    return count


def _start_publishing(
    publisher: "PublisherClient", project: str, messages: Sequence[Message | Packed | Command]
) -> "list[tuple[Message | Packed | Command, Future]]":
    """Start to publish every message; return each message with its Future."""
    from google.api_core.retry import Retry

    retry = Retry(timeout=_TIMEOUT_S)
    started = []
    for message in messages:
        attributes = wakeups.publish_attributes(message.topic)
        with tracing.start_span(f"publish {message.topic}", None, "producer", attributes):
            trace = tracing.message_attributes()
            topic = _topic(project, message)
            future = publisher.publish(topic, encode(message), retry=retry, **trace)
            started.append((message, future))
    return started


def encode(message: Message | Packed | Command) -> bytes:
    """Return a message's data; encode the events of a `Message` as a JSON array."""
    if isinstance(message, Message):
        return msgspec.json.encode(message.events)
    return message.data


def _count(message: Message | Packed | Command) -> int:
    if isinstance(message, Message):
        return len(message.events)
    return message.count if isinstance(message, Packed) else 1


def _publisher(emulator: str) -> "PublisherClient":
    import grpc
    from google.cloud.pubsub_v1 import PublisherClient
    from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

    return PublisherClient(
        transport=PublisherGrpcTransport(channel=grpc.insecure_channel(emulator))
    )


def _topic(project: str, message: Message | Packed | Command) -> str:
    return f"projects/{project}/topics/{message.topic}"
