"""The memory of the export of a learner with 200,000 events."""

import time
from collections.abc import Iterator
from contextlib import closing

from bench import logs, processes
from bench.lines import Line, limit
from bench.server import Server, Store
from progress.operations import export_user
from progress.projections import changes, projector

_SESSIONS = 4_762  # of 42 events each


class _Null:
    """An output that only counts the bytes that are written to it."""

    size = 0

    def write(self, data: bytes) -> None:
        """Count the bytes."""
        self.size += len(data)


def measure_user(server: Server) -> Iterator[Line]:
    """Measure the peak memory of the whole export."""
    store = server.create_store()
    logs.fill(store, learners=1, sessions=_SESSIONS)
    (learner,) = logs.list_learners(store, events=1)
    with closing(store.connect()) as connection:
        projector.catch_up_learner(connection, learner, changes.DISABLED, time.sleep)
    megabytes, memory = processes.run_alone(_export, store, learner)
    server.drop(store)
    what = f"peak memory of an export of {42 * _SESSIONS:,} events"
    yield limit(what, memory, 200, "MB", against=f"the ZIP file: {megabytes:.0f} MB")


def _export(store: Store, learner: str) -> float:
    """Write the learner's ZIP file; return its size in MB."""
    sink = _Null()
    with closing(store.connect()) as connection:
        export_user.write(connection, learner, sink, lambda _: None)
    return sink.size / 1e6
