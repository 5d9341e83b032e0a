"""The realtime folds in normal operation, in windows of 1,000 events."""

import time
from collections.abc import Iterator
from contextlib import closing

from bench import logs
from bench.lines import Line, Rounds
from bench.peer_projection import Peer
from bench.server import Server
from progress.projections.projector import SHARDS, Projector

WINDOW = 1_000
_ROUNDS = 9


def compare_with_runner(server: Server) -> Iterator[Line]:
    """Compare the folds of all realtime read models with the projection runner of `eventsourcing`.

    The runner maintains only two counters. It commits each event, and the folds commit each window.
    No commit waits for the disk. Otherwise, the ratio would depend on the disk.
    """
    store, theirs = server.create_store(), server.create_store()
    for one in (store, theirs):
        with closing(one.connect()) as connection:
            connection.run(f"ALTER DATABASE {one.name} SET synchronous_commit = off")
    logs.fill(store, learners=300, sessions=20)
    peer, rounds = Peer(theirs), Rounds()
    with closing(store.connect()) as connection:
        projector = Projector(connection)
        for number in range(_ROUNDS + 1):
            cpu_seconds = server.cpu_seconds()
            folded = fold_windows(projector)
            cpu_seconds = server.cpu_seconds() - cpu_seconds
            runner = peer.project(learners=25)
            if number:  # the first round is a warm-up
                rounds.add("folds", folded)
                rounds.add("CPU", 1e6 * cpu_seconds / (WINDOW * len(SHARDS)))
                rounds.add("runner", runner)
    server.drop(store)
    server.drop(theirs)
    yield rounds.compare_rates(
        "live projection of all realtime read models, windows of 1,000, one connection; "
        f"{rounds.median('CPU'):.0f} µs of PostgreSQL's CPU per event",
        "folds",
        "runner",
        against="eventsourcing's runner, two counters:",
        bar=5,
    )


def fold_windows(projector: Projector) -> float:
    """Fold one window of each shard; return events per second."""
    begin = time.perf_counter()
    folded = sum(projector.fold_window(shard, WINDOW) or 0 for shard in SHARDS)
    return folded / (time.perf_counter() - begin)
