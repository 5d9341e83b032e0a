"""Dead letters: listed, replayed after a fix, discarded by an administrator."""

from datetime import datetime

import msgspec

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.errors import EventStoreError
from progress.event_store import envelope, log
from progress.event_store.envelope import Letter, Message
from progress.event_store.log import Delivery


class DeadLetter(msgspec.Struct, frozen=True):
    """A row of `event_store.dead_letters`; `payload` has its addresses masked.

    Of a bundle, `payload` is an array of entries and `indexes` says where each of them stood.
    """

    letter_id: int
    kind: str
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
    rows = connection.run(
        blocks("event_store/dead_letters")["list"],
        after=after,
        all=include_closed,
        limit=limit,
    )
    return [DeadLetter(*row) for row in rows or []]


def reasons(connection: Connection) -> list[Reason]:
    """Why letters wait, the most frequent first."""
    return [
        Reason(*row) for row in connection.run(blocks("event_store/dead_letters")["reasons"]) or []
    ]


def alike(connection: Connection, *, kind: str | None, saying: str | None) -> list[int]:
    """The ids of the letters that wait, of that kind, with these words in their reason."""
    rows = connection.run(blocks("event_store/dead_letters")["alike"], kind=kind, saying=saying)
    return [letter_id for (letter_id,) in rows or []]


def show(connection: Connection, letter_id: int) -> DeadLetter:
    """One letter; EventStoreError if there is none."""
    rows = connection.run(blocks("event_store/dead_letters")["one"], letter_id=letter_id)
    if not rows:
        raise EventStoreError(f"there is no dead letter {letter_id}")
    return DeadLetter(*rows[0])


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
    rows = connection.run(blocks("event_store/dead_letters")["due"], limit=limit)
    return sum(_replay(connection, DeadLetter(*row)) is None for row in rows or [])


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
    except log.Refused as fault:
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
