"""Dead letters: list them, replay them after a fix, or discard them."""

from collections.abc import Callable
from datetime import datetime

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import EventRejected, EventStoreError
from progress.event_store import dead_letter_record, envelope, log, rejections
from progress.event_store.dead_letter_record import DeadLetter
from progress.event_store.entries import Message, Rejection
from progress.event_store.log import Delivery

_FILE = "event_store/dead_letters"


class Reason(msgspec.Struct, frozen=True):
    """A reason, how many open dead letters have it, and their first and last arrival time."""

    kind: str
    reason: str
    letters: int
    first_at: datetime
    last_at: datetime


def list_letters(
    connection: Connection, *, include_closed: bool = False, after: int = 0, limit: int = 1_000
) -> list[DeadLetter]:
    """Return the open dead letters, or all, with an id greater than `after`, oldest first."""
    return _read(connection, "list letters", after=after, all=include_closed, limit=limit)


def count_by_reason(connection: Connection) -> list[Reason]:
    """Return the reasons of the open dead letters, the most frequent first."""
    return [Reason(*row) for row in database.run(connection, _FILE, "reasons")]


def select_open(
    connection: Connection, *, kind: str | None, saying: str | None, poster: str | None = None
) -> list[int]:
    """Return the ids of the open dead letters of this kind whose reason contains `saying`.

    `poster` is a digest or a subscription. If a parameter is None, anything matches.
    """
    values = {"kind": kind, "saying": saying, "poster": poster}
    rows = database.run(connection, _FILE, "select open", **values)
    return [letter_id for (letter_id,) in rows]


def read(connection: Connection, letter_id: int) -> DeadLetter:
    """Return a dead letter; raise EventStoreError if it does not exist."""
    letters = _read(connection, "letter by id", letter_id=letter_id)
    if not letters:
        raise EventStoreError(f"there is no dead letter {letter_id}")
    return letters[0]


def read_replayable(connection: Connection, letter_id: int) -> DeadLetter:
    """Return a dead letter; raise EventStoreError if it is missing, discarded or emptied."""
    letter = read(connection, letter_id)
    if letter.discarded_at is not None:
        raise EventStoreError(f"dead letter {letter_id} was discarded: {letter.discard_reason}")
    if letter.emptied_bytes is not None:
        raise EventStoreError(
            f"{letter.reason} (the {letter.emptied_bytes:,} bytes of dead letter {letter_id} are "
            "gone: discard it)"
        )
    return letter


def replay(connection: Connection, letter_id: int) -> str | None:
    """Decode a dead letter by the current rules and append its event; return the failure or None.

    Replay is idempotent, like delivery. A dead letter that fails again stays open, with the new
    reason. For a bundle, replay each entry. If the first entry fails again, the bundle becomes the
    dead letter of this entry and stays open. Otherwise, the bundle counts as replayed. Every other
    entry that fails gets a new dead letter. Raise EventStoreError for a `poisoned` dead letter,
    because its event is already in the log.
    """
    letter = read_replayable(connection, letter_id)
    if letter.kind == "poisoned":
        raise EventStoreError(
            "a poisoned event is already in the log: include it in folds again and refold it"
        )
    if letter.indexes is not None:
        return _take_apart(connection, letter, letter.indexes)
    return _replay(connection, letter)


def replay_due(connection: Connection, limit: int = 10_000) -> int:
    """Replay the `future` dead letters that are due; return the number that succeeded."""
    due = _read(connection, "due letters", limit=limit)
    return sum(_replay(connection, letter) is None for letter in due)


def discard(connection: Connection, letter_id: int, reason: str) -> None:
    """Discard a dead letter; raise EventStoreError if there is no open dead letter with this id."""
    if not discard_letters(connection, [letter_id], reason):
        raise EventStoreError(f"there is no open dead letter {letter_id}")


def discard_letters(connection: Connection, letter_ids: list[int], reason: str) -> int:
    """Discard those of the dead letters that are open; return how many were discarded."""
    values = {"letter_ids": letter_ids, "reason": reason}
    return int(database.run(connection, _FILE, "discard letters", **values)[0][0])


def _read(connection: Connection, block: str, **values: object) -> list[DeadLetter]:
    rows = database.fetch(connection, _FILE, block, **values)
    return [dead_letter_record.from_row(row) for row in rows]


def record_owners(connection: Connection, check: Callable[[], object] = lambda: None) -> None:
    """Record the owners of the dead letters that an earlier version has written until now.

    Redact those of erased learners. `check` is called before each chunk of letters is recorded.
    """
    ((before,),) = database.run(connection, _FILE, "time of arrivals")
    while rows := database.run(connection, _FILE, "without owners", before=before):
        check()
        found = []
        for letter_id, payload, attributes, indexes in rows:
            owners, runs = rejections.read_owners(payload.encode(), indexes, attributes)
            found.append({"letter_id": letter_id, "owners": owners, "indexes": runs})
        letters = msgspec.json.encode(found).decode()
        database.run(connection, _FILE, "record owners", letters=letters)


def _take_apart(connection: Connection, letter: DeadLetter, indexes: list[list[int]]) -> str | None:
    message, payload = _original_message(letter), letter.payload.encode()
    # The batch job may just have recorded the owners of an earlier version's bundle, and ranges.
    ((owners, ranges),) = database.run(connection, _FILE, "owners", letter_id=letter.letter_id)
    if owners is None:
        owners, ranges = rejections.read_owners(payload, indexes, letter.attributes)
    owned = zip(ranges or indexes, owners, strict=True)
    try:
        owner_of = {i: owner for (first, last), owner in owned for i in range(first, last + 1)}
        parts = rejections.split_bundle(payload, ranges or indexes)
        entries = envelope.decode_parts(parts, message, owner_of)
    except ValueError as error:  # the stored payload was changed
        return _mark_failed(connection, letter, letter.kind, str(error))
    log.take_apart(connection, letter.letter_id, Delivery(message, entries))
    after = read(connection, letter.letter_id)
    return None if after.replayed_at is not None else after.reason


def _replay(connection: Connection, letter: DeadLetter) -> str | None:
    message = _original_message(letter)
    entries = envelope.decode(letter.payload.encode(), message, index=letter.index_in_message)
    events = [entry for entry in entries if not isinstance(entry, Rejection)]
    for rejection in (entry for entry in entries if isinstance(entry, Rejection)):
        return _mark_failed(connection, letter, rejection.kind, rejection.reason)
    try:
        appended = log.append_replay(connection, events)
    except EventRejected as error:
        return _mark_failed(connection, letter, error.kind, str(error))
    # If the event was dropped, its learner was erased after the dead letter had arrived.
    block = "redact letters" if appended.outcomes.get("erased") else "mark replayed"
    database.run(connection, _FILE, block, letter_id=letter.letter_id)
    return None


def _original_message(letter: DeadLetter) -> Message:
    return Message(
        subscription=letter.subscription,
        topic=letter.topic or "",
        message_id=letter.message_id,
        published_at=letter.published_at,
        attributes=letter.attributes,
        is_replay=True,
    )


def _mark_failed(connection: Connection, letter: DeadLetter, kind: str, reason: str) -> str:
    values = {"letter_id": letter.letter_id, "kind": kind, "reason": reason}
    database.run(connection, _FILE, "mark failed", **values)
    return reason
