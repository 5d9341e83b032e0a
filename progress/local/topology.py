"""The topics and subscriptions of the local stack, made through Pub/Sub's own API.

Each source topic is pushed to the ingest function, internal commands to the projections.
Every push subscription has a dead-letter topic, and that one a subscription that keeps it.
"""

import contextlib
import re
import sys
import time
from datetime import timedelta

from google.api_core.exceptions import AlreadyExists
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.types import (
    DeadLetterPolicy,
    PushConfig,
    RetryPolicy,
    Subscription,
)

from progress import settings
from progress.adapters.pubsub import wakeups

SOURCES = ("learning-events", "algorithm-events", "vocabulary-events", "user-events")
PROJECTION = "progress-projection-sub"

_ATTEMPTS = 100
_WEEK = timedelta(days=7)


def lay(project: str, ingest_url: str, project_url: str) -> None:
    """Make what is missing, and push to these addresses from now on."""
    publisher, subscriber = PublisherClient(), SubscriberClient()
    with subscriber:
        there = _subscriptions(subscriber, project)
        wanted = [(topic, _ingest(topic, there), ingest_url) for topic in SOURCES]
        for topic, name, url in [*wanted, (wakeups.TOPIC, PROJECTION, project_url)]:
            _make_topic(publisher, project, topic)
            _make_topic(publisher, project, f"{name}-dead-letter")
            _push(subscriber, project, topic, name, url)
            _keep(subscriber, project, f"{name}-dead-letter")
    publisher.stop()


def _subscriptions(subscriber: SubscriberClient, project: str) -> list[str]:
    listed = subscriber.list_subscriptions(project=f"projects/{project}")
    return [each.name.rpartition("/")[2] for each in listed]


def _ingest(topic: str, there: list[str]) -> str:
    """The name of the topic's subscription, new or as it is.

    Google's emulator counts its messages from 1 each time it starts, and ingest knows a
    redelivery by subscription and message id: a new life needs a new name.
    """
    pattern = re.compile(re.escape(topic) + r"-ingest-sub-\d+")
    return next(filter(pattern.fullmatch, there), f"{topic}-ingest-sub-{time.time_ns()}")


def _make_topic(publisher: PublisherClient, project: str, topic: str) -> None:
    with contextlib.suppress(AlreadyExists):
        publisher.create_topic(name=f"projects/{project}/topics/{topic}")


def _push(subscriber: SubscriberClient, project: str, topic: str, name: str, url: str) -> None:
    full = f"projects/{project}/subscriptions/{name}"
    target = PushConfig(push_endpoint=url)
    wanted = Subscription(
        name=full,
        topic=f"projects/{project}/topics/{topic}",
        push_config=target,
        ack_deadline_seconds=60,
        message_retention_duration=_WEEK,
        retry_policy=RetryPolicy(
            minimum_backoff=timedelta(milliseconds=100), maximum_backoff=timedelta(seconds=10)
        ),
        dead_letter_policy=DeadLetterPolicy(
            dead_letter_topic=f"projects/{project}/topics/{name}-dead-letter",
            max_delivery_attempts=_ATTEMPTS,
        ),
    )
    try:
        subscriber.create_subscription(request=wanted)
    except AlreadyExists:
        subscriber.modify_push_config(subscription=full, push_config=target)


def _keep(subscriber: SubscriberClient, project: str, topic: str) -> None:
    with contextlib.suppress(AlreadyExists):
        subscriber.create_subscription(
            name=f"projects/{project}/subscriptions/{topic}-sub",
            topic=f"projects/{project}/topics/{topic}",
        )


def main() -> None:
    """`python -m progress.local.topology INGEST_URL PROJECT_URL`."""
    lay(settings.current().pubsub_project_id, *sys.argv[1:])


if __name__ == "__main__":
    main()
