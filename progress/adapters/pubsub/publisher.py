"""Messages to Pub/Sub, as the local stack has it: an emulator, or the stand-in."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from progress.adapters.pubsub import wakeups
from progress.adapters.telemetry import tracing
from progress.errors import SerializationError, Unavailable

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
}

_SECONDS = 60.0  # until a message counts as refused


class Message(msgspec.Struct, frozen=True):
    """What goes out at once: one event, or several that belong together."""

    topic: str
    events: list[dict[str, Any]]


class Line(msgspec.Struct, frozen=True):
    """An envelope, or an array of them, as somebody wrote it: it may be none at all."""

    data: bytes

    @property
    def topic(self) -> str:
        """The topic of its type, of the first where there are several."""
        try:
            read = msgspec.json.decode(self.data, type=_Typed | list[_Typed])
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return LEARNING
        first = read if isinstance(read, _Typed) else next(iter(read), _Typed())
        tagged = first.data.get("type") if isinstance(first.data, dict) else None
        return TOPICS.get(str(first.event_type or tagged), LEARNING)


class Command(msgspec.Struct, frozen=True):
    """An internal command."""

    data: bytes

    @property
    def topic(self) -> str:
        """That of all commands."""
        return wakeups.TOPIC


class _Typed(msgspec.Struct, frozen=True):
    event_type: Any = None
    data: Any = None


def publish(
    messages: Sequence[Message | Line | Command],
    *,
    project: str,
    emulator: str,
    on_published: Callable[[int], None],
) -> int:
    """Publish each message as the JSON of its events; how many events (or lines) that were.

    Returns once Pub/Sub holds all of them; `on_published` is told how many it holds so far.
    Unavailable if Pub/Sub does not take one, SerializationError if it is too large for it.
    """
    from google.api_core.exceptions import GoogleAPIError  # 400 ms: only where it is used
    from google.cloud.pubsub_v1.publisher.exceptions import MessageTooLargeError

    publisher, count = _publisher(emulator), 0
    try:
        for message, published in _sent(publisher, project, messages):
            published.result(timeout=_SECONDS)
            count += len(message.events) if isinstance(message, Message) else 1
            on_published(count)
    except (GoogleAPIError, TimeoutError) as fault:
        raise Unavailable(f"Pub/Sub at {emulator} does not take messages: {fault}") from None
    except MessageTooLargeError as fault:
        raise SerializationError(f"a message is over Pub/Sub's limit: {fault}") from None
    finally:
        publisher.stop()
    return count


def _sent(
    publisher: "PublisherClient", project: str, messages: Sequence[Message | Line | Command]
) -> "list[tuple[Message | Line | Command, Future]]":
    """Every message on its way, with what tells when Pub/Sub holds it."""
    from google.api_core.retry import Retry

    patience = Retry(timeout=_SECONDS)
    sent = []
    for message in messages:
        told = wakeups.published(message.topic)
        with tracing.begun(f"publish {message.topic}", None, "producer", told):
            trace = tracing.attributes()
            topic = _topic(project, message)
            sent.append((message, publisher.publish(topic, body(message), retry=patience, **trace)))
    return sent


def body(message: Message | Line | Command) -> bytes:
    """What is published: a JSON array of the message's events, or the line as it is."""
    if isinstance(message, Message):
        return msgspec.json.encode(message.events)
    return message.data


def _publisher(emulator: str) -> "PublisherClient":
    import grpc
    from google.cloud.pubsub_v1 import PublisherClient
    from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

    return PublisherClient(
        transport=PublisherGrpcTransport(channel=grpc.insecure_channel(emulator))
    )


def _topic(project: str, message: Message | Line | Command) -> str:
    return f"projects/{project}/topics/{message.topic}"
