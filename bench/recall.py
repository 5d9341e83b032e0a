"""The states of memory: of all answers at once in both engines, and after late answers."""

import functools
import random
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from msgspec import json

from bench import envelopes, logs
from bench.folds import time_window
from bench.lines import Line, Rounds, format_rate, limit
from bench.server import Server, Store
from bench.statements import blocks
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.demo import loading
from progress.event_store import log
from progress.projections import batch, definitions, rebuild
from progress.projections.projector import Projector
from progress.recovery import checks

_ROUNDS = 5
_FEWEST = 200_000  # answers per second
_ITEMS, _SESSIONS = 100, 250  # of the learner with late answers: 50 answers of each item
_BURST = 1_000
_RELATION = "remembered_answers"


def measure_states(server: Server) -> Iterator[Line]:
    """Measure the whole fold of states in PostgreSQL and in DuckDB, and a burst of late answers."""
    store = server.create_store()
    logs.fill_long(store, events=400_000)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "answers.csv"
        yield _line("PostgreSQL", _fold_in_postgresql(server, store, path))
        yield _line("DuckDB", _fold_in_duckdb(path))
    server.drop(store)
    yield _compare_late(server)
    yield _time_import(server)


def _line(engine: str, rate: float) -> Line:
    what = f"whole fold of the states of memory in {engine}, on one core"
    return Line(what, format_rate(rate, "answers"), "", rate, _FEWEST, "answers/s")


def _fold_in_postgresql(server: Server, store: Store, path: Path) -> float:
    """Return the answers per second of PostgreSQL's CPU; write the answers to `path`."""
    rebuild.run(functools.partial(database.connect, store.url))
    rounds = Rounds()
    with closing(store.connect()) as connection:
        for _ in range(_ROUNDS):
            with checks.open_snapshot(connection):
                checks.fold(connection)
                connection.run(blocks("recall")["forget"])
                connection.run(blocks("recall")["read temporary tables"])
                (answers,) = connection.run(blocks("recall")["count"])[0]
                statement = definitions.fold_statements("postgresql")[_RELATION]
                seconds = server.measure_cpu(functools.partial(connection.run, statement))
                rounds.add("rate", answers / seconds)
        with path.open("wb") as file:
            connection.run(blocks("recall")["answers"], stream=file)
    return rounds.median("rate")


def _fold_in_duckdb(path: Path) -> float:
    """Return the answers per second of DuckDB's CPU."""
    rounds = Rounds()
    for _ in range(_ROUNDS):
        with duckdb.connect(":memory:", config={"threads": 1}) as duck:
            duck.execute(blocks("recall")["load"], {"path": str(path)})
            answers = duck.execute(blocks("recall")["count"]).fetchall()[0][0]
            begin = time.process_time()
            duck.execute(definitions.fold_statements("duckdb")[_RELATION])
            rounds.add("rate", answers / (time.process_time() - begin))
    return rounds.median("rate")


def _compare_late(server: Server) -> Line:
    """Compare windows of answers that are older than stored answers with windows of new answers."""
    store, rounds, chance = server.create_store(), Rounds(), random.Random(1)
    logs.fill(store, learners=1, sessions=_SESSIONS, items=_ITEMS)
    (learner,) = logs.list_learners(store, events=1)
    items = [f"item-{n}" for n in range(1, _ITEMS + 1)]
    middle, end = (logs.SINCE + timedelta(days=n) for n in (_SESSIONS // 2, _SESSIONS + 9))
    with closing(store.connect()) as connection:
        projector = Projector(connection)
        projector.catch_up_all()
        for number in range(_ROUNDS + 1):
            for how, at in (("late", middle), ("plain", end)):
                _append(connection, learner, at + timedelta(hours=number), items, chance)
                milliseconds = time_window(projector)
                if number:
                    rounds.add(how, milliseconds)
    server.drop(store)
    return rounds.compare_costs(
        f"a burst of {_BURST:,} late answers to {_ITEMS} items",
        *("late", "plain"),
        against="as many plain answers:",
        bar=20,
    )


def _time_import(server: Server) -> Line:
    """Time a batch run after the demo's log of one learner, whose 26 weeks have 12,580 answers."""
    store = server.create_store()
    with closing(store.connect()) as connection:
        for message in loading.messages():
            events = json.decode(json.encode(message.events))
            log.append(connection, [envelopes.delivery(events)])
        Projector(connection).catch_up_all()
        begin = time.perf_counter()
        batch.run(connection)
        seconds = time.perf_counter() - begin
    server.drop(store)
    what = "batch run after the import of one learner with 12,580 answers"
    return limit(what, 1_000 * seconds, 1_000, "ms")


def _append(
    connection: Connection, learner: str, at: datetime, items: list[str], chance: random.Random
) -> None:
    answers = [
        envelopes.answer(learner, "late", at + timedelta(seconds=n), chance.choice(items), chance)
        for n in range(_BURST)
    ]
    log.append(connection, [envelopes.delivery(answers)])
