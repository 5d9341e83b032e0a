"""The export of a learner with 200,000 events, compared with a COPY of these events."""

import time
from collections.abc import Iterator
from contextlib import closing

from bench import logs, processes
from bench.lines import Line, Rounds, limit
from bench.server import Server, Store
from progress.adapters.postgres import statements
from progress.operations import export_user
from progress.projections import changes, projector

_ROUNDS = 3
_SESSIONS = 4_762  # of 42 events each


class _Null:
    """An output that only counts the bytes that are written to it."""

    size = 0

    def write(self, data: bytes) -> None:
        """Count the bytes."""
        self.size += len(data)


def compare_user(server: Server) -> Iterator[Line]:
    """Compare the whole export with a COPY of the learner's events; also measure peak memory."""
    store, rounds = server.create_store(), Rounds()
    logs.fill(store, learners=1, sessions=_SESSIONS)
    (learner,) = logs.list_learners(store, events=1)
    with closing(store.connect()) as connection:
        projector.catch_up_learner(connection, learner, changes.DISABLED, time.sleep)
    for _ in range(_ROUNDS):
        megabytes, seconds = _time_copy_of_user(store, learner)
        rounds.add("copy", megabytes / seconds)
        rounds.add("export", megabytes / _time_user(store, learner))
    what = f"export of {42 * _SESSIONS:,} events"
    yield rounds.compare_rates(what, "export", "copy", against="COPY:", bar=0.33, of="MB")
    _, memory = processes.run_alone(_time_user, store, learner)
    yield limit(f"peak memory of an {what}", memory, 200, "MB")
    server.drop(store)


def _time_copy_of_user(store: Store, learner: str) -> tuple[float, float]:
    """Return the size of the events in MB, and how many seconds a COPY of the events takes."""
    sink, sql = _Null(), statements.blocks("operations/export_user")
    with closing(store.connect()) as connection:
        connection.run(sql["begin"])
        connection.run(sql["snapshot"], learner=learner)
        begin = time.perf_counter()
        connection.run(sql["events"], stream=sink)
        return sink.size / 1e6, time.perf_counter() - begin


def _time_user(store: Store, learner: str) -> float:
    """Return how many seconds it takes to write the learner's ZIP file."""
    with closing(store.connect()) as connection:
        begin = time.perf_counter()
        export_user.write(connection, learner, _Null(), lambda _: None)
        return time.perf_counter() - begin
