"""A local stack for benchmarks: PostgreSQL, Valkey, the transport, and all functions."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from progress.local import development_key, ports, stack
from progress.local.data_folder import DataFolder


@dataclass(frozen=True)
class LocalStack:
    """A running local stack; `port` is that of the query function."""

    folder: DataFolder
    addresses: dict[str, str]
    port: int

    def token(self, user: str) -> str:
        """Return a token for `user`, valid for a day."""
        return development_key.token(self.folder.key, user, [])

    def open_publisher(self) -> PublisherClient:
        """Return a client that publishes to the stack's Pub/Sub."""
        channel = grpc.insecure_channel(self.addresses["pubsub_emulator_host"])
        return PublisherClient(transport=PublisherGrpcTransport(channel=channel))

    def open_subscriber(self) -> SubscriberClient:
        """Return a client that subscribes to the stack's Pub/Sub."""
        channel = grpc.insecure_channel(self.addresses["pubsub_emulator_host"])
        return SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))

    def topic(self, name: str) -> str:
        """Return the full name of a topic."""
        return f"projects/{self.addresses['project_id']}/topics/{name}"


@contextmanager
def run() -> Iterator[LocalStack]:
    """Run a stack inside the block, then remove its files."""
    folder = DataFolder(Path(tempfile.mkdtemp(prefix="progress-bench-stack-")))
    port = ports.reserve()
    os.environ["RATE_LIMIT_PER_MINUTE"] = "1000000"  # one learner sends all queries
    try:
        stack.up(folder, port, attached=True, on_answer=lambda _part: None)
        yield LocalStack(folder, stack.running(folder).addresses, port)
    finally:
        stack.down(folder)
        shutil.rmtree(folder.path)
