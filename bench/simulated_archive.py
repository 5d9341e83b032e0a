"""The archive of a simulated log: many learners, each of whom studies as a real learner did.

The real log is `data/anki_reviews.csv`, which `progress import anki` converts to events. It has:

- 25,289 events in 191 days: 49.7 % answers (71 % of them correct), 49.7 % reviews, 0.5 % starts and
  ends of sessions, and one `UserCreated`;
- 64 sessions on 61 days; a session has 197 answers on average (median 192, from 2 to 529), and an
  answer takes 11 s (median);
- 1,205 of the catalogue's 8,822 items; an item has 10 answers on average (median 8, at most 54);
- intervals between reviews, computed by SM-2: 72 % are one day, 11 % are six days, and 5 % are 21
  to 80 days.

Each simulated learner has these sessions, but another id, time zone and first day, and other items.
Learners join evenly over the 191 days, and the log ends after these days. Most learners therefore
have only the first part of the real history, about 12,000 events on average. All events of a
session are recorded when it ends. No learner changes preferences or is deleted.

A rebuild reads the archived events from files. Only the few events that the manifest names must
also be in the database: the last event of each shard, and the first event of the log. The database
therefore contains only these events, at their positions. The ordinary commands then accept the
archive. PostgreSQL computes each learner's bucket once, because DuckDB does not have the hash
function that assigns learners to buckets.
"""

import contextlib
import csv
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from bench.statements import blocks
from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import catalog, files, manifest, plan, publishing, ranges
from progress.archive.log_rows import Positions
from progress.archive.manifest import File, RangeManifest
from progress.demo import loading
from progress.event_store import envelope
from progress.event_store.event_parser import Message

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Progress = Callable[[int, int], None]

_MEMORY = "2GB"
_WORKERS = 2  # buckets that are written at the same time, with one thread each
_OTHERS = -1  # the bucket of the catalogue
_MARGIN = 1.02  # 2 % more learners than are needed on average; surplus events are cut off
_LARGEST = 10 * plan.RANGE  # the number of positions in a merged range
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Size(NamedTuple):
    """The numbers of events and of buckets, and how many days of the real log are simulated."""

    events: int
    buckets: int
    days: int = 192


class Row(NamedTuple):
    """An event of the real log: its JSON as PostgreSQL writes it, and its time in µs since 1970."""

    event_type: str
    event_data: str
    metadata: str
    event_id: str
    stream_id: str | None
    session_id: str | None
    item_id: str | None
    at_us: int
    shard: int | None


class Simulation:
    """A simulated log, whose events are computed when they are written."""

    def __init__(self, duck: "DuckDBPyConnection", folder: Path, size: Size) -> None:
        self._duck, self._folder, self._size = duck, folder, size

    def load_log(self, connection: Connection) -> None:
        """Load the events that the archive's manifest names; the log must be empty."""
        positions = _run(self._duck, "checkpoints", events=self._size.events)
        for (position,) in positions:
            target = self._folder / "event.csv"
            _run(self._duck, "write event", position=position, csv=str(target))
            with target.open("rb") as rows:
                connection.run(statements.blocks("archive/restore")["load"], stream=rows)

    def write(self, connection: Connection, stored: Storage, on_progress: Progress) -> None:
        """Write and publish the archive; call `load_log` before."""
        parts = list(_split(self._size.events))
        written: dict[Positions, list[File]] = {part: [] for part in parts}
        buckets = [_OTHERS, *range(self._size.buckets)]
        done = 0
        with ThreadPoolExecutor(_WORKERS) as threads:
            for bucket_files in threads.map(
                lambda n: self._write_bucket(stored, n, parts), buckets
            ):
                for part, file in bucket_files:
                    written[part].append(file)
                    done += file.rows
                on_progress(done, self._size.events)
        entries = [catalog.put_range(stored, self._describe(part, written[part])) for part in parts]
        publishing.publish(connection, stored, None, entries, self._size.buckets)

    def _write_bucket(
        self, stored: Storage, bucket: int, parts: Sequence[Positions]
    ) -> list[tuple[Positions, File]]:
        """Write the bucket's files, one for each range; return the files that have rows."""
        paths = {part: self._folder / f"{bucket}-{part.first}.parquet" for part in parts}
        with self._duck.cursor() as cursor:
            for part, path in paths.items():
                values = {"first": part.first, "last": part.last, "bucket": bucket}
                _run(cursor, "write", target=str(path), **values)
        measured = files.Workspace(self._folder, self._duck).measure(list(paths.values()))
        name = None if bucket == _OTHERS else bucket
        found = [
            (part, ranges.store(stored, manifest.folder(*part), name, measured[path]))
            for part, path in paths.items()
            if path in measured
        ]
        for path in paths.values():
            path.unlink()
        return found

    def _describe(self, part: Positions, written: list[File]) -> RangeManifest:
        ((first_us, last_us),) = _run(
            self._duck, "recorded times", first=part.first, last=part.last
        )
        return RangeManifest(
            first=part.first,
            last=part.last,
            events=sum(file.rows for file in written),
            recorded_from=_EPOCH + timedelta(microseconds=first_us),
            recorded_to=_EPOCH + timedelta(microseconds=last_us),
            files=sorted(written, key=lambda file: (file.bucket is None, file.bucket)),
        )


@contextlib.contextmanager
def open_simulation(connection: Connection, size: Size) -> Iterator[Simulation]:
    """Prepare the learners and their sessions, then yield the simulation."""
    with files.open_folder() as folder, files.open_duck(folder, memory=_MEMORY, threads=1) as duck:
        _load_template(connection, duck, folder)
        _run(duck, "template sessions", days=size.days)
        _load_learners(connection, duck, folder, size)
        yield Simulation(duck, folder, size)


def _load_template(connection: Connection, duck: "DuckDBPyConnection", folder: Path) -> None:
    """Load the real log: the catalogue, and the learner's events with marks (see `_mark`)."""
    rows = _read_real_log(connection)
    catalogue = [row for row in rows if row.stream_id]
    _load(duck, folder, "catalogue", _list_catalogue(catalogue))
    _load(duck, folder, "template", _mark([row for row in rows if not row.stream_id]))
    _run(duck, "items")


def _read_real_log(connection: Connection) -> list[Row]:
    events = itertools.chain.from_iterable(message.events for message in loading.messages())
    decoded = envelope.decode(msgspec.json.encode(list(events)), Message())
    text = msgspec.json.encode(decoded).decode()
    rows = connection.run(blocks("simulated_archive")["stored events"], events=text)
    return [Row(*row) for row in rows]


def _list_catalogue(rows: Sequence[Row]) -> Iterator[tuple[object, ...]]:
    for position, row in enumerate(rows, 1):
        data = (row.event_id, row.stream_id, row.event_type, row.event_data, row.metadata)
        yield position, *data, row.at_us, row.shard, row.item_id


def _mark(rows: Sequence[Row]) -> Iterator[tuple[object, ...]]:
    """Yield the template's rows, in which marks replace all ids and the time zone."""
    cards: dict[str, int] = {}
    session, cause = 0, ""
    for turn, row in enumerate(rows, 1):
        if row.event_type == "SessionStarted":
            session, session_id = session + 1, str(row.session_id)
        card = cards.setdefault(row.item_id, len(cards)) if row.item_id else None
        texts = [row.event_data, row.metadata]
        if turn > 1:
            texts = [text.replace(session_id, "<session>") for text in texts]
        data, metadata = (
            text.replace(f'"{loading.LEARNER.user_id}"', '"<learner>"') for text in texts
        )
        data = data.replace(f'"item_id": "{row.item_id}"', '"item_id": "<item>"')
        data = data.replace(f'"{loading.LEARNER.timezone}"', '"<zone>"')
        metadata = metadata.replace(f'"{cause}"', '"<cause>"')
        yield turn, max(session, 1), row.event_type, data, metadata, card, row.at_us
        cause = row.event_id


def _load_learners(
    connection: Connection, duck: "DuckDBPyConnection", folder: Path, size: Size
) -> None:
    """Load as many learners as the log needs; raise ValueError if `size` has too few events."""
    ((catalogue,),) = duck.execute("SELECT count(*) FROM catalogue").fetchall()
    ((mean,),) = _run(duck, "events of a learner")
    if size.events <= catalogue:
        raise ValueError(f"expected more than the {catalogue:,} events of the catalogue")
    learners = math.ceil(_MARGIN * (size.events - catalogue) / mean) + 3
    rows = connection.run(
        blocks("simulated_archive")["learners"], learners=learners, buckets=size.buckets
    )
    _load(duck, folder, "learners", rows)
    _run(duck, "sessions", events=size.events)
    ((end,),) = _run(duck, "end")
    assert end >= size.events, f"{learners:,} learners have only {end:,} events"
    _run(duck, "events")


def _load(
    duck: "DuckDBPyConnection", folder: Path, table: str, rows: Iterable[Sequence[object]]
) -> None:
    path = folder / f"{table}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    _run(duck, f"read {table}", csv=str(path))
    path.unlink()


def _split(events: int) -> Iterator[Positions]:
    """Yield the archive's ranges; in a long log, each has the length of a merged range."""
    length = plan.RANGE if events <= _LARGEST else _LARGEST
    for first in range(1, events + 1, length):
        yield Positions(first, min(first + length - 1, events))


def _run(duck: "DuckDBPyConnection", block: str, **values: object) -> list[tuple[Any, ...]]:
    return files.execute(duck, blocks("simulated_archive")[block], values)
