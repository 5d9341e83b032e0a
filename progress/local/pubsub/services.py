"""The gRPC services Publisher, Subscriber and Metric, with the calls that the clients need."""

import functools
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

from progress.adapters.pubsub import undelivered
from progress.local.pubsub.background import Background
from progress.local.pubsub.broker import AlreadyExists, Broker, NotFound
from progress.local.pubsub.deliveries import Deliveries, Delivery


def _monitoring(broker: Broker) -> grpc.GenericRpcHandler:
    """Return the gRPC handler of ListTimeSeries, the only call of Cloud Monitoring served here."""
    call = grpc.unary_unary_rpc_method_handler(functools.partial(list_time_series, broker))
    return grpc.method_handlers_generic_handler(
        "google.monitoring.v3.MetricService", {"ListTimeSeries": call}
    )


async def list_time_series(broker: Broker, request: bytes, _context: Any) -> bytes:
    from google.cloud import monitoring_v3 as monitoring  # a quarter of the time of the start

    wanted = monitoring.ListTimeSeriesRequest.deserialize(request)
    series = [
        _series(definition.name.rpartition("/")[2], messages)
        for definition, messages in broker.undelivered(wanted.name)
    ]
    response = monitoring.ListTimeSeriesResponse(time_series=series)
    return bytes(monitoring.ListTimeSeriesResponse.serialize(response))


def _series(subscription: str, messages: int) -> dict[str, Any]:
    labels = {"subscription_id": subscription}
    now = {"end_time": {"seconds": int(time.time())}}
    return {
        "metric": {"type": undelivered.METRIC},
        "resource": {"type": "pubsub_subscription", "labels": labels},
        "points": [{"interval": now, "value": {"int64_value": messages}}],
    }


Call = Callable[[Broker, Any], Coroutine[Any, Any, Any]]

_MAX_MESSAGES = 1_000  # messages per response of a stream


async def create_topic(broker: Broker, request: Any) -> Any:
    await broker.create_topic(request.name)
    return request


async def get_topic(broker: Broker, request: Any) -> Any:
    return _Topic(name=broker.topic(request.topic))


async def list_topics(broker: Broker, request: Any) -> Any:
    return _ListTopicsResponse(
        topics=[_Topic(name=name) for name in broker.topics(request.project)]
    )


async def delete_topic(broker: Broker, request: Any) -> Any:
    await broker.delete_topic(request.topic)
    return Empty()


async def publish(broker: Broker, request: Any) -> Any:
    if not all(message.data or message.attributes for message in request.messages):
        raise ValueError("a message needs data or an attribute")
    if len({message.ordering_key for message in request.messages}) > 1:
        raise ValueError("all messages of a request must have the same ordering key, or none")
    return _PublishResponse(message_ids=await broker.publish(request.topic, list(request.messages)))


async def create_subscription(broker: Broker, request: Any) -> Any:
    await broker.create_subscription(request)
    return request


async def get_subscription(broker: Broker, request: Any) -> Any:
    return broker.subscription(request.subscription).definition


async def list_subscriptions(broker: Broker, request: Any) -> Any:
    return _ListSubscriptionsResponse(subscriptions=broker.subscriptions(request.project))


async def delete_subscription(broker: Broker, request: Any) -> Any:
    await broker.delete_subscription(request.subscription)
    return Empty()


async def modify_push_config(broker: Broker, request: Any) -> Any:
    await broker.modify_push(request.subscription, request.push_config)
    return Empty()


async def seek(broker: Broker, request: Any) -> Any:
    if not request.HasField("time"):
        raise ValueError("the stand-in seeks to a time, not to a snapshot")
    await broker.seek(request.subscription, request.time.ToDatetime(UTC))
    return types.SeekResponse.pb()()


async def pull(broker: Broker, request: Any) -> Any:
    deliveries = broker.subscription(request.subscription)
    pulled = await deliveries.pull(request.max_messages, wait=not request.return_immediately)
    return _PullResponse(received_messages=_convert(deliveries, pulled))


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
    """Stream messages as they arrive; the client acknowledges them in separate calls."""
    first = await anext(requests)
    try:
        deliveries = broker.subscription(first.subscription)
    except NotFound as error:
        await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        return
    limit = first.max_outstanding_messages or _MAX_MESSAGES
    while not context.cancelled():
        if pulled := await deliveries.pull(min(limit, _MAX_MESSAGES), wait=True):
            yield _StreamingPullResponse(received_messages=_convert(deliveries, pulled))


def _convert(deliveries: Deliveries, pulled: list[tuple[str, Delivery]]) -> list[Any]:
    counts_attempts = deliveries.definition.HasField("dead_letter_policy")
    return [
        _ReceivedMessage(
            ack_id=ack_id,
            message=delivery.message,
            delivery_attempt=delivery.attempts if counts_attempts else 0,
        )
        for ack_id, delivery in pulled
    ]


_Topic = types.Topic.pb()
_ListTopicsResponse = types.ListTopicsResponse.pb()
_PublishResponse = types.PublishResponse.pb()
_ListSubscriptionsResponse = types.ListSubscriptionsResponse.pb()
_PullResponse = types.PullResponse.pb()
_StreamingPullResponse = types.StreamingPullResponse.pb()
_ReceivedMessage = types.ReceivedMessage.pb()

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
    "Seek": (seek, types.SeekRequest),
    "Pull": (pull, types.PullRequest),
    "Acknowledge": (acknowledge, types.AcknowledgeRequest),
    "ModifyAckDeadline": (modify_ack_deadline, types.ModifyAckDeadlineRequest),
}


def make(broker: Broker, background: Background) -> tuple[grpc.GenericRpcHandler, ...]:
    publisher = {name: _unary(broker, background, *call) for name, call in _PUBLISHER.items()}
    subscriber = {name: _unary(broker, background, *call) for name, call in _SUBSCRIBER.items()}
    subscriber["StreamingPull"] = grpc.stream_stream_rpc_method_handler(
        functools.partial(streaming_pull, broker),
        request_deserializer=types.StreamingPullRequest.pb().FromString,
        response_serializer=_serialize,
    )
    return (
        grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", publisher),
        grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", subscriber),
        _monitoring(broker),
    )


def _unary(
    broker: Broker, background: Background, call: Call, request: Any
) -> grpc.RpcMethodHandler:
    async def respond(request: Any, context: Any) -> Any:
        try:
            # A pull is cancelled with its caller. A change is finished even if its caller is
            # cancelled, so that disk and memory agree.
            response = call(broker, request)
            return await (response if call is pull else background.finish(response))
        except NotFound as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except AlreadyExists as error:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, str(error))
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    return grpc.unary_unary_rpc_method_handler(
        respond,
        request_deserializer=request.pb().FromString,
        response_serializer=_serialize,
    )


def _serialize(message: Any) -> bytes:
    return bytes(message.SerializeToString())
