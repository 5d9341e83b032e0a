"""A fake Cloud Monitoring returns the counts of undelivered messages."""

from datetime import timedelta
from typing import Any

import pytest

from progress.adapters.pubsub import undelivered
from progress.adapters.pubsub.undelivered import Undelivered
from progress.errors import PubSubUnavailable
from tests.support import fake_publisher


def test_the_newest_measurement_of_each_subscription_of_progress_is_returned() -> None:
    requests: list[Any] = []
    series = {
        "user-events-ingest-sub": [0, 7],
        "learning-events-ingest-sub": [2**40, 1],
        "progress-projection-sub-dead-letter-sub": [3],
        "orders-ingest-sub": [9],
        "progress-batch-sub": [9],
    }
    with fake_publisher.serve_monitoring(series, requests) as address:
        counts = undelivered.count("p", address)
    assert counts == [
        Undelivered("learning-events-ingest-sub", 2**40),
        Undelivered("progress-projection-sub-dead-letter-sub", 3),
        Undelivered("user-events-ingest-sub", 0),
    ]
    [request] = requests
    assert request.name == "projects/p"
    assert request.filter == f'metric.type = "{undelivered.METRIC}"'
    interval = request.interval
    assert interval.end_time - interval.start_time == timedelta(minutes=5)


def test_counts_are_unavailable_if_no_measurement_exists() -> None:
    with (
        fake_publisher.serve_monitoring({}, []) as address,
        pytest.raises(PubSubUnavailable, match="no measurement"),
    ):
        undelivered.count("p", address)
