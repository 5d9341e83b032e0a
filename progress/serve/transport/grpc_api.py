"""The calls of Pub/Sub's gRPC services that programs with Google's client need under `up`."""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types
from msgspec.structs import replace

from progress.serve.transport.broker import AlreadyExists, Broker, NotFound
from progress.serve.transport.queue import Subscription

Call = Callable[[Broker, Any], Coroutine[Any, Any, Any]]

_MAX_CALL_BYTES = 16 * 2**20  # more than Pub/Sub itself, which accepts 10 MB
_NO_PULL = (
    "nothing is pulled on this machine: name a push_endpoint in the subscription, as "
    "examples/README.md does for milestones.py, or use Google's emulator"
)

# The raw protocol buffer types: the library's wrappers of these types are ten times slower.
_Topic, _PublishResponse = types.Topic.pb(), types.PublishResponse.pb()
_Definition = types.Subscription.pb()


class _Unimplemented(Exception):
    """The caller gets UNIMPLEMENTED."""


def make_server(broker: Broker, address: str) -> grpc.aio.Server:
    """Return a server that listens at this address once it is started."""
    server = grpc.aio.server(
        options=[("grpc.max_receive_message_length", _MAX_CALL_BYTES), ("grpc.so_reuseport", 0)]
    )
    for service, calls in _SERVICES.items():
        handlers = {name: _handler(broker, *call) for name, call in calls.items()}
        if service == "Subscriber":
            handlers["StreamingPull"] = grpc.stream_stream_rpc_method_handler(_refuse_stream)
        name = f"google.pubsub.v1.{service}"
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, handlers)])
    server.add_insecure_port(address)
    return server


async def create_topic(broker: Broker, request: Any) -> Any:
    await broker.create_topic(request.name)
    return request


async def get_topic(broker: Broker, request: Any) -> Any:
    return _Topic(name=broker.topic(request.topic))


async def publish(broker: Broker, request: Any) -> Any:
    if not all(message.data or message.attributes for message in request.messages):
        raise ValueError("a message needs data or an attribute")
    if len({message.ordering_key for message in request.messages}) > 1:
        raise ValueError("all messages of a request must have the same ordering key, or none")
    published = [(m.data, dict(m.attributes), m.ordering_key) for m in request.messages]
    return _PublishResponse(message_ids=await broker.publish(request.topic, published))


async def create_subscription(broker: Broker, request: Any) -> Any:
    if not request.push_config.push_endpoint:
        raise _Unimplemented
    await broker.create_subscription(read(request))
    return request


def read(definition: Any) -> Subscription:
    token, letters = definition.push_config.oidc_token, definition.dead_letter_policy
    own = Subscription(
        name=definition.name,
        topic=definition.topic,
        endpoint=definition.push_config.push_endpoint,
        account=token.service_account_email,
        audience=token.audience,
        deadline_s=definition.ack_deadline_seconds or 10,
        max_attempts=letters.max_delivery_attempts or 100,
        dead_letter_topic=letters.dead_letter_topic,
    )
    if not definition.HasField("retry_policy"):
        return own
    retry = definition.retry_policy
    pauses = (retry.minimum_backoff.ToTimedelta(), retry.maximum_backoff.ToTimedelta())
    shortest, longest = (max(each, timedelta(milliseconds=1)).total_seconds() for each in pauses)
    return replace(own, min_backoff_s=shortest, max_backoff_s=longest)


async def get_subscription(broker: Broker, request: Any) -> Any:
    found = broker.subscription(request.subscription)
    answer = _Definition(name=found.name, topic=found.topic)
    answer.ack_deadline_seconds = int(found.deadline_s)
    answer.push_config.push_endpoint = found.endpoint
    answer.push_config.oidc_token.service_account_email = found.account
    answer.push_config.oidc_token.audience = found.audience
    return answer


async def delete_subscription(broker: Broker, request: Any) -> Any:
    await broker.delete_subscription(request.subscription)
    return Empty()


async def pull(_broker: Broker, _request: Any) -> NoReturn:
    raise _Unimplemented


async def _refuse_stream(_requests: Any, context: Any) -> Any:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, _NO_PULL)
    yield b""  # an asynchronous generator, as gRPC expects of a stream


_SERVICES: dict[str, dict[str, tuple[Call, Any]]] = {
    "Publisher": {
        "CreateTopic": (create_topic, types.Topic),
        "GetTopic": (get_topic, types.GetTopicRequest),
        "Publish": (publish, types.PublishRequest),
    },
    "Subscriber": {
        "CreateSubscription": (create_subscription, types.Subscription),
        "GetSubscription": (get_subscription, types.GetSubscriptionRequest),
        "DeleteSubscription": (delete_subscription, types.DeleteSubscriptionRequest),
        "Pull": (pull, types.PullRequest),
    },
}


def _handler(broker: Broker, call: Call, request: Any) -> grpc.RpcMethodHandler:
    async def respond(message: Any, context: Any) -> Any:
        try:
            return await call(broker, message)
        except NotFound as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except AlreadyExists as error:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, str(error))
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except _Unimplemented:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, _NO_PULL)

    return grpc.unary_unary_rpc_method_handler(
        respond,
        request_deserializer=request.pb().FromString,
        response_serializer=lambda message: bytes(message.SerializeToString()),
    )
