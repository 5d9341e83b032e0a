"""Dead letters: listed, replayed after a fix, discarded by an administrator."""

from datetime import datetime

import msgspec

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.errors import EventStoreError
from progress.event_store import dead_letter_record, envelope, log
from progress.event_store.dead_letter_record import DeadLetter
from progress.event_store.envelope import Letter, Message
from progress.event_store.log import Delivery


class Reason(msgspec.Struct, frozen=True):
    """Why letters wait, how many do, and when the first and the last of them came."""

    kind: str
    reason: str
    letters: int
    first_at: datetime
    last_at: datetime


def list_letters(
    connection: Connection,
    *,
    include_closed: bool = False,
    after: int = 0,
    limit: int = 1_000,
) -> list[DeadLetter]:
    """Letters with an id over `after`, oldest first; closed: replayed or discarded."""
    return _read(connection, "list letters", after=after, all=include_closed, limit=limit)


def reasons(connection: Connection) -> list[Reason]:
    """Why letters wait, the most frequent first."""
    return [
        Reason(*row) for row in connection.run(blocks("event_store/dead_letters")["reasons"]) or []
    ]


def select_open(connection: Connection, *, kind: str | None, saying: str | None) -> list[int]:
    """Return the ids of the open letters of this kind whose reason contains this text."""
    rows = connection.run(
        blocks("event_store/dead_letters")["select open"], kind=kind, saying=saying
    )
    return [letter_id for (letter_id,) in rows or []]


def show(connection: Connection, letter_id: int) -> DeadLetter:
    """One letter; EventStoreError if there is none."""
    letters = _read(connection, "letter by id", letter_id=letter_id)
    if not letters:
        raise EventStoreError(f"there is no dead letter {letter_id}")
    return letters[0]


def show_replayable(connection: Connection, letter_id: int) -> DeadLetter:
    """One letter; EventStoreError if there is none, or it was discarded."""
    letter = show(connection, letter_id)
    if letter.discarded_at is not None:
        raise EventStoreError(f"dead letter {letter_id} was discarded: {letter.discard_reason}")
    return letter


def replay(connection: Connection, letter_id: int) -> str | None:
    """Read the letter by today's rules and append what it holds; None, or why that failed.

    As idempotent as delivery. A letter that fails again stays, with its new reason. Of a
    `poisoned` one the event is in the log already: see `take_back`. A bundle comes apart: it
    becomes the letter of its first entry, and others that fail get letters of their own.
    """
    letter = show_replayable(connection, letter_id)
    if letter.kind == "poisoned":
        raise EventStoreError("a poisoned event is taken back and its learner folded again")
    if letter.indexes is not None:
        return _take_apart(connection, letter, letter.indexes)
    return _replay(connection, letter)


def replay_due(connection: Connection, limit: int = 10_000) -> int:
    """Replay the `future` letters whose time has come; how many were appended."""
    due = _read(connection, "due letters", limit=limit)
    return sum(_replay(connection, letter) is None for letter in due)


def take_back(connection: Connection, letter_id: int) -> int | None:
    """Let the event of a `poisoned` letter count again; its position, for the caller to refold.

    None if the letter is no such one, or its event was taken back before.
    """
    position: int | None = connection.run(
        blocks("event_store/dead_letters")["take back"], letter_id=letter_id
    )[0][0]
    if position is not None:
        connection.run(blocks("event_store/dead_letters")["mark replayed"], letter_id=letter_id)
    return position


def discard(connection: Connection, letter_id: int, reason: str) -> None:
    """Close a letter for good; EventStoreError if it is closed already or there is none."""
    rows = connection.run(
        blocks("event_store/dead_letters")["discard"], letter_id=letter_id, reason=reason
    )
    if rows != [[True]]:
        raise EventStoreError(f"there is no open dead letter {letter_id}")


def discard_all(connection: Connection, letter_ids: list[int], reason: str) -> int:
    """Close these letters for good, those of them that wait; how many they were."""
    rows = connection.run(
        blocks("event_store/dead_letters")["discard all"], letter_ids=letter_ids, reason=reason
    )
    closed: int = rows[0][0]
    return closed


def _read(connection: Connection, block: str, **values: object) -> list[DeadLetter]:
    rows = connection.run(blocks("event_store/dead_letters")[block], **values) or []
    names = [column["name"] for column in connection.columns or []]
    return [dead_letter_record.from_row(dict(zip(names, row, strict=True))) for row in rows]


def _take_apart(connection: Connection, letter: DeadLetter, indexes: list[list[int]]) -> str | None:
    message = _message(letter)
    try:
        entries = envelope.decode_bundle(letter.payload.encode(), indexes, message)
    except ValueError as fault:  # its text was changed
        return _failed(connection, letter, letter.kind, str(fault))
    log.take_apart(connection, letter.letter_id, Delivery(message, entries))
    left = show(connection, letter.letter_id)
    return None if left.replayed_at is not None else left.reason


def _replay(connection: Connection, letter: DeadLetter) -> str | None:
    entries = envelope.decode(letter.payload.encode(), _message(letter))
    arrivals = [entry for entry in entries if not isinstance(entry, Letter)]
    for bad in (entry for entry in entries if isinstance(entry, Letter)):
        return _failed(connection, letter, bad.kind, bad.reason)
    try:
        log.append_again(connection, arrivals)
    except log.EventRejected as fault:
        return _failed(connection, letter, fault.kind, str(fault))
    connection.run(blocks("event_store/dead_letters")["mark replayed"], letter_id=letter.letter_id)
    return None


def _message(letter: DeadLetter) -> Message:
    return Message(
        subscription=letter.subscription,
        topic=letter.topic or "",
        message_id=letter.message_id,
        published_at=letter.published_at,
        attributes=letter.attributes,
        is_replay=True,
    )


def _failed(connection: Connection, letter: DeadLetter, kind: str, reason: str) -> str:
    connection.run(
        blocks("event_store/dead_letters")["mark failed"],
        letter_id=letter.letter_id,
        kind=kind,
        reason=reason,
    )
    return reason
