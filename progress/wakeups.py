"""Wake-ups: one message on `progress-commands` for each shard that grew, each operation to be done.

Published by a bare gRPC call: the client library takes 200 ms to import and batches in the
background, where an instance gets no CPU between requests. A wake-up that is lost costs latency
alone: the scheduled sweep finds its shard, or its operation.
"""

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from progress import logs, settings
from progress.errors import Unavailable

if TYPE_CHECKING:
    import grpc

TOPIC = "progress-commands"
_METHOD = "/google.pubsub.v1.Publisher/Publish"
_SECONDS = 2.0


def send(shards: Iterable[int], trace_parent: str | None = None) -> bool:
    """Wake the projection of these shards; False, and a line in the log, if that failed."""
    return _send([b'{"command":"wake","shard":%d}' % shard for shard in shards], trace_parent)


def send_operations(operation_ids: Iterable[UUID]) -> bool:
    """Call a worker to each of these operations; False, and a line in the log, if that failed."""
    return _send([command(each) for each in operation_ids])


def command(operation_id: UUID) -> bytes:
    """What calls a worker to the operation."""
    return b'{"command":"operation","id":"%s"}' % str(operation_id).encode()


def _send(commands: list[bytes], trace_parent: str | None = None) -> bool:
    messages = [_message(command, trace_parent) for command in commands]
    if not messages:
        return True
    import grpc  # 40 ms: with the first wake-up, not with the start

    topic = f"projects/{settings.current().pubsub_project_id}/topics/{TOPIC}"
    request = _field(1, topic.encode()) + b"".join(messages)
    try:
        publisher()(request, timeout=_SECONDS)
    except (grpc.RpcError, Unavailable) as fault:
        code = fault.code() if isinstance(fault, grpc.Call) else fault
        logs.write("WARNING", f"wake-up not sent: {code}", trace_parent=trace_parent)
        return False
    return True


@functools.cache
def publisher() -> "Callable[..., bytes]":
    """Made at first use, so after any fork."""
    publish: Callable[..., bytes] = _channel().unary_unary(_METHOD)
    return publish


def _channel() -> "grpc.Channel":
    import grpc

    emulator = settings.current().pubsub_emulator_host
    if emulator:
        return grpc.insecure_channel(emulator)
    import google.auth
    import google.auth.transport.grpc
    import google.auth.transport.requests

    try:
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/pubsub"])
    except google.auth.exceptions.GoogleAuthError as fault:
        raise Unavailable(f"no credentials for Pub/Sub: {fault}") from fault
    channel: grpc.Channel = google.auth.transport.grpc.secure_authorized_channel(  # type: ignore[no-untyped-call]  # it ships no types
        credentials, google.auth.transport.requests.Request(), "pubsub.googleapis.com:443"
    )
    return channel


def _message(data: bytes, trace_parent: str | None) -> bytes:
    """A PubsubMessage in its place in a PublishRequest: data = 1, attributes = 2."""
    attributes = b""
    if trace_parent is not None:
        for name in (b"googclient_traceparent", b"traceparent"):
            attributes += _field(2, _field(1, name) + _field(2, trace_parent.encode()))
    return _field(2, _field(1, data) + attributes)


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field, as Protocol Buffers writes it."""
    length, rest = b"", len(value)
    while rest > 0x7F:
        length += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return bytes([number << 3 | 2]) + length + bytes([rest]) + value
