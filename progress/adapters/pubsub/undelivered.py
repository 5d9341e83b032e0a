"""The number of undelivered messages of each Pub/Sub subscription.

Only Cloud Monitoring knows these numbers. It measures them once a minute, and a measurement is
visible after at most two minutes. The local stack's stand-in implements the same call, and its
numbers are always current.
"""

import re
import time
from typing import NamedTuple

from progress.adapters.pubsub import grpc_api
from progress.errors import PubSubUnavailable

TIMEOUT_S = 2.0
METHOD = "/google.monitoring.v3.MetricService/ListTimeSeries"
METRIC = "pubsub.googleapis.com/subscription/num_undelivered_messages"

_HOST = "monitoring.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/monitoring.read"
_WINDOW_S = 300  # Long enough for several measurements, because one may be missing.
# The local stack appends a number to the names of the ingest subscriptions.
_OWN = re.compile(
    r"((learning|algorithm|vocabulary|user)-events-ingest-sub(-\d+)?|progress-projection-sub)"
    r"(-dead-letter-sub)?"
)


class Undelivered(NamedTuple):
    """The number of messages that a subscription has yet to deliver."""

    subscription: str
    messages: int


def count(project: str, emulator: str | None) -> list[Undelivered]:
    """Return the counts of Progress's own subscriptions, sorted by the subscription's name.

    `emulator` is the address of the local stack's Pub/Sub; None means Google Cloud. Raise
    PubSubUnavailable if the call fails or takes longer than two seconds, or if the response
    contains none of these counts.
    """
    import grpc  # takes 40 ms, so it is imported late

    channel = grpc_api.open_channel_to(_HOST, _SCOPE, emulator)
    with channel:
        try:
            response = channel.unary_unary(METHOD)(_request(project), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            code = error.code() if isinstance(error, grpc.Call) else error
            if code is grpc.StatusCode.UNIMPLEMENTED:
                code = "Google's emulator does not count them"
            raise PubSubUnavailable(f"the undelivered messages are unknown: {code}") from error
    counts = [_decode(series) for series in grpc_api.fields(response, 1)]
    own = sorted(each for each in counts if _OWN.fullmatch(each.subscription))
    if not own:
        raise PubSubUnavailable("the undelivered messages are unknown: no measurement")
    return own


def _request(project: str) -> bytes:
    """Encode a ListTimeSeriesRequest: filter (field 2), interval (field 4), project (field 10)."""
    now = int(time.time())
    start, end = (grpc_api.number_field(1, at) for at in (now - _WINDOW_S, now))
    interval = grpc_api.field(1, start) + grpc_api.field(2, end)
    return (
        grpc_api.field(2, f'metric.type = "{METRIC}"'.encode())
        + grpc_api.field(4, interval)
        + grpc_api.field(10, f"projects/{project}".encode())
    )


def _decode(series: bytes) -> Undelivered:
    """Decode a TimeSeries.

    Field 2 is the resource, whose field 2 contains the labels. Field 5 is repeated: it contains
    the points, newest first.
    """
    labels = {
        b"".join(grpc_api.fields(entry, 1)): b"".join(grpc_api.fields(entry, 2))
        for resource in grpc_api.fields(series, 2)
        for entry in grpc_api.fields(resource, 2)
    }
    newest = next(grpc_api.fields(series, 5), b"")
    number = next((n for v in grpc_api.fields(newest, 2) for n in grpc_api.number_fields(v, 2)), 0)
    return Undelivered(labels.get(b"subscription_id", b"").decode(), number)
