"""Wake-ups: messages on `progress-commands`.

Each wake-up names a shard with new events, or an operation to run.

Under `progress serve`, they are calls of the project function instead, with the body of a push.

A lost wake-up only adds latency, because a sweep finds the shard or the operation: that of the
batch job, or each second the supervisor's. After a failure of Pub/Sub, no wake-up is sent for five
seconds, so that requests do not wait for Pub/Sub. Then a thread sends what was kept. An instance on
Cloud Run that has no request meanwhile has no CPU either: there the thread goes on with the next
request, and an instance that ends leaves it to the sweep.
"""

import functools
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

import msgspec

from progress import settings
from progress.adapters.pubsub import clients, loopback
from progress.adapters.telemetry import logs, tracing
from progress.adapters.telemetry.spans import Attributes
from progress.errors import PubSubUnavailable

TOPIC = "progress-commands"
_TIMEOUT_S = 2.0
_PAUSE_S = 5.0  # after a failure
_COMMAND_TIMEOUT_S = 20.0  # of a command of `progress`, which first opens the connection
_EVENT_DELAY = "event_delay_ms"
_SPAN = {
    "messaging.system": "gcp_pubsub",
    "messaging.operation.name": "publish",
    "messaging.operation.type": "send",
    "messaging.destination.name": TOPIC,
}


class Outage:
    """The end of the pause after a failure, and the commands that were not sent."""

    def __init__(self) -> None:
        self._ends_at = 0.0
        self._commands: set[bytes] = set()
        self._mutex = threading.Lock()

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._ends_at

    def begin(self) -> None:
        self._ends_at = time.monotonic() + _PAUSE_S

    def keep(self, commands: Iterable[bytes]) -> None:
        """Keep the commands until others are sent, or until the pause is over."""
        with self._mutex:
            is_first = not self._commands
            self._commands.update(commands)
        if is_first and self._commands:
            seconds = max(0, self._ends_at - time.monotonic())
            timer = threading.Timer(seconds, lambda: _send(self.take()))
            timer.daemon = True  # a process that ends leaves its commands to the sweep
            timer.start()

    def take(self) -> set[bytes]:
        with self._mutex:
            commands, self._commands = self._commands, set()
        return commands


@functools.cache
def outage() -> Outage:
    """Return the Outage that all threads of this process share."""
    return Outage()


def send(shards: Iterable[int], event_delay_ms: int = 0) -> bool:
    """Wake a worker for each shard, now or after the pause; return whether Pub/Sub has it now.

    An attribute tells the projection how long ago the events were published when they were
    recorded.
    """
    return _send([wake_command(shard) for shard in shards], event_delay_ms)


def read_event_delay(attributes: Mapping[str, str]) -> int:
    """Return the milliseconds from publication to record, or 0 if a wake-up does not state them."""
    text = attributes.get(_EVENT_DELAY, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else 0


def send_operations(operation_ids: Iterable[UUID]) -> bool:
    """Wake a worker for each operation, as `send` does for each shard."""
    return _send([operation_command(each) for each in operation_ids])


def publish(operation_ids: Iterable[UUID], shards: Iterable[int]) -> None:
    """Wake a worker for each operation and each shard; raise PubSubUnavailable if that fails."""
    commands = [operation_command(each) for each in operation_ids]
    commands += [wake_command(each) for each in shards]
    _publish(commands, _COMMAND_TIMEOUT_S)


def wake_command(shard: int) -> bytes:
    return b'{"command":"wake","shard":%d}' % shard


def operation_command(operation_id: UUID) -> bytes:
    return b'{"command":"operation","id":"%s"}' % str(operation_id).encode()


def push_body(command: bytes, attributes: Mapping[str, str]) -> bytes:
    """Return the body of the push of a command, as far as the project function reads it."""
    return msgspec.json.encode({"message": {"data": command, "attributes": attributes}})


def publish_attributes(topic: str) -> Attributes:
    """Return the attributes of a span that publishes to a topic."""
    return {**_SPAN, "messaging.destination.name": topic}


def _send(commands: Collection[bytes], event_delay_ms: int = 0) -> bool:
    """Send these commands and the kept ones. If Pub/Sub fails, log it, and keep all of them.

    During the pause after a failure, only keep them. On one machine, keep none.
    """
    if outage().is_over:
        commands = [*commands, *outage().take().difference(commands)]
        with tracing.child_span(f"publish {TOPIC}", "producer", _SPAN) as span:
            try:
                _publish(commands, _TIMEOUT_S, **{_EVENT_DELAY: f"{event_delay_ms}"})
                return True
            except PubSubUnavailable as error:
                span.record_error(f"{error}")
                logs.write("WARNING", f"wake-up not sent: {error}")
        if settings.current().serve_commands_url:
            return False
        outage().begin()
    outage().keep(commands)
    return False


def _publish(commands: Collection[bytes], timeout_s: float, **attributes: str) -> None:
    current, attributes = settings.current(), {**tracing.message_attributes(), **attributes}
    if url := current.serve_commands_url:
        for command in commands:
            body = push_body(command, attributes)
            loopback.send(url, body, current.serve_key or "", timeout_s=timeout_s)
    elif commands:
        topic = f"projects/{current.pubsub_project_id}/topics/{TOPIC}"
        messages = [{"data": command, "attributes": attributes} for command in commands]
        emulator = current.pubsub_emulator_host
        clients.publish(topic, messages, emulator=emulator, timeout_s=timeout_s)
