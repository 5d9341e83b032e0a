"""Snapshots: a learner's read-model state at a version of the learner's stream."""

from datetime import datetime
from typing import Any

import msgspec

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks


class Policy(msgspec.Struct, frozen=True):
    """How many events lie between two snapshots of a stream, and how many are kept."""

    event_interval: int = 100
    max_snapshots: int = 3


POLICY = Policy()

_LEARNERS_PER_TRANSACTION = 50  # learners, whose deletion waits meanwhile


class Snapshot(msgspec.Struct, frozen=True):
    """State after `stream_version` events; `fingerprint` is of the projections that made it."""

    stream_id: str
    stream_version: int
    fingerprint: str
    newest_occurred_at: datetime
    state: dict[str, Any]
    taken_at: datetime | None = None


def save_snapshot(connection: Connection, snapshot: Snapshot, policy: Policy = POLICY) -> None:
    """Keep it, and of the stream's snapshots the newest `max_snapshots`."""
    sql = blocks("event_store/log")
    connection.run(
        sql["save snapshot"],
        stream_id=snapshot.stream_id,
        stream_version=snapshot.stream_version,
        fingerprint=snapshot.fingerprint,
        newest_occurred_at=snapshot.newest_occurred_at,
        state=msgspec.json.encode(snapshot.state).decode(),
    )
    connection.run(
        sql["drop old snapshots"], stream_id=snapshot.stream_id, kept=policy.max_snapshots
    )


def take(connection: Connection, policy: Policy = POLICY) -> int:
    """Take those that are due of the learners whom the batch folds have noted; how many.

    Each few are a transaction of their own.
    """
    sql = blocks("read_models/snapshots")
    connection.run(sql["drop_learners_not_due"], event_interval=policy.event_interval)
    taken = 0
    while of_these := connection.run(
        sql["take"], at_most=_LEARNERS_PER_TRANSACTION, kept=policy.max_snapshots
    )[0][0]:
        taken += of_these
    return taken


def drop_orphans(connection: Connection) -> None:
    """Remove those of read models that are gone."""
    connection.run(blocks("read_models/snapshots")["drop_orphans"])


def get_latest_snapshot(
    connection: Connection, stream_id: str, fingerprint: str, *, before: datetime | None = None
) -> Snapshot | None:
    """The newest that projections of this fingerprint made; None if there is none.

    With `before`, the newest of those that hold no event later than that moment.
    """
    rows = connection.run(
        blocks("event_store/log")["latest snapshot"],
        stream_id=stream_id,
        fingerprint=fingerprint,
        before=before,
    )
    return Snapshot(*rows[0]) if rows else None
