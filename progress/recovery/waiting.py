"""What waits for ingest on one machine, and is therefore in no dump yet."""

import time

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection

_FILE = "transport/queue"
_PATIENCE_S, _PAUSE_S = 60.0, 0.1


def await_ingest(connection: Connection, *, seconds: float = _PATIENCE_S) -> int:
    """Return once no message waits for ingest, or how many still do after this time.

    Messages that were given up do not go away by themselves, so they are not waited for.
    """
    if not database.run(connection, _FILE, "has queue")[0][0]:  # of an earlier version
        return 0
    deadline = time.monotonic() + seconds
    while True:
        waiting, given_up = database.run(connection, _FILE, "waiting for ingest")[0]
        if not waiting or time.monotonic() > deadline:
            return int(waiting + given_up)
        time.sleep(_PAUSE_S)
