"""A second instance of each function.

These instances are never killed, because the soak test measures their memory from start to end.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
from google.pubsub_v1.types import PushConfig, Subscription

from bench import functions
from bench.functions import Function
from bench.local_stack import LocalStack
from progress.adapters.pubsub import wakeups
from progress.local import stack
from progress.local.ports import HOST

_FUNCTIONS = ("ingest", "project", "query")
_TOPIC = "algorithm-events"  # about half of the events; they go to the second ingest, too
_SETTINGS = (
    *("ENVIRONMENT", "DATABASE_URL", "REDIS_URL", "PROGRESS_DATA_DIR", "RATE_LIMIT_PER_MINUTE"),
    *("PUBSUB_PROJECT_ID", "PUBSUB_EMULATOR_HOST", "SERVE_COMMANDS_URL", "SERVE_KEY"),
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
        _subscribe(local, instances)
        yield instances


def _subscribe(local: LocalStack, instances: dict[str, Function]) -> None:
    """Let the transport push half of the events, and all commands, to `instances`, too."""
    project = f"projects/{local.addresses['project_id']}"
    with local.open_subscriber() as subscriber:
        for name, topic in (("ingest", _TOPIC), ("project", wakeups.TOPIC)):
            url = f"http://{HOST}:{instances[name].port}/"
            subscriber.create_subscription(
                request=Subscription(
                    name=f"{project}/subscriptions/soak-{name}",
                    topic=f"{project}/topics/{topic}",
                    push_config=PushConfig(push_endpoint=url),
                    ack_deadline_seconds=60,
                )
            )
