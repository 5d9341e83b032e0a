"""Take snapshots: a learner's read-model rows, saved at one version of the learner's stream."""

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection


class Policy(msgspec.Struct, frozen=True):
    """The least number of events between two snapshots of a stream, and how many are kept."""

    event_interval: int = 100
    max_snapshots: int = 3


POLICY = Policy()

_FILE, _INTERFACE = "read_models/snapshots", "projections/interface"

# `take` handles few learners in a transaction, because the deletion of a learner waits until the
# transaction ends.
_LEARNERS_PER_TRANSACTION = 50


def take(connection: Connection, policy: Policy = POLICY) -> int:
    """Take a snapshot of each learner who needs a new one; return the number of learners.

    The batch folds put learners who may need a snapshot into a queue. Each transaction takes the
    snapshots of a few learners.
    """
    interval = policy.event_interval
    database.run(connection, _INTERFACE, "drop learners not due", event_interval=interval)
    values = {"at_most": _LEARNERS_PER_TRANSACTION, "kept": policy.max_snapshots}
    taken = 0
    while learners := database.run(connection, _INTERFACE, "take snapshots", **values)[0][0]:
        taken += learners
    return taken


def drop_orphans(connection: Connection) -> None:
    """Drop the snapshots of schemas that no longer exist."""
    database.run(connection, _FILE, "drop_orphans")
