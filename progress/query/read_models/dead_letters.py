"""The open and the replayed dead letters, as the query API reads them."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from progress.event_store import dead_letter_record
from progress.event_store.dead_letter_record import DeadLetter, DeadLetterKind
from progress.query.read_models.reader import Reader

_FILE = "event_store/dead_letters"


class LetterKey(msgspec.Struct, frozen=True):
    """The position of a dead letter in the list."""

    is_replayed: bool
    received_at: datetime
    letter_id: int


class LetterPage(msgspec.Struct, frozen=True):
    """A page of the list, and the number of dead letters in the whole list."""

    letters: list[tuple[LetterKey, DeadLetter]]
    has_next: bool
    total_count: int


async def get_dead_letters(
    reader: Reader,
    *,
    first: int,
    kind: DeadLetterKind | None = None,
    after: LetterKey | None = None,
) -> LetterPage:
    """Return `first` dead letters after a key: open ones, newest first, then replayed ones."""
    rows = await reader.fetch(
        _FILE,
        "page",
        kind=kind,
        first=first + 1,
        after_replayed=after.is_replayed if after else None,
        after_at=after.received_at if after else None,
        after_id=after.letter_id if after else None,
    )
    total = rows[0]["total_count"]
    letters = [_with_key(dict(row)) for row in rows if row["letter_id"] is not None]
    return LetterPage(letters[:first], has_next=len(letters) > first, total_count=total)


def _with_key(row: dict[str, object]) -> tuple[LetterKey, DeadLetter]:
    letter = dead_letter_record.from_row(row)
    is_replayed = letter.replayed_at is not None
    return LetterKey(is_replayed, letter.received_at, letter.letter_id), letter


async def list_unknown_ids(reader: Reader, letter_ids: Sequence[int]) -> list[int]:
    """Return the ids that no dead letter has."""
    rows = await reader.fetch(_FILE, "unknown ids", letter_ids=list(letter_ids))
    return [row["id"] for row in rows]
