"""The folds: live, of long histories, in a rebuild, and of a whole log."""

import contextlib
import functools
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import msgspec

from bench import envelopes, logs, processes
from bench.lines import Line, Rounds, limit
from bench.peers import Peer
from bench.server import Server, Store
from bench.statements import blocks
from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.archive import files, log_rows, ranges
from progress.archive.log_rows import Positions
from progress.event_store import log, time_zones
from progress.projections import definitions, rebuild, schema
from progress.projections.projector import SHARDS, Projector
from progress.recovery import checks

WINDOW = 1_000  # events
_LIVE_ROUNDS, _HISTORY_ROUNDS, _ROUNDS = 9, 15, 3
_DAYS, _SHORT = 4_762, 24  # with one session of 42 events each: 200,000 and 1,000 events
_SESSIONS, _ITEMS = 23, 40  # of a measured window: 966 events about items that are known
_SINCE = datetime(2010, 1, 1, tzinfo=UTC)
_MEMORY = "1GB"  # of DuckDB


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
        for number in range(_LIVE_ROUNDS + 1):
            cpu, begin = server.cpu_seconds(), time.perf_counter()
            folded = sum(projector.fold_window(shard, WINDOW) or 0 for shard in SHARDS)
            seconds, cpu = time.perf_counter() - begin, server.cpu_seconds() - cpu
            runner = peer.project(learners=25)
            if number:  # the first round is a warm-up
                rounds.add("folds", folded / seconds)
                rounds.add("CPU", 1e6 * cpu / folded)
                rounds.add("runner", runner)
    server.drop(store)
    server.drop(theirs)
    what = "live projection of all realtime read models, windows of 1,000, one connection"
    cpu_per_event = f"{rounds.median('CPU'):.0f} µs of PostgreSQL's CPU per event"
    against = "eventsourcing's runner, two counters:"
    yield rounds.compare_rates(
        f"{what}; {cpu_per_event}", "folds", "runner", against=against, bar=5
    )


def compare_with_short(server: Server) -> Iterator[Line]:
    """Compare windows of a long history (200,000 events) with windows of short ones (1,000)."""
    store, rounds = server.create_store(), Rounds()
    logs.fill(store, learners=1, sessions=_DAYS, seed="long", since=_SINCE)
    logs.fill(store, learners=100, sessions=_SHORT, seed="short", since=_SINCE)
    chance = random.Random(1)
    long, *short = logs.list_learners(store, events=1_000)
    with closing(store.connect()) as connection:
        projector = Projector(connection)
        projector.catch_up_all()
        for number in range(_HISTORY_ROUNDS + 2):
            middle = chance.randrange(_DAYS - _SHORT)
            for how, learner, known, first in (
                ("in order long", long, _DAYS - _SHORT, _DAYS + _SESSIONS * number),
                ("in order short", short[2 * number], 0, _SHORT),
                ("backdated long", long, middle, middle),
                ("backdated short", short[2 * number + 1], 0, 0),
            ):
                _append(connection, learner, known, first + number / 100)
                (shard,) = projector.find_shards_behind()
                begin = time.perf_counter()
                projector.fold_window(shard, WINDOW)
                if number > 1:
                    rounds.add(how, 1_000 * (time.perf_counter() - begin))
    server.drop(store)
    for how in ("in order", "backdated"):
        yield rounds.compare_costs(
            f"a window of a learner with 200,000 events of history, {how}",
            *(f"{how} long", f"{how} short"),
            against="with 1,000:",
            bar=1.25,
        )


def _append(connection: Connection, learner: str, known: int, first: float) -> None:
    """Append one session a day, for `_SESSIONS` days from day `first` on.

    The answers are about items that the learner has answered in the `_SHORT` days from day `known`.
    """
    bounds = {"after": 42 * known + 1, "until": 42 * (known + _SHORT)}
    items = connection.run(blocks("logs")["items"], learner=learner, limit=_ITEMS, **bounds)
    chance = random.Random(f"{learner} {first}")  # each call needs new event IDs
    batch: list[envelopes.Envelope] = []
    for day in range(_SESSIONS):
        begin = _SINCE + timedelta(days=first + day, hours=12)
        batch += envelopes.session(learner, begin, chance, [item for (item,) in items])
    log.append(connection, [envelopes.delivery(batch)])


def compare_rebuild(server: Server) -> Iterator[Line]:
    """Compare a rebuild with live folds (both on two connections) and with a bare GROUP BY."""
    store, rounds = server.create_store(), Rounds()
    events = logs.fill_long(store, events=1_000_000)
    for _ in range(_ROUNDS):
        for name, work in (("live", _fold_live), ("bare", _group), ("rebuild", _rebuild)):
            rounds.add(name, events / work(store))
    server.drop(store)
    what = f"rebuild, two connections, {events:,} events"
    for theirs, against, bar in (
        ("live", "live, two connections:", 1.0),
        ("bare", "bare INSERT … SELECT … GROUP BY:", 0.25),
    ):
        yield rounds.compare_rates(what, "rebuild", theirs, against=against, bar=bar)


def _fold_live(store: Store) -> float:
    """Fold the log in windows on two connections; return the seconds."""
    with closing(database.connect(store.url)) as connection:
        schema.drop(connection, schema.schema_name())
        schema.create(connection)
    with closing(store.connect()) as one, closing(store.connect()) as other:
        projectors = [Projector(one), Projector(other)]
        begin = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(_fold_half, projectors, (0, 1)))
        return time.perf_counter() - begin


def _fold_half(projector: Projector, half: int) -> None:
    """Fold half the shards; switch shards after each window, as if all shards received events."""
    waiting = list(SHARDS)[half::2]
    while waiting:
        waiting = [shard for shard in waiting if projector.fold_window(shard, WINDOW)]


def _group(store: Store) -> float:
    with closing(database.connect(store.url)) as connection:
        # Use the same work_mem as a rebuild.
        connection.run(statements.blocks("projections/rebuild")["tune"])
        connection.run(blocks("folds")["tables"])
        begin = time.perf_counter()
        for name in ("daily", "items"):
            connection.run(blocks("folds")[name])
        return time.perf_counter() - begin


def _rebuild(store: Store) -> float:
    begin = time.perf_counter()
    rebuild.run(functools.partial(database.connect, store.url))
    return time.perf_counter() - begin


def compare_whole(server: Server) -> Iterator[Line]:
    """Compare the CPU time of definitions, in PostgreSQL with a rebuild, and measure DuckDB's."""
    store, rounds, memory = server.create_store(), Rounds(), 0.0
    events = logs.fill_long(store, events=1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        bucket = _write_bucket(store, events, Path(folder))
        for _ in range(_ROUNDS):
            rounds.add("rebuild", server.measure_cpu(lambda: _rebuild(store)))
            rounds.add("postgresql", server.measure_cpu(lambda: _fold_whole(store)))
            seconds, memory = processes.run_alone(_fold_in_duckdb, bucket)
            rounds.add("duckdb", events / seconds)
    server.drop(store)
    yield rounds.compare_costs(
        f"PostgreSQL's CPU time for definitions of {events:,} events",
        *("postgresql", "rebuild"),
        against="for a rebuild:",
        bar=1.5,
        unit="s",
    )
    what = f"definitions of one bucket ({events:,} events) in DuckDB"
    rate = rounds.median("duckdb")
    yield Line(f"{what}, one core", rounds.rate("duckdb"), "", rate, 200_000, "events/s")
    yield limit(f"peak memory of {what}", memory, 1_500, "MB")


def _fold_whole(store: Store) -> None:
    with closing(store.connect()) as connection, checks.open_snapshot(connection):
        checks.fold(connection)


def _write_bucket(store: Store, events: int, folder: Path) -> Path:
    """Write the log as one bucket of an archive; return the path of the file."""
    target = folder / "log.parquet"
    with contextlib.closing(store.connect()) as connection, files.open_workspace() as workspace:
        with ranges.open_files(workspace.folder) as rows:
            log_rows.copy(connection, Positions(1, events), 1, rows)
        workspace.write(rows.by_bucket)[0].path.rename(target)
    return target


def _fold_in_duckdb(bucket: Path) -> float:
    """Fold the file, and write the tables as CSV; return the CPU seconds."""
    config = {"memory_limit": _MEMORY, "temp_directory": f"{bucket}.temporary", "threads": "1"}
    sources, folds = definitions.source_statements("duckdb"), definitions.fold_statements()
    with closing(duckdb.connect(":memory:", config=dict(config))) as duck:
        rules = msgspec.json.encode(list(time_zones.rules())).decode()
        duck.execute(sources["zone_offsets"], {"rules": rules})
        duck.execute(blocks("folds")["log"].replace("{file}", str(bucket)))
        begin = _own_cpu_seconds()
        for statement in (sources["facts"], *folds.values()):
            duck.execute(statement)
        for table in definitions.TABLES:
            write = blocks("folds")["write"].replace("{table}", table)
            duck.execute(write, {"csv": f"{bucket}.csv"})
        return _own_cpu_seconds() - begin


def _own_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
