"""A fake Cloud Monitoring; Google's protobuf library encodes and decodes the messages."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.api import monitored_resource_pb2
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    timestamp_pb2,
)

from progress.adapters.pubsub import undelivered

_TYPES = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
}
# The fields that the adapter uses, as declared in google/monitoring/v3/*.proto.
_DECLARED = {
    "TimeInterval": [
        *("start_time=1 .google.protobuf.Timestamp", "end_time=2 .google.protobuf.Timestamp"),
    ],
    "ListTimeSeriesRequest": ["filter=2 string", "interval=4 .m.TimeInterval", "name=10 string"],
    "TypedValue": ["int64_value=2 int64", "double_value=3 double"],
    "Point": ["interval=1 .m.TimeInterval", "value=2 .m.TypedValue"],
    "TimeSeries": ["resource=2 .google.api.MonitoredResource", "points=5 *.m.Point"],
    "ListTimeSeriesResponse": ["time_series=1 *.m.TimeSeries", "next_page_token=2 string"],
}  # fmt: skip


def _build_messages() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="m.proto", package="m", syntax="proto3")
    for module in (timestamp_pb2, monitored_resource_pb2):
        _add_file(pool, module.DESCRIPTOR)
        file.dependency.append(module.DESCRIPTOR.name)
    for name, fields in _DECLARED.items():
        message = file.message_type.add(name=name)
        for field in fields:
            declared, _, kind = field.partition(" ")
            field_name, _, number = declared.partition("=")
            added = message.field.add(name=field_name, number=int(number))
            added.label = added.LABEL_REPEATED if kind[0] == "*" else added.LABEL_OPTIONAL
            if kind in _TYPES:
                added.type = _TYPES[kind]
            else:
                added.type, added.type_name = added.TYPE_MESSAGE, kind.lstrip("*")
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"m.{name}"))
        for name in _DECLARED
    }


def _add_file(pool: Any, descriptor: Any) -> None:
    for dependency in descriptor.dependencies:
        _add_file(pool, dependency)
    pool.AddSerializedFile(descriptor.serialized_pb)


_CLASSES = _build_messages()


@contextmanager
def serve(series: dict[str, list[int]], requests: list[Any]) -> Iterator[str]:
    """Serve each subscription's measurements, newest first; append the requests to `requests`."""

    def respond(request: Any, _context: Any) -> Any:
        requests.append(request)
        response = _CLASSES["ListTimeSeriesResponse"]()
        for subscription, measurements in series.items():
            added = response.time_series.add()
            added.resource.type = "pubsub_subscription"
            added.resource.labels["project_id"] = "p"
            added.resource.labels["subscription_id"] = subscription
            for number in measurements:
                point = added.points.add()
                point.interval.end_time.GetCurrentTime()
                point.value.int64_value = number
        return response

    handler = grpc.unary_unary_rpc_method_handler(
        respond,
        request_deserializer=_CLASSES["ListTimeSeriesRequest"].FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )
    service, _, method = undelivered.METHOD[1:].partition("/")
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)
