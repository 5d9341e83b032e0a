"""Replay dead letters after the cause of their failure is fixed."""

from collections.abc import Iterator

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection, Failure
from progress.errors import EventStoreError, ProjectionError
from progress.event_store import dead_letters
from progress.projections import changes, schema
from progress.projections.changes import Publisher
from progress.projections.projector import Projector

_LETTERS_PER_FOLD = 500


def replay(
    connection: Connection, letter_id: int, publisher: Publisher = changes.DISABLED
) -> str | None:
    """Append a dead letter's event, or refold a `poisoned` event; return the failure or None.

    Replay is idempotent, like delivery. Raise EventStoreError if the dead letter does not exist or
    was discarded.
    """
    projector = Projector(connection, publisher=publisher)
    failure = _try_replay(projector, letter_id)
    projector.catch_up_all()  # needed, because a replay does not wake a worker
    return failure


def replay_all(
    connection: Connection, letter_ids: list[int], publisher: Publisher = changes.DISABLED
) -> Iterator[str | None]:
    """Replay the dead letters in turn; yield the failure of each, or None.

    A discarded dead letter counts as a failure. The appended events are folded after every
    `_LETTERS_PER_FOLD` dead letters and at the end.
    """
    projector = Projector(connection, publisher=publisher)
    for done, letter_id in enumerate(letter_ids, start=1):
        try:
            failure = _try_replay(projector, letter_id)
        except EventStoreError as error:
            failure = str(error)
        if done % _LETTERS_PER_FOLD == 0 or done == len(letter_ids):
            projector.catch_up_all()
        yield failure


def _try_replay(projector: Projector, letter_id: int) -> str | None:
    connection = projector.connection
    letter = dead_letters.read_replayable(connection, letter_id)
    if letter.kind != "poisoned":
        return dead_letters.replay(connection, letter_id)
    try:
        with database.translate_errors(_translate), database.transaction(connection):
            projector.lock_event_shard(str(letter.event_id))
            own = schema.fingerprint()
            position = dead_letters.clear_marks(connection, letter_id, own)
            change = None if position is None else projector.refold_event(position)
    except ProjectionError as error:
        return f"the event still fails: {error}"
    if change:
        projector.publish(change)
    after = dead_letters.read(connection, letter_id)
    if after.replayed_at is None:
        return (
            f"read models of other code leave the event out until they are dropped: {after.reason}"
        )
    return None


def _translate(failure: Failure) -> Exception:
    return failure.to_unavailable() or ProjectionError(failure.message)
