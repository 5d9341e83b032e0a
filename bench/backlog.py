"""A backlog of wake-ups that `project` works off, as after an outage."""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from statistics import mean

from bench import function_client, functions, logs, request_batch
from bench.functions import Function
from bench.lines import Line, limit
from bench.request_batch import RequestBatch
from bench.server import Server, Store
from bench.statements import blocks

_LEARNERS = 120  # with 840 events each: 100,800 events
# The number of instances, and of concurrent pushes to each instance.
_SETUPS = ((1, 10), (5, 10))
_PAUSE_S = 0.02


@dataclass
class _Samples:
    """The number of parallel workers until all events were folded, and the seconds this took."""

    folded_after: float = 0.0
    workers: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        return f"at most {max(self.workers)} workers, {mean(self.workers):.1f} on average"


def measure_backlog(server: Server) -> Iterator[Line]:
    """Push a wake-up for each of 100,800 events that are recorded, but not folded."""
    for instances, at_once in _SETUPS:
        store = server.create_store()
        logs.fill(store, learners=_LEARNERS, sessions=20)
        with closing(store.connect()) as connection:
            shards = [shard for (shard,) in connection.run(blocks("backlog")["shards"])]
        samples, gone_after = _work_off(store, shards, instances, at_once)
        server.drop(store)
        how = f"{instances} × {at_once} pushes of {len(shards):,} wake-ups"
        yield limit(f"{how}: all events folded", samples.folded_after, 20, "s", shown=f"{samples}")
        yield limit(f"{how}: all messages acknowledged", gone_after, 600, "s")


def _work_off(
    store: Store, shards: list[int], instances: int, at_once: int
) -> tuple[_Samples, float]:
    """Return the samples, and the seconds until every wake-up was acknowledged."""
    wake_ups = [function_client.encode_wake_up(shard) for shard in shards]
    with contextlib.ExitStack() as running, ThreadPoolExecutor(instances + 1) as pool:
        projects: list[Function] = [
            running.enter_context(functions.run("project", DATABASE_URL=store.url))
            for _ in range(instances)
        ]
        gone = threading.Event()
        running.callback(gone.set)
        sampling = pool.submit(_sample, store, gone)
        sending = [
            pool.submit(
                request_batch.send,
                RequestBatch(project.port, wake_ups[number::instances], b"", at_once),
            )
            for number, project in enumerate(projects)
        ]
        gone_after = max(sent.result().all for sent in sending)
        gone.set()
        return sampling.result(), gone_after


def _sample(store: Store, gone: threading.Event) -> _Samples:
    """Sample from the first worker on, until all events are folded."""
    samples, began = _Samples(), 0.0
    with closing(store.connect()) as connection:
        is_behind = True
        while is_behind and not gone.wait(_PAUSE_S):
            workers, is_behind = connection.run(blocks("backlog")["sample"])[0]
            began = began or (time.perf_counter() if workers else 0.0)
            if began:
                samples.workers.append(workers)
    samples.folded_after = time.perf_counter() - began
    return samples
