"""Google's generated clients of Pub/Sub and Cloud Monitoring: each call is sent at once.

The clients of google.cloud.pubsub_v1 would send messages in the background. An instance gets no CPU
between requests, so these messages would be delayed. Each call passes `retry=None`, because the
libraries' default is to retry for minutes, whatever the timeout.
"""

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from progress.errors import PubSubUnavailable

if TYPE_CHECKING:
    import grpc

# By default, gRPC waits up to two minutes before it connects again.
_OPTIONS = [("grpc.max_reconnect_backoff_ms", 5_000)]

_lock = threading.Lock()


def find(client: Any, emulator: str | None) -> Any:
    """Return this process's client of a class; a channel does not survive a fork.

    `emulator` is an address, None means Google Cloud. It may replace Cloud Monitoring, too.
    """
    with _lock:
        return _create(client, emulator, os.getpid())


def publish(
    topic: str, messages: list[dict[str, Any]], *, emulator: str | None, timeout_s: float
) -> None:
    """Publish the messages, which have `data` and `attributes`, with one call.

    Raise PubSubUnavailable if it fails or takes longer than the time limit.
    """
    from google.pubsub_v1 import PublisherClient  # takes 200 ms

    with translate_errors():
        request = {"topic": topic, "messages": messages}
        find(PublisherClient, emulator).publish(request, retry=None, timeout=timeout_s)


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Raise PubSubUnavailable if a call fails or there are no credentials.

    The cause of the PubSubUnavailable is the library's error.
    """
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except GoogleAPICallError as error:
        name = error.grpc_status_code.name if error.grpc_status_code else "UNKNOWN"
        raise PubSubUnavailable(f"{name}: {error.message}") from error
    except GoogleAuthError as error:
        why = f"no credentials: {error}; run `gcloud auth login --update-adc`"
        raise PubSubUnavailable(why) from error


@functools.cache
def _create(client: Any, emulator: str | None, _process: int) -> Any:
    import grpc

    transport = client.get_transport_class("grpc")
    channel = functools.partial(_open_channel, transport)
    if emulator:
        channel = grpc.insecure_channel(emulator, _OPTIONS)
    return client(transport=transport(channel=channel))


def _open_channel(
    transport: Any, *address: str, options: Any, **credentials: Any
) -> "grpc.Channel":
    """Open a channel to Google as the library would, with the options added."""
    return transport.create_channel(*address, options=[*options, *_OPTIONS], **credentials)
