"""Replay dead letters after the cause of their failure is fixed."""

from collections.abc import Iterator

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection, Failure
from progress.errors import EventStoreError, ProjectionError
from progress.event_store import dead_letters
from progress.projections import live
from progress.projections.live import Live
from progress.projections.projector import Projector

_LETTERS_PER_FOLD = 500


def replay(connection: Connection, letter_id: int) -> str | None:
    """Append a dead letter's event, or refold a `poisoned` event; return the failure or None.

    Replay is idempotent, like delivery. Raise EventStoreError if the dead letter does not exist or
    was discarded.
    """
    found = live.find(connection)
    projector = Projector(connection, found.first)
    failure = _try_replay(projector, found, letter_id)
    projector.fold_live(found, projector.catch_up_all)  # needed: a replay does not wake a worker
    return failure


def replay_all(connection: Connection, letter_ids: list[int]) -> Iterator[str | None]:
    """Replay the dead letters in turn; yield the failure of each, or None.

    A discarded dead letter counts as a failure. The appended events are folded after every
    `_LETTERS_PER_FOLD` dead letters and at the end.
    """
    found = live.find(connection)
    projector = Projector(connection, found.first)
    for done, letter_id in enumerate(letter_ids, start=1):
        try:
            failure = _try_replay(projector, found, letter_id)
        except EventStoreError as error:
            failure = str(error)
        if done % _LETTERS_PER_FOLD == 0 or done == len(letter_ids):
            projector.fold_live(found, projector.catch_up_all)
        yield failure


def _try_replay(projector: Projector, found: Live, letter_id: int) -> str | None:
    connection = projector.connection
    letter = dead_letters.read_replayable(connection, letter_id)
    if letter.kind != "poisoned":
        return dead_letters.replay(connection, letter_id)

    def refold() -> str | None:
        """Refold the event in a schema that leaves it out; return why this fails."""
        try:
            with database.translate_errors(_translate), database.transaction(connection):
                projector.refold_poisoned(str(letter.event_id), letter_id)
        except ProjectionError as error:
            return f"the event still fails: {error}"
        return None

    failures = [failure for failure in projector.fold_live(found, refold) if failure]
    if failures:
        return failures[0]
    after = dead_letters.read(connection, letter_id)
    if after.replayed_at is None:
        return (
            f"read models of other code leave the event out until they are dropped: {after.reason}"
        )
    return None


def _translate(failure: Failure) -> Exception:
    return failure.to_unavailable() or ProjectionError(failure.message)
