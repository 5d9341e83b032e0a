"""The realtime folds as they run all day: windows of 1,000, after the events that came."""

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


def against_runner(server: Server) -> Iterator[Line]:
    """All realtime read models, against the runner of `eventsourcing` and its two counters."""
    store, theirs = server.store(), server.store()
    logs.fill(store, learners=300, sessions=20)
    peer, rounds = Peer(theirs), Rounds()
    with closing(store.connect()) as connection:
        projector = Projector(connection)
        for number in range(_ROUNDS + 1):
            folded, runner = windows(projector), peer.project(learners=25)
            if number:  # the first warms up
                rounds.add("folds", folded)
                rounds.add("runner", runner)
    server.drop(store)
    server.drop(theirs)
    yield Line(
        "live projection of all realtime read models, windows of 1,000, one connection",
        rounds.rate("folds"),
        f"eventsourcing's runner, two counters: {rounds.rate('runner')}",
        rounds.ratio("folds", "runner"),
        20,
    )


def windows(projector: Projector) -> float:
    """Events a second, over one window of each shard."""
    begin = time.perf_counter()
    folded = sum(projector.fold_window(shard, WINDOW) or 0 for shard in SHARDS)
    return folded / (time.perf_counter() - begin)
