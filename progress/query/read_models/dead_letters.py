"""Dead letters, read: those that wait and those that were replayed."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from progress.query.read_models import reader


class DeadLetterKind(StrEnum):
    """What is wrong with a letter."""

    INVALID = "INVALID"
    MALFORMED = "MALFORMED"
    CONFLICT = "CONFLICT"
    FUTURE = "FUTURE"
    SESSION_OWNER = "SESSION_OWNER"
    POISONED = "POISONED"


class DeadLetter(msgspec.Struct, frozen=True):
    """What could not become an event; `payload` as it was received, addresses masked."""

    id: str
    kind: DeadLetterKind
    topic: str | None
    event_id: str | None
    event_type: str | None
    reason: str
    payload: str
    received_at: datetime
    replayed_at: datetime | None


class LetterKey(msgspec.Struct, frozen=True):
    """Where a letter stands in the list."""

    is_replayed: bool
    received_at: datetime
    letter_id: int


class LetterPage(msgspec.Struct, frozen=True):
    """A part of the list, and how many letters the whole list has."""

    letters: list[tuple[LetterKey, DeadLetter]]
    has_next: bool
    total_count: int


async def get_dead_letters(
    *, first: int, kind: DeadLetterKind | None = None, after: LetterKey | None = None
) -> LetterPage:
    """The `first` letters after a key: those that wait, newest first, then those replayed."""
    found = await reader.rows(
        "event_store/dead_letters",
        "page",
        kind=kind,
        first=first + 1,
        after_replayed=after.is_replayed if after else None,
        after_at=after.received_at if after else None,
        after_id=after.letter_id if after else None,
    )
    total = found[0]["total_count"]
    letters = [_listed(dict(row)) for row in found if row["id"] is not None]
    return LetterPage(letters[:first], has_next=len(letters) > first, total_count=total)


def _listed(row: dict[str, object]) -> tuple[LetterKey, DeadLetter]:
    del row["total_count"]
    letter = msgspec.convert(row, DeadLetter)
    is_replayed = letter.replayed_at is not None
    return LetterKey(is_replayed, letter.received_at, int(letter.id)), letter


async def unknown_letters(letter_ids: Sequence[int]) -> list[int]:
    """Which of these ids no letter has."""
    found = await reader.rows("event_store/dead_letters", "unknown", letter_ids=list(letter_ids))
    return [row["id"] for row in found]
