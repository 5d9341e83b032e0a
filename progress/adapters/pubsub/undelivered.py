"""The number of undelivered messages of each Pub/Sub subscription.

Only Cloud Monitoring knows these numbers. It measures them once a minute, and a measurement is
visible after at most two minutes. On one machine, there are none.
"""

import re
import time
from typing import NamedTuple

from progress.adapters.pubsub import clients
from progress.errors import PubSubUnavailable

TIMEOUT_S = 2.0
METRIC = "pubsub.googleapis.com/subscription/num_undelivered_messages"

_WINDOW_S = 300  # Long enough for several measurements, because one may be missing.
_OWN = re.compile(
    r"((learning|algorithm|vocabulary|user)-events-ingest-sub|progress-projection-sub)"
    r"(-dead-letter-sub)?"
)


class Undelivered(NamedTuple):
    """The number of messages that a subscription has yet to deliver."""

    subscription: str
    messages: int


def count(project: str, emulator: str | None) -> list[Undelivered]:
    """Return the counts of Progress's own subscriptions, sorted by the subscription's name.

    `emulator` is the address of an emulator; None means Google Cloud. Raise
    PubSubUnavailable if the call fails or takes longer than two seconds, or if the response
    contains none of these counts.
    """
    try:
        counts = _read_counts(project, emulator)
    except PubSubUnavailable as error:
        raise PubSubUnavailable(f"the undelivered messages are unknown: {error}") from error
    own = sorted(each for each in counts if _OWN.fullmatch(each.subscription))
    if not own:
        raise PubSubUnavailable("the undelivered messages are unknown: no measurement")
    return own


def _read_counts(project: str, emulator: str | None) -> list[Undelivered]:
    """Return each subscription's newest measurement; the points of a series begin with it."""
    from google.cloud.monitoring_v3 import MetricServiceClient

    now = int(time.time())
    interval = {"start_time": {"seconds": now - _WINDOW_S}, "end_time": {"seconds": now}}
    request = {
        "name": f"projects/{project}",
        "filter": f'metric.type = "{METRIC}"',
        "interval": interval,
    }
    with clients.translate_errors():
        listed = clients.find(MetricServiceClient, emulator).list_time_series(
            request=request, retry=None, timeout=TIMEOUT_S
        )
        return [
            Undelivered(
                series.resource.labels["subscription_id"], series.points[0].value.int64_value
            )
            for series in listed
            if series.points
        ]
