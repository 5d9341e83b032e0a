"""The open and the replayed dead letters, as the query API reads them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from progress.event_store import dead_letter_record
from progress.event_store.dead_letter_record import DeadLetter, DeadLetterKind
from progress.query.read_models.reader import Page, Reader

_FILE = "event_store/dead_letters"


class LetterKey(msgspec.Struct, frozen=True):
    is_replayed: bool
    received_at: datetime
    letter_id: int


async def get_dead_letters(
    reader: Reader,
    *,
    first: int,
    kind: DeadLetterKind | None = None,
    after: LetterKey | None = None,
) -> Page[tuple[LetterKey, DeadLetter]]:
    """Return at most `first` dead letters, beginning after the key `after`.

    Open dead letters come first, then replayed ones. In both groups, the newest come first.
    """
    return await reader.fetch_page(
        _FILE,
        "page",
        _with_key,
        id_column="letter_id",
        kind=kind,
        first=first,
        after_replayed=after.is_replayed if after else None,
        after_at=after.received_at if after else None,
        after_id=after.letter_id if after else None,
    )


def _with_key(row: Mapping[str, Any]) -> tuple[LetterKey, DeadLetter]:
    letter = dead_letter_record.from_row(row)
    is_replayed = letter.replayed_at is not None
    return LetterKey(is_replayed, letter.received_at, letter.letter_id), letter


async def list_unknown_ids(reader: Reader, letter_ids: Sequence[int]) -> list[int]:
    rows = await reader.fetch(_FILE, "unknown ids", letter_ids=list(letter_ids))
    return [row["id"] for row in rows]
