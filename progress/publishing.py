"""Messages to Pub/Sub, as the local stack has it: an emulator, or the stand-in."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from progress.errors import Unavailable

if TYPE_CHECKING:
    from google.cloud.pubsub_v1 import PublisherClient

_SECONDS = 60.0  # until a message counts as refused


class Message(msgspec.Struct, frozen=True):
    """What goes out at once: one event, or several that belong together."""

    topic: str
    events: list[dict[str, Any]]


def publish(
    messages: Iterable[Message],
    *,
    project: str,
    emulator: str,
    on_published: Callable[[int], None],
) -> int:
    """Publish each message as the JSON of its events; how many events that were.

    Returns once Pub/Sub holds all of them; `on_published` is told how many events it
    holds so far.
    Unavailable if Pub/Sub does not take one.
    """
    from google.api_core.exceptions import GoogleAPIError  # 400 ms: only where it is used
    from google.api_core.retry import Retry

    publisher = _publisher(emulator)
    patience = Retry(timeout=_SECONDS)
    sent = [
        (message, publisher.publish(_topic(project, message), body(message), retry=patience))
        for message in messages
    ]
    count = 0
    try:
        for message, published in sent:
            published.result(timeout=_SECONDS)
            count += len(message.events)
            on_published(count)
    except (GoogleAPIError, TimeoutError) as fault:
        raise Unavailable(f"Pub/Sub at {emulator} does not take messages: {fault}") from None
    finally:
        publisher.stop()
    return count


def body(message: Message) -> bytes:
    """What is published: a JSON array of the message's events."""
    return msgspec.json.encode(message.events)


def _publisher(emulator: str) -> "PublisherClient":
    import grpc
    from google.cloud.pubsub_v1 import PublisherClient
    from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

    return PublisherClient(
        transport=PublisherGrpcTransport(channel=grpc.insecure_channel(emulator))
    )


def _topic(project: str, message: Message) -> str:
    return f"projects/{project}/topics/{message.topic}"
