"""A backlog of recorded events that is published, as after an outage of Pub/Sub."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench import logs
from bench.lines import Line, limit
from bench.server import Server, Store
from progress.event_store import publication
from progress.projections.projector import SHARDS
from progress.settings import Settings
from tests.support import pubsub_servers

_EVENTS = 1_000_000
_MB = 1e6


def measure_publication(server: Server) -> Iterator[Line]:
    """Publish a million events, or EVENTS, to the transport, one shard after the other."""
    store = server.create_store()
    events = logs.fill_long(store, events=_EVENTS)
    with closing(store.connect()) as connection, _pubsub(server.create_store()) as address:
        settings = Settings(pubsub_emulator_host=address, publish_events="all")
        publication.publish(connection, SHARDS[0], settings)  # imports the client
        with _sample_memory() as growth:
            began = time.monotonic()
            published = sum(
                publication.publish(connection, shard, settings) for shard in SHARDS[1:]
            )
            seconds = time.monotonic() - began
    server.drop(store)
    rate = published / seconds
    what = f"a backlog of {events:,} events, published to the transport by one worker"
    yield Line(what, f"{rate:,.0f} events/s", "", rate, 5_000, "events/s")
    yield limit(f"{what}: growth of its memory", max(growth), 100, "MB")


@contextmanager
def _pubsub(store: Store) -> Iterator[str]:
    """Run the transport; the topic has no subscription, so that only the worker is measured."""
    with (
        TemporaryDirectory() as folder,
        pubsub_servers.transport(Path(folder) / "log", store.url) as pubsub,
    ):
        yield pubsub.host


@contextmanager
def _sample_memory() -> Iterator[list[float]]:
    """Yield the growth of this process's memory in MB, sampled during the block."""
    own, done = psutil.Process(), threading.Event()
    before, growth = own.memory_info().rss, [0.0]

    def sample() -> None:
        while not done.wait(0.2):
            growth.append((own.memory_info().rss - before) / _MB)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield growth
    finally:
        done.set()
        sampler.join()
