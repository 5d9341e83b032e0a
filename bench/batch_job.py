"""Benchmark of batch runs: the cost should depend on changes, not on the number of learners."""

import functools
import random
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

from bench import envelopes, logs
from bench.lines import Line, Rounds, limit
from bench.server import Server, Store
from bench.statements import blocks
from progress.adapters.postgres import database
from progress.event_store import log
from progress.projections import batch, rebuild
from progress.projections.projector import Projector

_ROUNDS = 9
_MANY, _FEW = 20_000, 1_000


def compare_with_fewer(server: Server) -> Iterator[Line]:
    """Compare batch runs in two stores, with 20,000 and with 1,000 learners.

    Before each run, one learner has a new session. Also count the buffers that a run in the larger
    store reads if nothing has changed.
    """
    many, few = _store(server, _MANY), _store(server, _FEW)
    rounds = _time_rounds(many, few)
    buffers = _buffers(many)
    for store in (many, few):
        server.drop(store)
    yield rounds.compare_costs(
        f"batch run after one learner changed, at {_MANY:,} learners",
        "many",
        "few",
        against=f"at {_FEW:,}:",
        bar=1.5,
    )
    what = f"batch run when nothing changed, at {_MANY:,} learners"
    yield limit(what, buffers, 1_000, "buffers")


def _time_rounds(many: Store, few: Store) -> Rounds:
    rounds = Rounds()
    learners = {store: logs.list_learners(store, events=1) for store in (many, few)}
    for number in range(_ROUNDS + 1):
        for name, store in (("many", many), ("few", few)):
            seconds = _run_after_one(store, learners[store][number])
            if number:
                rounds.add(name, 1_000 * seconds)
    return rounds


def _store(server: Server, learners: int) -> Store:
    """Return a store in which each learner has one session, and the batch job has run."""
    store = server.create_store()
    logs.fill(store, learners=learners, sessions=1)
    rebuild.run(functools.partial(database.connect, store.url))
    with closing(store.connect()) as connection:
        batch.run(connection)
        connection.run("VACUUM ANALYZE")
    return store


def _run_after_one(store: Store, learner: str) -> float:
    """Record a session of the learner; return the seconds of a batch run on a new connection."""
    session = envelopes.session(learner, logs.SINCE + timedelta(days=1), random.Random(learner))
    with closing(store.connect()) as connection:
        log.append(connection, [envelopes.delivery(list(session))])
        Projector(connection).catch_up_all()
    with closing(store.connect()) as connection:
        begin = time.perf_counter()
        batch.run(connection)
        return time.perf_counter() - begin


def _buffers(store: Store) -> int:
    with closing(store.connect()) as connection:
        Projector(connection)
        database.run(connection, "projections/interface", "prepare batch")
        plan = connection.run(blocks("batch_job")["buffers"])[0][0][0]["Plan"]
        read: int = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return read
