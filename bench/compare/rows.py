"""The rows of the comparison: appends, projections and queries of all systems, in rounds."""

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench import envelopes
from bench.compare import message_db
from bench.compare.eventsourcing_library import Library
from bench.compare.message_db import MessageDb
from bench.compare.own import Own
from bench.compare.systems import System, open_all
from bench.envelopes import Envelope
from bench.lines import Line, Rounds, RowSkipped
from bench.server import Server, Store

OWN, LIBRARY, MESSAGE_DB = "Progress", "eventsourcing", "message-db"
Systems = dict[str, Callable[[Store], System]]

_SESSION = 42  # events
_SINGLE = "append, one event in a call"


@dataclass(frozen=True)
class Sizes:
    """The amount of work in a round, and the numbers of rounds after a warm-up."""

    append_rounds: int = 31
    rounds: int = 11  # of projections and reads
    batches: int = 60  # of 100 events
    singles: int = 500  # events
    sessions: int = 200  # of 42 events, which a round projects
    streams: int = 200  # that a round reads
    reads: int = 1_000  # of a read model


@dataclass(frozen=True)
class Comparison:
    """What was compared, in `unit` per second, with the rates of all systems.

    `bar` is the least ratio to `eventsourcing` that Progress promises; 0 means none.
    """

    what: str
    unit: str
    rounds: Rounds
    bar: float = 0

    def ratio(self, peer: str) -> float:
        """Return how many times the peer's rate Progress has."""
        return self.rounds.ratio(OWN, peer)


def measure_appends(server: Server) -> Iterator[Line]:
    """Measure the bars of appends; the peer is `eventsourcing`."""
    hundred, redelivered, single, per_core = compare_appends(
        server, {OWN: Own, LIBRARY: Library}, Sizes()
    )
    for one in (hundred, redelivered, single):
        yield one.rounds.compare_rates(one.what, OWN, LIBRARY, against=LIBRARY, bar=one.bar)
    own, peer = (per_core.rounds.rate(name) for name in (OWN, LIBRARY))
    rate = per_core.rounds.median(OWN)
    yield Line(per_core.what, own, f"{LIBRARY} {peer}", rate, 3_400, "events/s")


def find_systems(report: Callable[[str], object]) -> Systems:
    """Return the systems that are installed; install message-db, or report why that failed."""
    systems: Systems = {OWN: Own, LIBRARY: Library}
    try:
        systems[MESSAGE_DB] = functools.partial(MessageDb, message_db.install())
    except RowSkipped as reason:
        report(f"{MESSAGE_DB} is left out: {reason}")
    return systems


def compare_all(server: Server, systems: Systems, sizes: Sizes) -> Iterator[Comparison]:
    """Yield every row."""
    yield from compare_appends(server, systems, sizes)
    yield from compare_reads(server, systems, sizes)


@dataclass(frozen=True)
class _Load:
    """The calls of a round, the events in a call, and how many of these Progress has already."""

    calls: int
    size: int
    redelivered: int = 0


def compare_appends(server: Server, kinds: Systems, sizes: Sizes) -> Iterator[Comparison]:
    """Compare appends of 100 events in a call, of 100 with one redelivered, and of one.

    The peers get only new events, because an event that they already have is an error there. The
    last row has the same single appends per second of the database sessions' CPU time.
    """
    source = envelopes.endless()
    with open_all(server, kinds) as systems:
        for what, load, bar in (
            ("append, 100 events in a call", _Load(sizes.batches, 100), 1.3),
            ("append, 100 events in a call, one redelivered", _Load(sizes.batches, 100, 1), 0.9),
            (_SINGLE, _Load(sizes.singles, 1), 2.0),
        ):
            rates, per_core = _append(systems, source, sizes.append_rounds, load)
            yield Comparison(what, "events", rates, bar)
        yield Comparison(f"{_SINGLE}, per core of the database", "events", per_core)


def _append(
    systems: dict[str, System], source: Iterator[Envelope], how_many: int, load: _Load
) -> tuple[Rounds, Rounds]:
    """Return the events per second, and per second of the database sessions' CPU time."""
    rates, per_core = Rounds(), Rounds()
    earlier: list[Envelope] = []
    for number in range(how_many + 1):
        batches = [list(itertools.islice(source, load.size)) for _ in range(load.calls)]
        mixed = _redeliver(batches, earlier, load.redelivered) if earlier else batches
        for name, system in _rotate(systems, number):
            calls = [system.encode(batch) for batch in (mixed if name == OWN else batches)]
            spent = system.store.cpu_microseconds()
            # Each system makes its calls in a row. This keeps caches warm, as in production.
            begin = time.perf_counter()
            for call in calls:
                system.append(call)
            took = time.perf_counter() - begin
            spent = system.store.cpu_microseconds() - spent
            if number:
                rates.add(name, load.calls * load.size / took)
                per_core.add(name, 1e6 * load.calls * load.size / spent)
        earlier = [event for batch in batches for event in batch]
    return rates, per_core


def _redeliver(
    batches: list[list[Envelope]], earlier: Sequence[Envelope], how_many: int
) -> list[list[Envelope]]:
    """Return the batches with `how_many` events of each replaced by events of the last round."""
    old = iter(earlier)
    middle = len(batches[0]) // 2
    return [
        [*batch[:middle], *itertools.islice(old, how_many), *batch[middle + how_many :]]
        for batch in batches
    ]


def compare_reads(server: Server, kinds: Systems, sizes: Sizes) -> Iterator[Comparison]:
    """Compare projections, reads of streams, and reads of a read model. No commit waits for disk.

    Each round first appends the events that it projects.
    """
    source, rounds = envelopes.endless(), [Rounds() for _ in range(4)]
    projection, projection_per_core, streams, reads = rounds
    with open_all(server, kinds, waits_for_disk=False) as systems:
        for number in range(sizes.rounds + 1):
            events = list(itertools.islice(source, _SESSION * sizes.sessions))
            learners = list(dict.fromkeys(event["data"]["user_id"] for event in events))
            answers = set()
            for name, system in _rotate(systems, number):
                for at in range(0, len(events), 100):
                    system.append(system.encode(events[at : at + 100]))
                projected = system.project()
                asked = [*itertools.islice(itertools.cycle(learners), sizes.streams)]
                stream_seconds, lengths = _time(system.read_streams, asked)
                asked = [*itertools.islice(itertools.cycle(learners), sizes.reads)]
                read_seconds, counts = _time(system.count_sessions, asked)
                answers.add((*lengths, *counts))
                if number:
                    projection.add(name, projected.events / projected.seconds)
                    projection_per_core.add(name, projected.events / projected.cpu_seconds)
                    streams.add(name, sum(lengths) / stream_seconds)
                    reads.add(name, len(asked) / read_seconds)
            assert len(answers) == 1, "the systems disagree"
    yield Comparison("projection", "events", projection, 5)
    yield Comparison("projection, per core of the database", "events", projection_per_core)
    yield Comparison("reads of a learner's events", "events", streams, 1)
    yield Comparison("reads of a learner's progress from a read model", "reads", reads)


def _time(
    read: Callable[[Sequence[str]], list[int]], learners: Sequence[str]
) -> tuple[float, list[int]]:
    begin = time.perf_counter()
    found = read(learners)
    return time.perf_counter() - begin, found


def _rotate(systems: dict[str, System], number: int) -> list[tuple[str, System]]:
    """Return the systems, with another one first in each round."""
    listed = list(systems.items())
    start = number % len(listed)
    return listed[start:] + listed[:start]
