"""A fake Pub/Sub that stores published messages; a fake Monitoring."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google import pubsub_v1
from google.cloud.monitoring_v3 import types
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1.types import PublishRequest, PublishResponse, PubsubMessage, PullResponse

from progress.adapters.pubsub import wakeups
from progress.event_store import publication
from tests.support.tls_certificates import Certificate


class FakePublisher:
    """A gRPC server that stores published messages.

    Like Google's, it refuses a request with several ordering keys, or with more than 1,000
    messages. A callback that raises ConnectionError makes the request fail, before or after its
    messages are stored. Those that are pulled, from one subscription, no longer wait, unless they
    are given back.
    """

    SUBSCRIPTION = "changes"

    def __init__(self, certificate: Certificate | None = None) -> None:
        self.requests: list[PublishRequest] = []
        self.tokens: list[str] = []  # the header Authorization of each request that has one
        self.times: list[datetime] = []  # the arrival of each stored request
        self.is_down = False
        self.on_request: Callable[[PublishRequest], None] = lambda _request: None
        self.on_stored: Callable[[PublishRequest], None] = lambda _request: None
        self.attempts = 0  # the number of requests, including failed ones
        self._stored = threading.Condition()
        self._waiting: list[PubsubMessage] = []
        self._pulled: dict[str, PubsubMessage] = {}
        publisher = describe("google.pubsub.v1.Publisher", pubsub_v1.types, Publish=self._publish)
        subscriber = describe(
            "google.pubsub.v1.Subscriber",
            pubsub_v1.types,
            Pull=self._pull,
            Acknowledge=lambda _request, _context: Empty(),
            ModifyAckDeadline=self._give_back,
        )
        serving = serve_grpc(publisher, subscriber, certificate=certificate)
        self._serving = ExitStack()
        self.address = self._serving.enter_context(serving)
        self.close = self._serving.close

    def _publish(self, request: PublishRequest, context: grpc.ServicerContext) -> PublishResponse:
        self.tokens += [
            value for name, value in context.invocation_metadata() if name == "authorization"
        ]
        if len({message.ordering_key for message in request.messages}) > 1:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "several ordering keys")
        if len(request.messages) > 1_000:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "more than 1000 messages")
        try:
            self.accept(request)
        except ConnectionError as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error) or "the connection broke")
        return PublishResponse(message_ids=["1"] * len(request.messages))

    def _pull(self, request: Any, context: grpc.ServicerContext) -> PullResponse:
        if not request.subscription.endswith(f"/{self.SUBSCRIPTION}"):
            context.abort(grpc.StatusCode.NOT_FOUND, "no such subscription")
        with self._stored:
            self._stored.wait_for(lambda: bool(self._waiting), timeout=context.time_remaining())
            # A client that has given up would lose the messages that others have given back since.
            most = request.max_messages if context.is_active() else 0
            taken, self._waiting = self._waiting[:most], self._waiting[most:]
            pulled = {str(len(self._pulled) + n): message for n, message in enumerate(taken)}
            self._pulled |= pulled
        received = [{"ack_id": ack_id, "message": message} for ack_id, message in pulled.items()]
        return PullResponse(received_messages=received)

    def _give_back(self, request: Any, _context: grpc.ServicerContext) -> Empty:
        with self._stored:
            self._waiting = [*map(self._pulled.__getitem__, request.ack_ids), *self._waiting]
            self._stored.notify_all()
        return Empty()

    def accept(self, request: PublishRequest) -> None:
        self.attempts += 1
        if self.is_down:
            raise ConnectionError("down")
        self.on_request(request)
        with self._stored:
            self.times.append(datetime.now(UTC))
            self.requests.append(request)
            self._waiting += request.messages
            self._stored.notify_all()
        self.on_stored(request)

    def shards(self) -> list[int]:
        return [command["shard"] for command in self.commands()]

    def commands(self) -> list[dict[str, Any]]:
        return [json.loads(message.data) for message in self.messages(wakeups.TOPIC)]

    def messages(self, topic: str) -> list[PubsubMessage]:
        requests = [r for r in self.requests if r.topic.endswith(f"/topics/{topic}")]
        return [message for request in requests for message in request.messages]


def forget_outages() -> None:
    """Send the next message without a pause; the thread of a pause has nothing left to send.

    Otherwise it would read the settings of a later test, before that test has set them.
    """
    wakeups.outage().take()
    wakeups.outage.cache_clear()
    publication.outage.cache_clear()


@pytest.fixture
def fake_publisher() -> Iterator[FakePublisher]:
    server = FakePublisher()
    with pytest.MonkeyPatch.context() as patch:
        # On a busy machine, a connection may take longer than 2 s, and its failure begins a pause.
        patch.setattr(wakeups, "_TIMEOUT_S", 60.0)
        yield server
    server.close()


@contextmanager
def serve_monitoring(series: dict[str, list[int]], requests: list[Any]) -> Iterator[str]:
    def respond(request: Any, _context: Any) -> Any:
        requests.append(request)
        return types.ListTimeSeriesResponse(
            time_series=[_series(*measured) for measured in series.items()]
        )

    service = describe("google.monitoring.v3.MetricService", types, ListTimeSeries=respond)
    with serve_grpc(service) as address:
        yield address


def describe(service: str, types: Any, **methods: Callable[[Any, Any], Any]) -> Any:
    def serialize(response: Any) -> bytes:
        made: bytes = getattr(response, "_pb", response).SerializeToString()
        return made

    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            method,
            request_deserializer=getattr(types, f"{name}Request").deserialize,
            response_serializer=serialize,
        )
        for name, method in methods.items()
    }
    return grpc.method_handlers_generic_handler(service, handlers)


@contextmanager
def serve_grpc(
    *handlers: grpc.GenericRpcHandler, certificate: Certificate | None = None
) -> Iterator[str]:
    server, address = grpc.server(ThreadPoolExecutor(2)), "127.0.0.1:0"
    server.add_generic_rpc_handlers(handlers)
    if certificate:
        pair = (certificate.key.read_bytes(), certificate.chain.read_bytes())
        port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    else:
        port = server.add_insecure_port(address)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def _series(subscription: str, measurements: list[int]) -> Any:
    labels = {"project_id": "p", "subscription_id": subscription}
    now = {"end_time": datetime.now(UTC)}
    return types.TimeSeries(
        resource={"type": "pubsub_subscription", "labels": labels},
        points=[{"interval": now, "value": {"int64_value": number}} for number in measurements],
    )
