"""Event definitions and the event log. `EventStore` is the log's interface for Python."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec


class StoredEvent(msgspec.Struct, frozen=True):
    """A row of the log."""

    global_position: int
    event_id: UUID
    stream_id: str
    stream_version: int
    event_type: str
    event_data: dict[str, Any]
    metadata: dict[str, Any]
    occurred_at: datetime
    created_at: datetime


class Appended(msgspec.Struct, frozen=True):
    """The result of a batch: the number of events per outcome, and the shards to wake.

    The shards to wake include the shards of redelivered events, because the call that appended
    these events may have failed before it sent the wake-ups.
    """

    outcomes: dict[str, int]
    shards: list[int]
    stream_version: int | None = None
    event_ids: list[UUID] = []  # of `append_events`, in its order
    # Of a reported delivery: what became of each event that was not appended, and of each rejection
    # that is no dead letter, as (message in the batch, index in the message, outcome, reason).
    others: list[tuple[int, int, str, str | None]] = []


class Snapshot(msgspec.Struct, frozen=True):
    """A stream's state after `stream_version` events; `fingerprint` identifies the folds."""

    stream_id: str
    stream_version: int
    fingerprint: str
    newest_occurred_at: datetime
    state: dict[str, Any]
    taken_at: datetime | None = None


class EventStore(Protocol):
    """The event log and its snapshots; `log.PostgresEventStore` implements this interface.

    The calls are synchronous, as pg8000 is. The queries of the read models
    (`progress.query.read_models.queries`) are asynchronous, as asyncpg is. All calls raise
    DatabaseUnavailable if the database does not respond, SerializationError if PostgreSQL has no
    such value as an argument, and EventStoreError if it rejects the call. docs/python.md has
    examples.
    """

    def append_events(
        self,
        stream_id: str,
        events: Sequence[Mapping[str, Any]],
        expected_version: int | None = None,
    ) -> Appended:
        """Append envelopes (`event_id`, `event_type`, `occurred_at`, `data`, `metadata`).

        Without an `event_id`, one is made; without an `occurred_at`, it is the time of the call.
        Append all events or none. Raise ConsistencyError if the stream is not at
        `expected_version` (0 for a new stream), or if the log has an event with the same id but
        different content. If the reply to an append was lost, repeat it without the version: an
        event that is already in the log keeps its version, and counts as `redelivered`; one without
        an `event_id` is appended again. Raise SerializationError if an envelope is no dict, is
        invalid or belongs to another stream (the streams are learner-USER_ID, item-ITEM_ID,
        list-LIST_ID, group-GROUP_ID and other-EVENT_TYPE), and EventRejected if the event lies in
        the future or its session belongs to another learner. Events of an erased learner are not
        appended, and count as `erased`.
        """

    def read_events(
        self, stream_id: str, from_version: int = 1, to_version: int | None = None
    ) -> list[StoredEvent]:
        """Return a stream's events from one version to another, inclusive, in version order.

        The stream `learner-{user_id}` is the learner's audit trail.
        """

    def read_all_events(self, from_position: int, limit: int) -> list[StoredEvent]:
        """Return at most `limit` events of the whole log, starting at `from_position`."""

    def read_events_by_type(
        self,
        event_type: str,
        from_timestamp: datetime,
        to_timestamp: datetime | None = None,
        limit: int = 1_000,
        *,
        from_position: int = 1,
    ) -> list[StoredEvent]:
        """Return at most `limit` events of a type, recorded between two times, inclusive.

        A time without an offset is in UTC.
        To read the next page, pass the position after the last event as `from_position`.
        """

    def save_snapshot(self, snapshot: Snapshot, max_snapshots: int = 3) -> None:
        """Save a snapshot; of its stream and fingerprint, keep only the newest `max_snapshots`.

        The newest are those of the highest versions. A snapshot replaces one of the same version,
        and gets the present time as `taken_at`. About an erased learner, save nothing. Raise
        SerializationError if JSON cannot express the state, and EventStoreError if PostgreSQL
        cannot store it or `max_snapshots` is less than 1.
        """

    def get_latest_snapshot(
        self, stream_id: str, fingerprint: str | None = None
    ) -> Snapshot | None:
        """Return the stream's newest usable snapshot, or None.

        Of the batch job's snapshots, those of the read models that exist are usable. With a
        fingerprint, only its snapshots are.
        """
