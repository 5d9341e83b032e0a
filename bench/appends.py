"""Appends, compared with the Python library `eventsourcing` and with message-db.

Each system gets its events encoded, has its own database on the same server, and calls it from this
process, one call at a time.
"""

import contextlib
import itertools
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path
from typing import cast

import msgspec
import psycopg
from eventsourcing.application import Application
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder

from bench import envelopes, npm
from bench.envelopes import Envelope
from bench.lines import Line, Rounds, RowSkipped
from bench.server import Server, Store
from bench.statements import blocks
from progress.event_store import log

_PACKAGE = Path(__file__).resolve().parent / "message_db"

Batch = list[Envelope]
Prepare = Callable[[Batch], Callable[[], object]]  # returns the call that appends the batch

_OWN, _LIBRARY, _MESSAGE_DB = "Progress", "eventsourcing", "message-db"
_SINGLE = "append, one event in a call"
# What, calls in a round, events in a call, how many of these Progress has already, and the bars of
# the ratios to `eventsourcing` and to message-db.
_LOADS = (
    ("append, 100 events in a call", 60, 100, 0, 1.3, 1.3),
    ("append, 100 events in a call, one redelivered", 60, 100, 1, 0.9, 1.2),
    (_SINGLE, 500, 1, 0, 2.0, 0.6),
)


def measure_appends(
    server: Server, *, how_many: int = 31, calls: int | None = None
) -> Iterator[Line]:
    """Measure the bars in `how_many` rounds, each with `calls` calls if given.

    The peers get only new events, because an event that they already have is an error there.
    """
    kinds: dict[str, Callable[[Store], AbstractContextManager[Prepare]]]
    kinds = {_OWN: _open_own, _LIBRARY: _open_library}
    skipped = None
    try:
        kinds[_MESSAGE_DB] = partial(_open_message_db, npm.install(_PACKAGE))
    except RowSkipped as reason:
        skipped = reason
    source = envelopes.endless()
    with contextlib.ExitStack() as cleanup:
        systems: dict[str, tuple[Store, Prepare]] = {}
        for name, connect in kinds.items():
            store = server.create_database()
            cleanup.callback(server.drop, store)
            systems[name] = store, cleanup.enter_context(connect(store))
        for what, many, size, redelivered, *bars in _LOADS:
            batches = _draw(source, calls or many, size, redelivered)
            rates, per_core = _append(systems, itertools.islice(batches, how_many + 1))
            for peer, bar in zip([*systems][1:], bars, strict=False):
                yield rates.compare_rates(what, _OWN, peer, against=peer, bar=bar)
    own, peers = per_core.rate(_OWN), [f"{n} {per_core.rate(n)}" for n in [*systems][1:]]
    what, rate = f"{_SINGLE}, per core of the database", per_core.median(_OWN)
    yield Line(what, own, ", ".join(peers), rate, 3_400, "events/s")
    if skipped:
        raise skipped


def _draw(
    source: Iterator[Envelope], calls: int, size: int, redelivered: int
) -> Iterator[tuple[list[Batch], list[Batch]]]:
    """Yield the batches of a round for Progress and for the peers.

    In the former, `redelivered` events of each batch are replaced by events of the last round.
    """
    earlier: Iterator[Envelope] = iter(())
    for number in itertools.count():
        batches = [list(itertools.islice(source, size)) for _ in range(calls)]
        old = redelivered if number else 0
        yield [[*itertools.islice(earlier, old), *batch[old:]] for batch in batches], batches
        earlier = itertools.chain.from_iterable(batches)


def _append(
    systems: dict[str, tuple[Store, Prepare]], rounds: Iterator[tuple[list[Batch], list[Batch]]]
) -> tuple[Rounds, Rounds]:
    """Return the events per second, and per second of the database sessions' CPU time.

    The first round is a warm-up. Another system begins in each round, and each makes its calls in
    a row, which keeps caches warm, as in production.
    """
    rates, per_core = Rounds(), Rounds()
    for number, (mixed, new) in enumerate(rounds):
        events, start = sum(map(len, new)), number % len(systems)
        for name in (*systems, *systems)[start : start + len(systems)]:
            store, prepare = systems[name]
            calls = [prepare(batch) for batch in (mixed if name == _OWN else new)]
            spent, begin = store.cpu_microseconds(), time.perf_counter()
            for call in calls:
                call()
            took = time.perf_counter() - begin
            spent = store.cpu_microseconds() - spent
            if number:
                rates.add(name, events / took)
                per_core.add(name, 1e6 * events / spent)
    return rates, per_core


@contextlib.contextmanager
def _open_own(store: Store) -> Iterator[Prepare]:
    store.create_tables()
    with closing(store.connect()) as connection:
        yield lambda batch: partial(log.append, connection, [envelopes.delivery(batch)])


@contextlib.contextmanager
def _open_library(store: Store) -> Iterator[Prepare]:
    """Open an application of `eventsourcing` in default mode, which orders all events.

    Its callers number the events of each learner.
    """
    environment = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": store.name,
        "POSTGRES_HOST": store.host,
        "POSTGRES_PORT": "5432",
        "POSTGRES_USER": "postgres",
        "POSTGRES_PASSWORD": "",
    }
    versions: Counter[uuid.UUID] = Counter()

    def number(one: Envelope) -> StoredEvent:
        key = uuid.uuid5(uuid.NAMESPACE_OID, one["data"]["user_id"])
        versions[key] += 1
        state = msgspec.json.encode(one["data"] | {"timestamp": one["occurred_at"]})
        return StoredEvent(key, versions[key], f"{__name__}:{one['event_type']}", state)

    with closing(Application[uuid.UUID](environment)) as application:
        recorder = cast("PostgresApplicationRecorder", application.recorder)
        yield lambda batch: partial(recorder.insert_events, [number(one) for one in batch])


@contextlib.contextmanager
def _open_message_db(packages: Path, store: Store) -> Iterator[Prepare]:
    """Run the files that message-db's script `install.sh` runs; yield calls of its function.

    Roles, privileges and views are left out, and so is the extension pgcrypto, whose function
    PostgreSQL has had since version 13. Several messages are pipelined in one transaction.
    """
    write = blocks("appends")["write"].encode()
    # The files of functions are in the order of their names, not of their calls.
    options = "-c search_path=message_store,public -c check_function_bodies=off"
    with psycopg.connect(
        host=store.host, user="postgres", dbname=store.name, autocommit=True, options=options,
        prepare_threshold=0,
    ) as connection:  # fmt: skip
        for part in ("schema", "tables", "types", "functions", "indexes"):
            folder = packages / "@eventide/message-db/database" / part
            for file in sorted(folder.glob("*.sql")):
                connection.execute(file.read_bytes(), prepare=False)

        def append(messages: list[tuple[str, ...]]) -> None:
            if len(messages) == 1:
                connection.execute(write, messages[0])
                return
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(write, messages)

        yield lambda batch: partial(append, [_encode(one) for one in batch])


def _encode(one: Envelope) -> tuple[str, ...]:
    """Return the message's id, stream, type and data."""
    data = msgspec.json.encode(one["data"] | {"at": one["occurred_at"]}).decode()
    return one["event_id"], f"learner-{one['data']['user_id']}", one["event_type"], data
