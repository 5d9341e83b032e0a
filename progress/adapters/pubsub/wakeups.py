"""Wake-ups: one message on `progress-commands` for each shard that grew, each operation to be done.

A wake-up that is lost costs latency alone: the scheduled sweep finds its shard, or its operation.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

from progress import settings
from progress.adapters.pubsub import grpc_api
from progress.adapters.telemetry import logs, tracing
from progress.adapters.telemetry.spans import Attributes
from progress.errors import Unavailable

TOPIC = "progress-commands"
_METHOD = "/google.pubsub.v1.Publisher/Publish"
_SECONDS = 2.0


def send(shards: Iterable[int]) -> bool:
    """Wake the projection of these shards; False, and a line in the log, if that failed."""
    return _send([b'{"command":"wake","shard":%d}' % shard for shard in shards])


def send_operations(operation_ids: Iterable[UUID]) -> bool:
    """Call a worker to each of these operations; False, and a line in the log, if that failed.

    The attribute keeps them from a revision that is being tried out: it only folds.
    """
    return _send([command(each) for each in operation_ids], command="operation")


def published(topic: str) -> Attributes:
    """What the span of whoever publishes there tells."""
    return {
        "messaging.system": "gcp_pubsub",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
    }


def command(operation_id: UUID) -> bytes:
    """What calls a worker to the operation."""
    return b'{"command":"operation","id":"%s"}' % str(operation_id).encode()


def _send(commands: list[bytes], **attributes: str) -> bool:
    if not commands:
        return True
    import grpc  # 40 ms: with the first wake-up, not with the start

    topic = f"projects/{settings.current().pubsub_project_id}/topics/{TOPIC}"
    with tracing.span(f"publish {TOPIC}", "producer", published(TOPIC)) as span:
        told = {**tracing.attributes(), **attributes}
        messages = [_message(command, told) for command in commands]
        request = grpc_api.field(1, topic.encode()) + b"".join(messages)
        try:
            publisher()(request, timeout=_SECONDS)
        except (grpc.RpcError, Unavailable) as fault:
            code = fault.code() if isinstance(fault, grpc.Call) else fault
            span.fail(f"{code}")
            logs.write("WARNING", f"wake-up not sent: {code}")
            return False
    return True


@functools.cache
def publisher() -> Callable[..., bytes]:
    """Made at first use, so after any fork."""
    publish: Callable[..., bytes] = grpc_api.channel().unary_unary(_METHOD)
    return publish


def _message(data: bytes, attributes: Mapping[str, str]) -> bytes:
    """A PubsubMessage in its place in a PublishRequest: data = 1, attributes = 2."""
    told = b"".join(
        grpc_api.field(2, grpc_api.field(1, name.encode()) + grpc_api.field(2, value.encode()))
        for name, value in attributes.items()
    )
    return grpc_api.field(2, grpc_api.field(1, data) + told)
