"""Archives that tests write without a database, from the oracle's events."""

import contextlib
import csv
import json
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import duckdb

from progress.adapters.postgres import statements
from progress.adapters.storage.storage import Storage
from progress.archive import catalogue
from progress.archive.catalogue import Range
from progress.archive.files import LocalFile, Sums
from tests.oracle import Event, compute_stored
from tests.oracle.events import Envelope

_BLOCKS = statements.blocks(str(Path(__file__).with_suffix("")))

_BUCKETS = 16
_OTHERS = -1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def record(envelopes: Sequence[Envelope]) -> list[Event]:
    """Return the events that the log would record for these envelopes; set each event's learner."""
    learners, _ = compute_stored(envelopes)
    return [
        Event(
            event_id=UUID(envelope["event_id"]),
            type=envelope["event_type"],
            data=envelope["data"],
            occurred_at=datetime.fromisoformat(envelope["occurred_at"]),
            created_at=_EPOCH,
            user_id=learners[envelope["event_id"]],
        )
        for envelope in envelopes
        if envelope["event_id"] in learners
    ]


def write(storage: Storage, events: Sequence[Event], *, parts: int = 2) -> None:
    versions: Counter[str] = Counter()
    size = -(-len(events) // parts)
    for first in range(0, len(events), size):
        _write_range(storage, first + 1, events[first : first + size], versions)


def _write_range(
    storage: Storage, first: int, events: Sequence[Event], versions: Counter[str]
) -> None:
    new = Range(first, first + len(events) - 1, events[-1].created_at, [])
    with tempfile.TemporaryDirectory() as name, contextlib.closing(duckdb.connect()) as duck:
        source = Path(name) / "rows.csv"
        _write_rows(source, first, events, versions)
        duck.execute(_BLOCKS["read rows"], {"csv": str(source)})
        rows = dict.fromkeys([_OTHERS], 0) | dict(duck.execute(_BLOCKS["buckets"]).fetchall())
        for bucket in sorted(rows, reverse=True):
            target = Path(name) / f"{bucket}.parquet"
            duck.execute(_BLOCKS["write bucket"], {"bucket": bucket, "target": str(target)})
            local = LocalFile(target, Sums(rows[bucket]))
            number = None if bucket == _OTHERS else bucket
            catalogue.store(storage, new, number, _BUCKETS, local)


def _write_rows(path: Path, first: int, events: Iterable[Event], versions: Counter[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        for position, event in enumerate(events, first):
            stream = f"learner-{event.user_id}" if event.user_id else "item-x"
            bucket = zlib.crc32(stream.encode()) % _BUCKETS if event.user_id else _OTHERS
            metadata = {"user_id": event.user_id} if event.user_id and event.names_learner else {}
            versions[stream] += 1
            rows.writerow(
                (
                    *(bucket, position, event.event_id, stream, versions[stream], event.type),
                    *(json.dumps(event.data), json.dumps(metadata)),
                    *(_microseconds(event.occurred_at), _microseconds(event.created_at)),
                    max(bucket, 0),
                )
            )


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
