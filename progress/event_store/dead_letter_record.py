"""The record of a dead letter, read by the command line and by the query API.

The query function imports this module. Therefore, this module must not import pg8000, which would
slow down the start of the function.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import msgspec


class DeadLetterKind(StrEnum):
    """The kind of error that turned a message or an event into a dead letter."""

    INVALID = "invalid"
    MALFORMED = "malformed"
    CONFLICT = "conflict"
    FUTURE = "future"
    SESSION_OWNER = "session_owner"
    POISONED = "poisoned"


class DeadLetter(msgspec.Struct, frozen=True):
    """A row of `event_store.dead_letters`; the e-mail addresses in `payload` are masked.

    If the dead letter is a bundle, `payload` is the array of its entries. `indexes` then lists the
    ranges of their indexes in the message, as pairs (first, last). If nobody could decode the
    payload and it is emptied, `emptied_bytes` and `emptied_sha256` are its size and hash. `poster`
    is a digest of the account that posted the letter.
    """

    letter_id: int
    kind: DeadLetterKind
    topic: str | None
    subscription: str
    message_id: str
    index_in_message: int
    event_id: str | None
    event_type: str | None
    reason: str
    payload: str
    attributes: dict[str, str]
    published_at: datetime | None
    received_at: datetime
    due_at: datetime | None
    replayed_at: datetime | None
    discarded_at: datetime | None
    discard_reason: str | None
    indexes: list[list[int]] | None
    emptied_bytes: int | None = None
    emptied_sha256: str | None = None
    poster: str | None = None

    @property
    def id(self) -> str:
        return str(self.letter_id)


def from_row(row: Mapping[str, object]) -> DeadLetter:
    """Convert a row of the table; asyncpg returns its jsonb columns as JSON strings."""
    decoded = {
        name: msgspec.json.decode(value) if isinstance(value, str) else value
        for name, value in ((name, row[name]) for name in ("attributes", "indexes"))
    }
    return msgspec.convert({**row, **decoded}, DeadLetter)
