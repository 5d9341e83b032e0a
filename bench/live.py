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

    The runner maintains only two counters.
    """
    store, theirs = server.create_store(), server.create_store()
    logs.fill(store, learners=300, sessions=20)
    peer, rounds = Peer(theirs), Rounds()
    with closing(store.connect()) as connection:
        projector = Projector(connection)
        for number in range(_ROUNDS + 1):
            folded, runner = fold_windows(projector), peer.project(learners=25)
            if number:  # the first round is a warm-up
                rounds.add("folds", folded)
                rounds.add("runner", runner)
    server.drop(store)
    server.drop(theirs)
    what = "live projection of all realtime read models, windows of 1,000, one connection"
    against = "eventsourcing's runner, two counters:"
    yield rounds.compare_rates(what, "folds", "runner", against=against, bar=20)


def fold_windows(projector: Projector) -> float:
    """Fold one window of each shard; return events per second."""
    begin = time.perf_counter()
    folded = sum(projector.fold_window(shard, WINDOW) or 0 for shard in SHARDS)
    return folded / (time.perf_counter() - begin)
