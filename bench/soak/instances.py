"""A second instance of each function.

These instances are never killed, because the soak test measures their memory from start to end.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import grpc
import psutil
from google.api_core.exceptions import AlreadyExists
from google.cloud.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import PushConfig, RetryPolicy, Subscription

from bench import functions
from bench.functions import Function
from bench.local_stack import LocalStack
from progress.adapters.pubsub import wakeups
from progress.local import stack
from progress.local.ports import HOST

_FUNCTIONS = ("ingest", "project", "query")
_TOPIC = "algorithm-events"  # about half of the events; they go to the second ingest
_SETTINGS = (
    *("ENVIRONMENT", "DATABASE_URL", "REDIS_URL", "PROGRESS_DATA_DIR", "RATE_LIMIT_PER_MINUTE"),
    *("PUBSUB_PROJECT_ID", "PUBSUB_EMULATOR_HOST"),
    *("AUTH_ISSUER", "AUTH_AUDIENCE", "AUTH_JWKS_URL"),
)


@contextmanager
def run(local: LocalStack) -> Iterator[dict[str, Function]]:
    """Run an instance of each function with the settings of the stack's own instance."""
    processes = stack.running(local.folder).processes
    with ExitStack() as running:
        instances = {}
        for name in _FUNCTIONS:
            environment = psutil.Process(processes[name].pid).environ()
            shared = {key: environment[key] for key in _SETTINGS if key in environment}
            instances[name] = running.enter_context(functions.run(name, **shared))
        direct_pushes(local, instances)
        yield instances


def direct_pushes(local: LocalStack, instances: dict[str, Function]) -> None:
    """Let the stand-in for Pub/Sub push half of the events and all commands to `instances`.

    After each restart of the stand-in, the stack resets the events' push endpoint to its own
    instance. Then call this function again.
    """
    project = f"projects/{local.addresses['project_id']}"
    urls = {name: f"http://{HOST}:{instance.port}/" for name, instance in instances.items()}
    channel = grpc.insecure_channel(local.addresses["pubsub_emulator_host"])
    with SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)) as subscriber:
        for subscription in subscriber.list_subscriptions(project=project):
            if subscription.name.startswith(f"{project}/subscriptions/{_TOPIC}-ingest-sub-"):
                if subscription.name.endswith("-dead-letter-sub"):
                    continue
                push = PushConfig(push_endpoint=urls["ingest"])
                subscriber.modify_push_config(subscription=subscription.name, push_config=push)
        _subscribe_to_commands(subscriber, project, urls["project"])


def _subscribe_to_commands(subscriber: SubscriberClient, project: str, url: str) -> None:
    try:
        subscriber.create_subscription(
            request=Subscription(
                name=f"{project}/subscriptions/soak-commands",
                topic=f"{project}/topics/{wakeups.TOPIC}",
                push_config=PushConfig(push_endpoint=url),
                ack_deadline_seconds=60,
                retry_policy=RetryPolicy(
                    minimum_backoff=timedelta(milliseconds=100),
                    maximum_backoff=timedelta(seconds=10),
                ),
            )
        )
    except AlreadyExists:
        return
