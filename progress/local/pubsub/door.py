"""The gRPC services Publisher and Subscriber, as far as the client library needs them."""

import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

from progress.local.pubsub.background import Background
from progress.local.pubsub.broker import AlreadyThere, Broker, NotThere
from progress.local.pubsub.deliveries import Deliveries, Delivery

Call = Callable[[Broker, Any], Coroutine[Any, Any, Any]]

_AT_ONCE = 1_000  # messages in one answer of a stream


async def create_topic(broker: Broker, request: Any) -> Any:
    await broker.create_topic(request.name)
    return request


async def get_topic(broker: Broker, request: Any) -> Any:
    return _Topic(name=broker.topic(request.topic))


async def list_topics(broker: Broker, request: Any) -> Any:
    return _ListTopics(topics=[_Topic(name=name) for name in broker.topics(request.project)])


async def delete_topic(broker: Broker, request: Any) -> Any:
    await broker.delete_topic(request.topic)
    return Empty()


async def publish(broker: Broker, request: Any) -> Any:
    if not all(message.data or message.attributes for message in request.messages):
        raise ValueError("a message needs data or an attribute")
    return _Published(message_ids=await broker.publish(request.topic, list(request.messages)))


async def create_subscription(broker: Broker, request: Any) -> Any:
    await broker.create_subscription(request)
    return request


async def get_subscription(broker: Broker, request: Any) -> Any:
    return broker.subscription(request.subscription).definition


async def list_subscriptions(broker: Broker, request: Any) -> Any:
    return _ListSubscriptions(subscriptions=broker.subscriptions(request.project))


async def delete_subscription(broker: Broker, request: Any) -> Any:
    await broker.delete_subscription(request.subscription)
    return Empty()


async def modify_push_config(broker: Broker, request: Any) -> Any:
    await broker.modify_push(request.subscription, request.push_config)
    return Empty()


async def pull(broker: Broker, request: Any) -> Any:
    deliveries = broker.subscription(request.subscription)
    taken = await deliveries.take(request.max_messages, wait=not request.return_immediately)
    return _Pulled(received_messages=_received(deliveries, taken))


async def acknowledge(broker: Broker, request: Any) -> Any:
    deliveries = broker.subscription(request.subscription)
    for ack_id in request.ack_ids:
        deliveries.acknowledge(ack_id)
    return Empty()


async def modify_ack_deadline(broker: Broker, request: Any) -> Any:
    deliveries = broker.subscription(request.subscription)
    for ack_id in request.ack_ids:
        deliveries.extend(ack_id, request.ack_deadline_seconds)
    return Empty()


async def streaming_pull(
    broker: Broker, requests: AsyncIterator[Any], context: Any
) -> AsyncIterator[Any]:
    """Messages as they come; the client acknowledges them by calls of their own."""
    first = await anext(requests)
    try:
        deliveries = broker.subscription(first.subscription)
    except NotThere as fault:
        await context.abort(grpc.StatusCode.NOT_FOUND, str(fault))
        return
    most = first.max_outstanding_messages or _AT_ONCE
    while not context.cancelled():
        if taken := await deliveries.take(min(most, _AT_ONCE), wait=True):
            yield _Streamed(received_messages=_received(deliveries, taken))


def _received(deliveries: Deliveries, taken: list[tuple[str, Delivery]]) -> list[Any]:
    counted = deliveries.definition.HasField("dead_letter_policy")
    return [
        _Received(
            ack_id=ack_id,
            message=delivery.message,
            delivery_attempt=delivery.attempts if counted else 0,
        )
        for ack_id, delivery in taken
    ]


_Topic = types.Topic.pb()
_ListTopics = types.ListTopicsResponse.pb()
_Published = types.PublishResponse.pb()
_ListSubscriptions = types.ListSubscriptionsResponse.pb()
_Pulled = types.PullResponse.pb()
_Streamed = types.StreamingPullResponse.pb()
_Received = types.ReceivedMessage.pb()

_PUBLISHER: dict[str, tuple[Call, Any]] = {
    "CreateTopic": (create_topic, types.Topic),
    "GetTopic": (get_topic, types.GetTopicRequest),
    "ListTopics": (list_topics, types.ListTopicsRequest),
    "DeleteTopic": (delete_topic, types.DeleteTopicRequest),
    "Publish": (publish, types.PublishRequest),
}
_SUBSCRIBER: dict[str, tuple[Call, Any]] = {
    "CreateSubscription": (create_subscription, types.Subscription),
    "GetSubscription": (get_subscription, types.GetSubscriptionRequest),
    "ListSubscriptions": (list_subscriptions, types.ListSubscriptionsRequest),
    "DeleteSubscription": (delete_subscription, types.DeleteSubscriptionRequest),
    "ModifyPushConfig": (modify_push_config, types.ModifyPushConfigRequest),
    "Pull": (pull, types.PullRequest),
    "Acknowledge": (acknowledge, types.AcknowledgeRequest),
    "ModifyAckDeadline": (modify_ack_deadline, types.ModifyAckDeadlineRequest),
}


def services(broker: Broker, background: Background) -> tuple[grpc.GenericRpcHandler, ...]:
    """The services, for a gRPC server."""
    publisher = {name: _unary(broker, background, *of) for name, of in _PUBLISHER.items()}
    subscriber = {name: _unary(broker, background, *of) for name, of in _SUBSCRIBER.items()}
    subscriber["StreamingPull"] = grpc.stream_stream_rpc_method_handler(
        functools.partial(streaming_pull, broker),
        request_deserializer=types.StreamingPullRequest.pb().FromString,
        response_serializer=_written,
    )
    return (
        grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", publisher),
        grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", subscriber),
    )


def _unary(
    broker: Broker, background: Background, call: Call, request: Any
) -> grpc.RpcMethodHandler:
    async def answered(request: Any, context: Any) -> Any:
        try:
            # A caller that is gone takes no messages, but what it began to change is changed
            # to the end: on disk and here.
            answer = call(broker, request)
            return await (answer if call is pull else background.finish(answer))
        except NotThere as fault:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(fault))
        except AlreadyThere as fault:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, str(fault))
        except ValueError as fault:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(fault))

    return grpc.unary_unary_rpc_method_handler(
        answered,
        request_deserializer=request.pb().FromString,
        response_serializer=_written,
    )


def _written(message: Any) -> bytes:
    return bytes(message.SerializeToString())
