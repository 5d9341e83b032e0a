"""The traces that commands and exports of statistics leave in the records that they read.

The traces of the query API are in `progress.query.read_models.accesses`.
"""

from collections.abc import Iterator, Sequence
from uuid import UUID

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.event_store import callers

_FILE = "event_store/accesses"
_ROLE = "system"
_CHUNK = 10_000  # learners in one statement


def write_command(connection: Connection, command: str, learners: Sequence[str]) -> None:
    """Write that a command of `progress` reads these learners' records.

    The connection's search path must contain the read models.
    """
    caller = {"read_by": callers.name_system(command), "role": _ROLE}
    for chunk in _chunk(learners):
        database.run(connection, _FILE, "record", **caller, learners=chunk, trails=[])


def write_trail(connection: Connection, command: str, learner: str) -> None:
    """Write that a command of `progress` reads the learner's audit trail."""
    caller = {"read_by": callers.name_system(command), "role": _ROLE}
    database.run(connection, _FILE, "record trails", **caller, trails=[learner])


def write_export(connection: Connection, operation_id: UUID, learners: Sequence[str]) -> None:
    """Write that the caller who started this operation reads these learners' records.

    The connection's search path must contain the read models.
    """
    for chunk in _chunk(learners):
        values = {"operation_id": operation_id, "learners": chunk}
        database.run(connection, _FILE, "record export", **values)


def _chunk(learners: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(learners), _CHUNK):
        yield learners[begin : begin + _CHUNK]
