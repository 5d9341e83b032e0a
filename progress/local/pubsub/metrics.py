"""The stand-in's part of Cloud Monitoring: the number of undelivered messages by subscription."""

import functools
import time
from typing import Any

import grpc

from progress.adapters.pubsub import grpc_api, undelivered
from progress.local.pubsub.broker import Broker


def make(broker: Broker) -> grpc.GenericRpcHandler:
    """Return the gRPC handler of ListTimeSeries, the only call of Cloud Monitoring served here."""
    service, _, method = undelivered.METHOD.removeprefix("/").partition("/")
    call = grpc.unary_unary_rpc_method_handler(functools.partial(list_time_series, broker))
    return grpc.method_handlers_generic_handler(service, {method: call})


async def list_time_series(broker: Broker, request: bytes, _context: Any) -> bytes:
    """Return a ListTimeSeriesResponse with one point for each subscription of the project."""
    project = b"".join(grpc_api.fields(request, 10)).decode()
    return b"".join(
        grpc_api.field(1, _series(definition.name.rpartition("/")[2], messages))
        for definition, messages in broker.undelivered(project)
    )


def _series(subscription: str, messages: int) -> bytes:
    label = grpc_api.field(1, b"subscription_id") + grpc_api.field(2, subscription.encode())
    resource = grpc_api.field(1, b"pubsub_subscription") + grpc_api.field(2, label)
    metric = grpc_api.field(1, undelivered.METRIC.encode())
    end = grpc_api.field(2, grpc_api.number_field(1, int(time.time())))
    point = grpc_api.field(1, end) + grpc_api.field(2, grpc_api.number_field(2, messages))
    return grpc_api.field(1, metric) + grpc_api.field(2, resource) + grpc_api.field(5, point)
