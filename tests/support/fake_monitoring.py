"""A fake Cloud Monitoring."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import grpc
from google.cloud.monitoring_v3 import types


@contextmanager
def serve(series: dict[str, list[int]], requests: list[Any]) -> Iterator[str]:
    """Serve each subscription's measurements, newest first; append the requests to `requests`."""

    def respond(request: Any, _context: Any) -> Any:
        requests.append(request)
        return types.ListTimeSeriesResponse(
            time_series=[_series(*measured) for measured in series.items()]
        )

    handler = grpc.unary_unary_rpc_method_handler(
        respond,
        request_deserializer=types.ListTimeSeriesRequest.deserialize,
        response_serializer=types.ListTimeSeriesResponse.serialize,
    )
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "google.monitoring.v3.MetricService", {"ListTimeSeries": handler}
            ),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def _series(subscription: str, measurements: list[int]) -> Any:
    labels = {"project_id": "p", "subscription_id": subscription}
    now = {"end_time": datetime.now(UTC)}
    return types.TimeSeries(
        resource={"type": "pubsub_subscription", "labels": labels},
        points=[{"interval": now, "value": {"int64_value": number}} for number in measurements],
    )
