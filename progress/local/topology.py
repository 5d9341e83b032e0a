"""Create the local stack's topics and subscriptions through Pub/Sub's own API.

Source topics are pushed to the ingest function, and commands to the project function. Every push
subscription has a dead-letter topic with a subscription that keeps the dead letters. The topic of
the published events has no subscription, because its subscribers are other services.
"""

import contextlib
import re
import sys
import time
from datetime import timedelta

from google.api_core.exceptions import AlreadyExists
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.types import DeadLetterPolicy, PushConfig, RetryPolicy, Subscription

from progress import settings
from progress.adapters.pubsub import wakeups
from progress.event_store import outgoing

SOURCES = ("learning-events", "algorithm-events", "vocabulary-events", "user-events")
PROJECTION = "progress-projection-sub"

_MAX_ATTEMPTS = 100
_WEEK = timedelta(days=7)


def create(project: str, ingest_url: str, project_url: str) -> None:
    """Create missing topics and subscriptions; set the address of every push subscription."""
    publisher, subscriber = PublisherClient(), SubscriberClient()
    with subscriber:
        existing = _subscriptions(subscriber, project)
        pushes = [(topic, _ingest_name(topic, existing), ingest_url) for topic in SOURCES]
        for topic, name, url in [*pushes, (wakeups.TOPIC, PROJECTION, project_url)]:
            _create_topic(publisher, project, topic)
            _create_topic(publisher, project, f"{name}-dead-letter")
            _create_push(subscriber, project, topic, name, url)
            _create_pull(subscriber, project, f"{name}-dead-letter")
        _create_topic(publisher, project, outgoing.TOPIC)
    publisher.stop()


def _subscriptions(subscriber: SubscriberClient, project: str) -> list[str]:
    listed = subscriber.list_subscriptions(project=f"projects/{project}")
    return [subscription.name.rpartition("/")[2] for subscription in listed]


def _ingest_name(topic: str, existing: list[str]) -> str:
    """Return the name of the topic's existing ingest subscription, or a new name.

    The ingest function recognizes a redelivery by subscription and message id. Google's emulator
    starts without subscriptions and numbers its messages from 1. After each start of the emulator,
    the subscriptions therefore need new names.
    """
    pattern = re.compile(re.escape(topic) + r"-ingest-sub-\d+")
    return next(filter(pattern.fullmatch, existing), f"{topic}-ingest-sub-{time.time_ns()}")


def _create_topic(publisher: PublisherClient, project: str, topic: str) -> None:
    with contextlib.suppress(AlreadyExists):
        publisher.create_topic(name=f"projects/{project}/topics/{topic}")


def _create_push(
    subscriber: SubscriberClient, project: str, topic: str, name: str, url: str
) -> None:
    full = f"projects/{project}/subscriptions/{name}"
    push_config = PushConfig(push_endpoint=url)
    subscription = Subscription(
        name=full,
        topic=f"projects/{project}/topics/{topic}",
        push_config=push_config,
        ack_deadline_seconds=60,
        message_retention_duration=_WEEK,
        retain_acked_messages=topic in SOURCES,  # so that a restore can replay them
        retry_policy=RetryPolicy(
            minimum_backoff=timedelta(milliseconds=100), maximum_backoff=timedelta(seconds=10)
        ),
        dead_letter_policy=DeadLetterPolicy(
            dead_letter_topic=f"projects/{project}/topics/{name}-dead-letter",
            max_delivery_attempts=_MAX_ATTEMPTS,
        ),
    )
    try:
        subscriber.create_subscription(request=subscription)
    except AlreadyExists:
        subscriber.modify_push_config(subscription=full, push_config=push_config)


def _create_pull(subscriber: SubscriberClient, project: str, topic: str) -> None:
    with contextlib.suppress(AlreadyExists):
        subscriber.create_subscription(
            name=f"projects/{project}/subscriptions/{topic}-sub",
            topic=f"projects/{project}/topics/{topic}",
        )


def main() -> None:
    """Create the topology: `python -m progress.local.topology INGEST_URL PROJECT_URL`."""
    create(settings.current().pubsub_project_id, *sys.argv[1:])


if __name__ == "__main__":
    main()
