"""The stand-in's part of Cloud Monitoring: the number of undelivered messages by subscription."""

import functools
import time
from typing import Any

import grpc
from google.cloud.monitoring_v3 import types

from progress.adapters.pubsub import undelivered
from progress.local.pubsub.broker import Broker


def make(broker: Broker) -> grpc.GenericRpcHandler:
    """Return the gRPC handler of ListTimeSeries, the only call of Cloud Monitoring served here."""
    call = grpc.unary_unary_rpc_method_handler(
        functools.partial(list_time_series, broker),
        request_deserializer=types.ListTimeSeriesRequest.deserialize,
        response_serializer=types.ListTimeSeriesResponse.serialize,
    )
    return grpc.method_handlers_generic_handler(
        "google.monitoring.v3.MetricService", {"ListTimeSeries": call}
    )


async def list_time_series(broker: Broker, request: Any, _context: Any) -> Any:
    return types.ListTimeSeriesResponse(
        time_series=[
            _series(definition.name.rpartition("/")[2], messages)
            for definition, messages in broker.undelivered(request.name)
        ]
    )


def _series(subscription: str, messages: int) -> Any:
    labels = {"subscription_id": subscription}
    now = {"end_time": {"seconds": int(time.time())}}
    return types.TimeSeries(
        metric={"type": undelivered.METRIC},
        resource={"type": "pubsub_subscription", "labels": labels},
        points=[{"interval": now, "value": {"int64_value": messages}}],
    )
