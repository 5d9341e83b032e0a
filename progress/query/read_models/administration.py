"""Operations, dead letters, shards and blocking sessions, as the query API reads them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from progress.event_store import dead_letter_record, intake
from progress.event_store.dead_letter_record import DeadLetter, DeadLetterKind
from progress.event_store.intake import Intake
from progress.operations import records
from progress.operations.records import Operation
from progress.query.read_models.reader import Reader
from progress.query.read_models.rows import Page, RecordedEvent, parameters_after

_OPERATIONS = "operations/operations"


async def get_operation(reader: Reader, operation_id: UUID) -> Operation | None:
    operations = await get_operations_by_id(reader, [operation_id])
    return operations[0] if operations else None


async def get_operations_by_id(reader: Reader, operation_ids: Sequence[UUID]) -> list[Operation]:
    rows = await reader.fetch(_OPERATIONS, "operations by id", operation_ids=list(operation_ids))
    return [records.from_row(dict(row)) for row in rows]


async def get_operations(
    reader: Reader, *, first: int, before: int | None = None
) -> list[Operation]:
    """Return the newest operations, at most `first`.

    With `before`, return only operations with a lower number.
    """
    rows = await reader.fetch(_OPERATIONS, "newest operations", first=first, before=before)
    return [records.from_row(dict(row)) for row in rows]


async def get_operation_versions(reader: Reader, operation_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return the version of each existing operation, for callers that wait for a change."""
    ids = list(operation_ids)
    rows = await reader.fetch(_OPERATIONS, "operation versions", operation_ids=ids)
    return {UUID(row["id"]): row["version"] for row in rows}


_LETTERS = "event_store/dead_letters"


class LetterKey(msgspec.Struct, frozen=True):
    is_replayed: bool
    received_at: datetime
    letter_id: int


async def get_dead_letters(
    reader: Reader,
    *,
    first: int,
    kind: DeadLetterKind | None = None,
    reason: str | None = None,
    after: LetterKey | None = None,
) -> Page[tuple[LetterKey, DeadLetter]]:
    """Return at most `first` dead letters, beginning after the key `after`.

    Open dead letters come first, then replayed ones. In both groups, the newest come first.
    """
    return await reader.fetch_page(
        _LETTERS,
        "page",
        _with_key,
        id_column="letter_id",
        kind=kind,
        reason=reason,
        first=first,
        **parameters_after(LetterKey, after),
    )


class DeadLetterReason(msgspec.Struct, frozen=True):
    """The open dead letters of one kind that have the same reason."""

    kind: DeadLetterKind
    reason: str
    count: int
    newest: datetime


async def get_dead_letter_reasons(reader: Reader) -> list[DeadLetterReason]:
    """Return the 100 most frequent reasons of open dead letters, the most frequent first."""
    return [
        DeadLetterReason(row["kind"], row["reason"], row["letters"], row["last_at"])
        for row in await reader.fetch(_LETTERS, "reasons")
    ]


class Arrivals(msgspec.Struct, frozen=True):
    """The events that were recorded and the dead letters that were received in an hour."""

    start: datetime
    events: int
    dead_letters: int


async def get_arrivals(reader: Reader, *, at: datetime) -> list[Arrivals]:
    """Return the current hour (UTC) and the 23 hours before it, oldest first."""
    rows = await reader.fetch("query/arrivals", "hours", now=at)
    return [Arrivals(**row) for row in rows]


async def get_intake(reader: Reader, *, at: datetime) -> Intake:
    declared = intake.declared_types()
    return intake.from_rows(
        await reader.fetch("query/intake", "findings", now=at, declared=declared)
    )


async def get_recorded_event(
    reader: Reader, event_id: str, types: Sequence[str] | None
) -> list[RecordedEvent]:
    """Return the event of this id, whosesoever, if it is recorded and has one of these types."""
    declared = intake.declared_types()
    given = {"event_id": event_id, "types": types, "declared": declared}
    found = await reader.fetch("query/audit_trail", "event", **given)
    return [msgspec.json.decode(text, type=RecordedEvent) for row in found for text in row.values()]


class BlockingSession(msgspec.Struct, frozen=True):
    """A session that lets others wait, keeps a table locked, or holds a shard for long."""

    session: int
    login: str
    application: str
    state: str | None
    since: datetime | None
    locked: list[str]
    shards: list[int]
    waits_for: list[int]
    blocks: list[int]


async def get_blocking_sessions(reader: Reader) -> list[BlockingSession]:
    rows = await reader.fetch_apart("query/blocking_sessions", "sessions")
    return [BlockingSession(**row) for row in rows]


class Shard(msgspec.Struct, frozen=True):
    """A part of the log that one worker at a time folds; `session` holds it."""

    shard: int
    events_behind: int
    waiting_since: datetime | None
    session: int | None


async def get_shards(reader: Reader) -> list[Shard]:
    return [Shard(**row) for row in await reader.fetch("query/blocking_sessions", "shards")]


class Release(msgspec.Struct, frozen=True):
    """A release that has not ended: it migrates, or other versions have read models, too."""

    migrating: bool
    other_versions: list[str]


async def get_release(reader: Reader) -> Release | None:
    (row,) = await reader.fetch("query/blocking_sessions", "release")
    release = Release(**row)
    return release if release.migrating or release.other_versions else None


def _with_key(row: Mapping[str, Any]) -> tuple[LetterKey, DeadLetter]:
    letter = dead_letter_record.from_row(row)
    is_replayed = letter.replayed_at is not None
    return LetterKey(is_replayed, letter.received_at, letter.letter_id), letter


async def list_unknown_ids(reader: Reader, letter_ids: Sequence[int]) -> list[int]:
    rows = await reader.fetch(_LETTERS, "unknown ids", letter_ids=list(letter_ids))
    return [row["id"] for row in rows]
