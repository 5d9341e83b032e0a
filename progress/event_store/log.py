"""The event log in PostgreSQL: append events and read them.

The streams are `learner-{user_id}`; `item-{item_id}` and `list-{list_id}`, the catalogue;
`group-{group_id}`, what is assigned to a group; and `other-{event_type}`.
"""

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection, Failure
from progress.adapters.postgres.statements import blocks
from progress.errors import EventRejected, EventStoreError, LettersFull, SerializationError
from progress.event_store import Appended, EventStore, Snapshot, StoredEvent, envelope, json_input
from progress.event_store.entries import Message, ParsedEvent, Rejection

_FILE = "event_store/log"
_LETTER_BYTES = 512  # of a dead letter besides its payload, see letter_bytes.sql
_stored = msgspec.json.Decoder(StoredEvent)


class Delivery(msgspec.Struct, frozen=True):
    message: Message
    entries: list[ParsedEvent | Rejection]
    size: int = 0  # bytes of the message's data
    is_reported: bool = False  # whether the caller asks what became of each entry
    reserve: int = 0  # bytes of dead letters for which there must be space

    def split(self, size: int) -> "list[Delivery]":
        """Return parts of about this size; first the letters.

        So nothing precedes a refusal. A batch is as if its events arrived one after the other, so
        parts give the same rows. The first of several needs space for all events as letters, at
        most twice as long in PostgreSQL.
        """
        count = -(-self.size // size)
        if count < 2:
            return [self]
        letters: list[ParsedEvent | Rejection] = []
        events: list[ParsedEvent | Rejection] = []
        for entry in self.entries:
            (letters if isinstance(entry, Rejection) else events).append(entry)
        length = max(-(-len(events) // count), 1)
        parts = [events[at : at + length] for at in range(0, len(events), length)]
        parts = [letters, *parts] if letters else parts
        if len(parts) < 2:
            return [self]
        reserve, size = 2 * self.size + _LETTER_BYTES * len(self.entries), self.size // len(parts)
        return [
            msgspec.structs.replace(self, entries=part, size=size, reserve=0 if n else reserve)
            for n, part in enumerate(parts)
        ]


class PostgresEventStore(EventStore):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def append_events(
        self,
        stream_id: str,
        events: Sequence[Mapping[str, Any]],
        expected_version: int | None = None,
    ) -> Appended:
        message = Message(message_id=str(uuid4()), published_at=datetime.now(UTC))
        entries = envelope.decode(_encode(list(events)), message)
        parsed = [_require_stream(entry, stream_id) for entry in entries]
        batch: dict[str, Any] = {"stream_id": stream_id, "events": parsed}
        if expected_version is not None:
            batch["expected_version"] = expected_version
        appended = _append(self._connection, batch)
        ids = [UUID(event.event_id) for event in parsed]
        return msgspec.structs.replace(appended, event_ids=ids)

    def read_events(
        self, stream_id: str, from_version: int = 1, to_version: int | None = None
    ) -> list[StoredEvent]:
        versions = {"from_version": from_version, "to_version": to_version}
        return self._read("read stream", stream_id=stream_id, **versions)

    def read_all_events(self, from_position: int, limit: int) -> list[StoredEvent]:
        return self._read("read all", from_position=from_position, limit=limit)

    def read_events_by_type(
        self,
        event_type: str,
        from_timestamp: datetime,
        to_timestamp: datetime | None = None,
        limit: int = 1_000,
        *,
        from_position: int = 1,
    ) -> list[StoredEvent]:
        times = {"from_timestamp": from_timestamp, "to_timestamp": to_timestamp}
        return self._read(
            "read type", event_type=event_type, from_position=from_position, limit=limit, **times
        )

    def save_snapshot(self, snapshot: Snapshot, max_snapshots: int = 3) -> None:
        if not isinstance(snapshot, Snapshot):
            raise EventStoreError(
                "expected a Snapshot first, which names its stream: save_snapshot(snapshot)"
            )
        if max_snapshots < 1:
            raise EventStoreError("max_snapshots must be at least 1")
        state = _encode(snapshot.state).decode()
        values = msgspec.structs.asdict(snapshot) | {"state": state, "kept": max_snapshots}
        self._run("save snapshot", **values)

    def get_latest_snapshot(
        self, stream_id: str, fingerprint: str | None = None
    ) -> Snapshot | None:
        rows = self._run("latest snapshot", stream_id=stream_id, fingerprint=fingerprint)
        return Snapshot(*rows[0]) if rows else None

    def _read(self, block: str, **values: object) -> list[StoredEvent]:
        """Return the events of a block whose rows are one JSON text each."""
        with _translated():
            rows = self._connection.run_prepared(blocks(_FILE)[block], **values)
        rows.reverse()  # so that `pop` takes them in order, and frees each text once it is decoded
        return [_stored.decode(rows.pop()[0]) for _ in range(len(rows))]

    def _run(self, block: str, **values: object) -> list[list[Any]]:
        with _translated():
            return database.run(self._connection, _FILE, block, **values)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        with database.translate_errors(_translate):
            yield
    except (ValueError, ArithmeticError) as error:  # pg8000 cannot convert a value
        raise SerializationError(f"expected values that PostgreSQL has: {error}") from None


def append(connection: Connection, deliveries: Sequence[Delivery]) -> Appended:
    """Store every entry as an event, a pending event or a dead letter, in one transaction.

    Raise DatabaseUnavailable if the database does not respond. The transaction may have been
    committed nevertheless, but the call can safely be repeated. Raise EventStoreError if the
    database rejects the batch, LettersFull if it would leave too many bytes of dead letters.
    """
    return _append(connection, _batch(deliveries))


def take_apart(connection: Connection, letter_id: int, delivery: Delivery) -> None:
    """Store the entries of a bundle, if it is open, again by the current rules; see `append`."""
    values = {"letter_id": letter_id, "batch": msgspec.json.encode(_batch([delivery])).decode()}
    with database.translate_errors(_translate):
        database.run(connection, "event_store/dead_letters", "take apart", **values)


def append_replay(connection: Connection, events: Sequence[ParsedEvent]) -> Appended:
    """Append a dead letter's events; raise EventRejected if an event breaks a rule again."""
    return _append(connection, {"events": events})


def find_position(connection: Connection, at: datetime) -> int:
    """Return the position of the first event that was recorded at this time or later.

    If there is no such event, return the next position of the log.
    """
    return int(database.run(connection, _FILE, "position at", at=at)[0][0])


def find_newest(
    connection: Connection, from_position: int, event_type: str | None, limit: int
) -> int:
    """Find the `limit` newest events, and return the lowest of their positions.

    Ignore events before `from_position` and, if `event_type` is given, events of other types. If
    no event is left, return `from_position`.
    """
    values = {"from_position": from_position, "event_type": event_type, "limit": limit}
    return int(database.run(connection, _FILE, "newest", **values)[0][0])


def _batch(deliveries: Sequence[Delivery]) -> dict[str, Any]:
    events: list[ParsedEvent] = []
    letters: list[dict[str, Any]] = []
    for number, delivery in enumerate(deliveries):
        for entry in delivery.entries:
            if isinstance(entry, Rejection):
                letters.append(_letter_fields(entry, number, len(letters)))
            else:
                entry.message = number
                events.append(entry)
    messages = [_message_fields(each.message, each.reserve) for each in deliveries]
    batch: dict[str, Any] = {"messages": messages, "events": events}
    if letters:
        batch["letters"] = letters
    if any(delivery.is_reported for delivery in deliveries):
        batch["is_reported"] = True
    if any(delivery.reserve for delivery in deliveries):
        batch["has_reserve"] = True
    return batch


def _letter_fields(rejection: Rejection, message: int, n: int) -> dict[str, Any]:
    known = msgspec.structs.asdict(rejection) | {"n": n, "message": message}
    fields = {name: value for name, value in known.items() if value is not None}
    if (event := fields.pop("event", None)) is not None:
        names = ("occurred_at", "data", "metadata", "learner")
        fields |= {"id": event.event_id, "stored_type": event.event_type}
        fields |= {name: getattr(event, name) for name in names}
    return fields


def _message_fields(message: Message, reserve: int) -> dict[str, Any]:
    return {
        "topic": message.topic or None,
        "subscription": message.subscription,
        "message_id": message.message_id,
        "published_at": message.published_at,
        **({"poster": message.poster} if message.poster else {}),
        **({"reserve": reserve} if reserve else {}),
    }


def _encode(value: object) -> bytes:
    """Return the JSON; msgspec would replace numbers that are not finite by null.

    A lone surrogate becomes an escape, which the decoder rejects and whose place it names.
    """
    dumps = functools.partial(json.dumps, ensure_ascii=False, allow_nan=False)
    try:
        text = dumps(value, default=msgspec.to_builtins, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(f"expected a value that JSON can express: {error}") from None
    return text.encode(errors="backslashreplace")


def _require_stream(entry: ParsedEvent | Rejection, stream_id: str) -> ParsedEvent:
    """Return the event; raise SerializationError if it is invalid or belongs to another stream."""
    if isinstance(entry, Rejection):
        raise SerializationError(f"event {entry.index}: {entry.reason}")
    if stream_id.startswith("learner-") and entry.stream_id is None and entry.learner is None:
        learner, unstorable = json_input.decode(_encode(stream_id.removeprefix("learner-")))
        if unstorable:
            raise SerializationError(f"stream_id: {unstorable}")
        entry.learner = envelope.parse_id(learner, "stream_id, after learner-")
    own = entry.stream_id if entry.learner is None else f"learner-{entry.learner}"
    if own != stream_id:
        raise SerializationError(
            f"event {entry.index}: expected an event of {stream_id}, found one of "
            f"{own or 'a session, which names no learner'}; the streams are learner-USER_ID, "
            "item-ITEM_ID, list-LIST_ID, group-GROUP_ID and other-EVENT_TYPE"
        )
    return entry


def _append(connection: Connection, batch: dict[str, Any]) -> Appended:
    with database.translate_errors(_translate):
        text = msgspec.json.encode(batch).decode()
        rows = connection.run_prepared(blocks(_FILE)["append"], batch=text)
    others = rows[0][0]["outcomes"].pop("others", []) if "is_reported" in batch else []
    return Appended(**rows[0][0], others=[_place(*other) for other in others])


def _place(order: int, outcome: str, reason: str | None = None) -> tuple[int, int, str, str | None]:
    """Return message, index, outcome and reason; SQL's batch_order holds the first two."""
    return order >> 32, order & 0xFFFF_FFFF, outcome, reason


def _translate(failure: Failure) -> Exception:
    if failure.sqlstate == "PR001":
        return EventRejected(failure.message, failure.detail)
    if failure.sqlstate == "PR002":
        return LettersFull(failure.message)
    return failure.to_unavailable() or EventStoreError(
        f"the database rejected the call: {failure.message}"
    )
