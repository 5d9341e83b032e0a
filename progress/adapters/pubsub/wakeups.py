"""Wake-ups: messages on `progress-commands`.

Each wake-up names a shard with new events, or an operation to run.

A lost wake-up only adds latency, because the scheduled sweep finds the shard or the operation.
After a failure, no wake-up is sent for five seconds, so that requests do not wait for Pub/Sub.
"""

import functools
import threading
import time
from collections.abc import Iterable, Mapping
from uuid import UUID

import msgspec

from progress import settings
from progress.adapters.pubsub import clients
from progress.adapters.telemetry import logs, tracing
from progress.adapters.telemetry.spans import Attributes
from progress.errors import PubSubUnavailable

TOPIC = "progress-commands"
_TIMEOUT_S = 2.0
_PAUSE_S = 5.0  # after a failure
_COMMAND_TIMEOUT_S = 20.0  # of a command of `progress`, which first opens the connection
_EVENT_DELAY = "event_delay_ms"


class Outage:
    """The end of the pause after a failure, and the shards whose wake-ups were not sent."""

    def __init__(self) -> None:
        self._ends_at = 0.0
        self._shards: set[int] = set()
        self._mutex = threading.Lock()

    @property
    def is_over(self) -> bool:
        """Return True if no pause is in progress."""
        return time.monotonic() >= self._ends_at

    def begin(self) -> None:
        self._ends_at = time.monotonic() + _PAUSE_S

    def keep(self, shards: Iterable[int]) -> None:
        """Keep the shards until wake-ups are sent again."""
        with self._mutex:
            self._shards.update(shards)

    def take(self) -> set[int]:
        """Return the kept shards and forget them."""
        with self._mutex:
            shards, self._shards = self._shards, set()
        return shards


@functools.cache
def outage() -> Outage:
    """Return the Outage that all threads of this process share."""
    return Outage()


def send(shards: Iterable[int], event_delay_ms: int = 0) -> bool:
    """Send wake-ups for these shards and for the shards kept after an earlier failure.

    An attribute tells the projection how long ago the events were published when they were
    recorded.

    If Pub/Sub does not accept the wake-ups, write a log line, keep the shards for the next call of
    this function and return False. During the pause after a failure, only keep the shards and
    return False.
    """
    wanted = [*shards]
    if outage().is_over:
        wanted += sorted(outage().take().difference(wanted))
        commands = [wake_command(shard) for shard in wanted]
        if _send(commands, **{_EVENT_DELAY: str(event_delay_ms)}):
            return True
    outage().keep(wanted)
    return False


def read_event_delay(attributes: Mapping[str, str]) -> int:
    """Return the milliseconds from publication to record, or 0 if a wake-up does not state them."""
    text = attributes.get(_EVENT_DELAY, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else 0


def send_operations(operation_ids: Iterable[UUID]) -> bool:
    """Wake a worker for each operation; if that fails, write a log line and return False.

    During the pause after a failure, do not send anything, but write a log line and return False.
    The sweep finds operations whose wake-up was not sent.
    """
    commands = [operation_command(each) for each in operation_ids]
    if commands and not outage().is_over:
        logs.write("WARNING", "wake-up not sent: Pub/Sub failed less than 5 s ago")
        return False
    return _send(commands)


def publish(
    operation_ids: Iterable[UUID], shards: Iterable[int], project: str, emulator: str | None
) -> None:
    """Wake a worker for each operation and each shard; raise PubSubUnavailable if that fails."""
    commands = [operation_command(each) for each in operation_ids]
    commands += [wake_command(each) for each in shards]
    _publish(commands, project, emulator, _COMMAND_TIMEOUT_S)


def wake_command(shard: int) -> bytes:
    """Encode the command that wakes a worker for a shard."""
    return b'{"command":"wake","shard":%d}' % shard


def operation_command(operation_id: UUID) -> bytes:
    """Encode the command that wakes a worker for an operation."""
    return b'{"command":"operation","id":"%s"}' % str(operation_id).encode()


def publish_attributes(topic: str) -> Attributes:
    """Return the attributes of a span that publishes to a topic."""
    return {
        "messaging.system": "gcp_pubsub",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
    }


def _send(commands: list[bytes], **attributes: str) -> bool:
    if not commands:
        return True
    with tracing.child_span(f"publish {TOPIC}", "producer", publish_attributes(TOPIC)) as span:
        current = settings.current()
        project, emulator = current.pubsub_project_id, current.pubsub_emulator_host
        try:
            _publish(commands, project, emulator, _TIMEOUT_S, **attributes)
        except PubSubUnavailable as error:
            outage().begin()
            span.record_error(f"{error}")
            logs.write("WARNING", f"wake-up not sent: {error}")
            return False
    return True


def _publish(
    commands: list[bytes], project: str, emulator: str | None, timeout_s: float, **attributes: str
) -> None:
    attributes = {**tracing.message_attributes(), **attributes}
    if not commands:
        return
    messages = [{"data": command, "attributes": attributes} for command in commands]
    target = {"pubsub_project_id": project, "pubsub_emulator_host": emulator}
    current = msgspec.structs.replace(settings.current(), **target)
    clients.publish_own(TOPIC, messages, current, timeout_s=timeout_s)
