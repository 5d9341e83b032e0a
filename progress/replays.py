"""A dead letter once more, after what was wrong with it has been mended."""

import pg8000.exceptions

from progress import database, deadletters
from progress.database import Connection
from progress.errors import Unavailable
from progress.projections import Projector


def replay(connection: Connection, letter_id: int) -> str | None:
    """Append what the letter holds or, of a `poisoned` one, fold it; None, or why that failed.

    As idempotent as delivery. Raises EventStoreError where there is no such open letter.
    """
    letter = deadletters.show(connection, letter_id)
    projector = Projector(connection)
    if letter.kind != "poisoned":
        reason = deadletters.replay(connection, letter_id)
        projector.catch_up_all()  # nobody else is woken
        return reason
    try:
        with database.transaction(connection):
            projector.hold(str(letter.event_id))
            position = deadletters.take_back(connection, letter_id)
            change = None if position is None else projector.fold_again(position)
    except pg8000.exceptions.DatabaseError as fault:
        if database.is_passing(fault):
            raise Unavailable(f"the database did not answer: {fault}") from fault
        return f"it fails still: {database.message(fault)}"
    if change:
        projector.tell(change)
    return None
