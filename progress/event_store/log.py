"""The event log: appending to it and reading it, under the names the field uses.

The audit trail of a learner is `read_events(connection, f"learner-{user_id}", 1)`.
"""

import weakref
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection, Failure, Statement
from progress.adapters.postgres.statements import blocks
from progress.errors import (
    DatabaseUnavailable,
    EventRejected,
    EventStoreError,
    SerializationError,
)
from progress.event_store import envelope
from progress.event_store.envelope import Arrival, Letter, Message

_prepared: "weakref.WeakKeyDictionary[Connection, Statement]" = weakref.WeakKeyDictionary()


class Delivery(msgspec.Struct, frozen=True):
    """One message, decoded."""

    message: Message
    entries: list[Arrival | Letter]
    size: int = 0  # bytes of its data


class Appended(msgspec.Struct, frozen=True):
    """What became of a batch: how many events of each outcome, and the shards to wake.

    Those are the shards that grew, and those of events that were found recorded: the call that
    recorded them may have lost its answer, and with it the wake-up.
    """

    outcomes: dict[str, int]
    shards: list[int]
    stream_version: int | None = None


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


def append(connection: Connection, deliveries: Sequence[Delivery]) -> Appended:
    """Put all of it on disk, as events, pending events or dead letters, in one transaction.

    DatabaseUnavailable if the database had to give up: it may have committed, and the same call
    again is safe. EventStoreError if it refused.
    """
    return _append(connection, _batch(deliveries))


def take_apart(connection: Connection, letter_id: int, delivery: Delivery) -> None:
    """Replay a bundle: put its entries on disk once more, each as what it is by today's rules.

    Nothing happens if the letter is no open bundle any more. Raises what `append` raises.
    """
    batch = msgspec.json.encode(_batch([delivery])).decode()
    with database.translate_errors(_translate):
        connection.run(
            blocks("event_store/dead_letters")["take apart"], letter_id=letter_id, batch=batch
        )


def append_events(
    connection: Connection,
    stream_id: str,
    events: Sequence[Mapping[str, Any]],
    expected_version: int | None = None,
) -> Appended:
    """Append envelopes (`event_id`, `event_type`, `occurred_at`, `data`, `metadata`) to a stream.

    All of them, or none: ConsistencyError if the stream (0: a new one) is not at
    `expected_version` or an id is taken by other content, SerializationError if an envelope is
    invalid or belongs to another stream. Events that the log has take no new version.
    """
    entries = envelope.decode(msgspec.json.encode(list(events)), Message())
    arrivals = [_of_stream(entry, stream_id) for entry in entries]
    batch: dict[str, Any] = {"stream_id": stream_id, "events": arrivals}
    if expected_version is not None:
        batch["expected_version"] = expected_version
    return _append(connection, batch)


def append_again(connection: Connection, arrivals: Sequence[Arrival]) -> Appended:
    """Append what a dead letter held; EventRejected where it would be a letter once more."""
    return _append(connection, {"events": arrivals})


def read_events(
    connection: Connection, stream_id: str, from_version: int, to_version: int | None = None
) -> list[StoredEvent]:
    """A stream's events of these versions, both ends included, in their order."""
    return _read(
        connection,
        "read stream",
        stream_id=stream_id,
        from_version=from_version,
        to_version=to_version,
    )


def read_all_events(connection: Connection, from_position: int, limit: int) -> list[StoredEvent]:
    """At most `limit` events of the whole log, from `from_position` on (included)."""
    return _read(connection, "read all", from_position=from_position, limit=limit)


def read_events_by_type(
    connection: Connection,
    event_type: str,
    from_timestamp: datetime,
    to_timestamp: datetime | None = None,
    limit: int = 1_000,
) -> list[StoredEvent]:
    """At most `limit` events of a type recorded from one moment to another, both included."""
    return _read(
        connection,
        "read by type",
        event_type=event_type,
        from_timestamp=from_timestamp,
        to_timestamp=to_timestamp,
        limit=limit,
    )


def _batch(deliveries: Sequence[Delivery]) -> dict[str, Any]:
    arrivals: list[Arrival] = []
    letters: list[dict[str, Any]] = []
    for number, delivery in enumerate(deliveries):
        for entry in delivery.entries:
            if isinstance(entry, Letter):
                letters.append(_row(entry, number, len(letters)))
            else:
                entry.message = number
                arrivals.append(entry)
    batch: dict[str, Any] = {
        "messages": [_sender(delivery.message) for delivery in deliveries],
        "events": arrivals,
    }
    if letters:
        batch["letters"] = letters
    return batch


def _row(letter: Letter, message: int, n: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "n": n,
        "message": message,
        "index": letter.index,
        "kind": letter.kind,
        "event_id": letter.event_id,
        "event_type": letter.event_type,
        "reason": letter.reason,
        "payload": letter.payload,
        "attributes": letter.attributes,
    }
    if letter.indexes is not None:
        row["indexes"] = letter.indexes
    if letter.arrival is not None:
        row |= {
            "id": letter.arrival.event_id,
            "stored_type": letter.arrival.event_type,
            "occurred_at": letter.arrival.occurred_at,
            "data": letter.arrival.data,
            "metadata": letter.arrival.metadata,
            "learner": letter.arrival.learner,
        }
    return row


def _sender(message: Message) -> dict[str, Any]:
    return {
        "topic": message.topic or None,
        "subscription": message.subscription,
        "message_id": message.message_id,
        "published_at": message.published_at,
    }


def _of_stream(entry: Arrival | Letter, stream_id: str) -> Arrival:
    if isinstance(entry, Letter):
        raise SerializationError(f"event {entry.index}: {entry.reason}")
    if stream_id.startswith("learner-") and entry.stream_id is None and entry.learner is None:
        entry.learner = stream_id.removeprefix("learner-")
    own = entry.stream_id if entry.learner is None else f"learner-{entry.learner}"
    if own != stream_id:
        raise SerializationError(f"event {entry.index}: expected an event of {stream_id}")
    return entry


def _append(connection: Connection, batch: dict[str, Any]) -> Appended:
    with database.translate_errors(_translate):
        statement = _prepared.get(connection)
        if statement is None:
            statement = connection.prepare(blocks("event_store/log")["append"])
            _prepared[connection] = statement
        rows = statement.run(batch=msgspec.json.encode(batch).decode())
    return Appended(**rows[0][0])


def _read(connection: Connection, block: str, **values: object) -> list[StoredEvent]:
    with database.translate_errors(_translate):
        rows = connection.run(blocks("event_store/log")[block], **values)
    return [StoredEvent(*row) for row in rows or []]


def _translate(failure: Failure) -> Exception:
    if failure.sqlstate == "PR001":
        return EventRejected(failure.message, failure.detail)
    if failure.is_transient:
        return DatabaseUnavailable(f"the database did not answer: {failure.message}")
    return EventStoreError(f"the database refused: {failure.message}")
