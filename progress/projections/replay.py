"""A dead letter once more, after what was wrong with it has been mended."""

from collections.abc import Iterator

import pg8000.exceptions

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import EventStoreError, Unavailable
from progress.event_store import dead_letters
from progress.projections.projector import Projector

_LETTERS_PER_FOLD = 500  # letters whose events are folded together


def replay(connection: Connection, letter_id: int) -> str | None:
    """Append what the letter holds or, of a `poisoned` one, fold it; None, or why that failed.

    As idempotent as delivery. Raises EventStoreError where there is no such open letter.
    """
    projector = Projector(connection)
    reason = _try_replay(projector, letter_id)
    projector.catch_up_all()  # nobody else is woken
    return reason


def replay_all(connection: Connection, letter_ids: list[int]) -> Iterator[str | None]:
    """The same of each letter in turn; what they hold is folded by and by, all at the end.

    Of a letter that was closed meanwhile, that it was.
    """
    projector = Projector(connection)
    for done, letter_id in enumerate(letter_ids, start=1):
        try:
            reason = _try_replay(projector, letter_id)
        except EventStoreError as fault:
            reason = str(fault)
        if done % _LETTERS_PER_FOLD == 0 or done == len(letter_ids):
            projector.catch_up_all()
        yield reason


def _try_replay(projector: Projector, letter_id: int) -> str | None:
    connection = projector.connection
    letter = dead_letters.show_replayable(connection, letter_id)
    if letter.kind != "poisoned":
        return dead_letters.replay(connection, letter_id)
    try:
        with database.transaction(connection):
            projector.lock_event_shard(str(letter.event_id))
            position = dead_letters.take_back(connection, letter_id)
            change = None if position is None else projector.refold_event(position)
    except pg8000.exceptions.DatabaseError as fault:
        if database.is_passing(fault):
            raise Unavailable(f"the database did not answer: {fault}") from fault
        return f"it fails still: {database.message(fault)}"
    if change:
        projector.publish(change)
    return None
