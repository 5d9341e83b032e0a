"""Snapshots: a learner's read-model rows, saved at one version of the learner's stream."""

from datetime import datetime
from typing import Any

import msgspec

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks


class Policy(msgspec.Struct, frozen=True):
    """The number of events between two snapshots of a stream, and the number of snapshots kept."""

    event_interval: int = 100
    max_snapshots: int = 3


POLICY = Policy()

# `take` handles few learners in a transaction, because the deletion of a learner waits until the
# transaction ends.
_LEARNERS_PER_TRANSACTION = 50


class Snapshot(msgspec.Struct, frozen=True):
    """A stream's state after `stream_version` events; `fingerprint` identifies the schema."""

    stream_id: str
    stream_version: int
    fingerprint: str
    newest_occurred_at: datetime
    state: dict[str, Any]
    taken_at: datetime | None = None


def save_snapshot(connection: Connection, snapshot: Snapshot, policy: Policy = POLICY) -> None:
    """Save the snapshot, then delete all but the newest `max_snapshots` of its stream."""
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
    """Take a snapshot of each learner who needs a new one; return the number of learners.

    The batch folds put learners who may need a snapshot into a queue. Each transaction takes the
    snapshots of a few learners.
    """
    sql = blocks("read_models/snapshots")
    connection.run(sql["drop_learners_not_due"], event_interval=policy.event_interval)
    values = {"at_most": _LEARNERS_PER_TRANSACTION, "kept": policy.max_snapshots}
    taken = 0
    while learners := connection.run(sql["take"], **values)[0][0]:
        taken += learners
    return taken


def drop_orphans(connection: Connection) -> None:
    """Drop the snapshots of schemas that no longer exist."""
    connection.run(blocks("read_models/snapshots")["drop_orphans"])


def get_latest_snapshot(
    connection: Connection, stream_id: str, fingerprint: str, *, before: datetime | None = None
) -> Snapshot | None:
    """Return the newest snapshot that was taken with this fingerprint, or None.

    With `before`, return the newest snapshot that contains no event after that time.
    """
    rows = connection.run(
        blocks("event_store/log")["latest snapshot"],
        stream_id=stream_id,
        fingerprint=fingerprint,
        before=before,
    )
    return Snapshot(*rows[0]) if rows else None
