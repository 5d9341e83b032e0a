"""A fake Pub/Sub with one subscription that is pulled."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

from tests.support.fake_publisher import describe, serve_grpc

SUBSCRIPTION = "changes"


class _Pulled:
    """The messages; those that are pulled stay until they are acknowledged."""

    def __init__(self) -> None:
        self._waiting: list[str] = []
        self._messages: dict[str, Any] = {}
        self._changed = threading.Condition()

    def publish(self, request: Any, _context: Any) -> Any:
        with self._changed:
            new = {str(len(self._messages) + n): m for n, m in enumerate(request.messages)}
            self._messages |= new
            self._waiting += new
            self._changed.notify_all()
        return types.PublishResponse(message_ids=[*new])

    def pull(self, request: Any, context: Any) -> Any:
        if not request.subscription.endswith(f"/{SUBSCRIPTION}"):
            context.abort(grpc.StatusCode.NOT_FOUND, "no such subscription")
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting), timeout=context.time_remaining())
            # A client that has given up would lose the messages that others have given back since.
            most = request.max_messages if context.is_active() else 0
            ids, self._waiting = self._waiting[:most], self._waiting[most:]
            return types.PullResponse(
                received_messages=[{"ack_id": id_, "message": self._messages[id_]} for id_ in ids]
            )

    def acknowledge(self, _request: Any, _context: Any) -> Any:
        return Empty()  # what is pulled does not wait any more

    def give_back(self, request: Any, _context: Any) -> Any:
        with self._changed:
            self._waiting = [*request.ack_ids, *self._waiting]
        return Empty()


@contextmanager
def serve() -> Iterator[str]:
    fake = _Pulled()
    publisher = describe("google.pubsub.v1.Publisher", types, Publish=fake.publish)
    subscriber = describe(
        "google.pubsub.v1.Subscriber",
        types,
        Pull=fake.pull,
        Acknowledge=fake.acknowledge,
        ModifyAckDeadline=fake.give_back,
    )
    with serve_grpc(publisher, subscriber) as address:
        yield address
