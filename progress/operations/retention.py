"""Delete old records, and start to erase the learners that were deleted some time ago.

The batch job calls these functions. The records are closed dead letters and finished operations.
"""

from uuid import UUID

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection, Failure
from progress.adapters.postgres.statements import blocks
from progress.errors import DatabaseUnavailable
from progress.operations import records
from progress.operations.records import OperationKind
from progress.projections import schema

_LETTERS_PER_RUN = 10_000
_ERASURES_PER_RUN = 10  # few, so that many deletions do not delay other operations
_FILE = "operations/retention"


def delete_closed_letters(connection: Connection) -> int:
    """Delete the dead letters that were closed more than 90 days ago; return their number.

    A run deletes at most 10,000 dead letters.
    """
    with database.translate_errors(_translate):
        connection.run(blocks(_FILE)["delete closed letters"], limit=_LETTERS_PER_RUN)
        deleted: int = connection.row_count
    return deleted


def delete_finished_operations(connection: Connection) -> None:
    """Delete operations that finished more than 400 days ago.

    A failed erasure is kept until another erasure of the learner has succeeded.
    """
    with database.translate_errors(_translate):
        connection.run(blocks(_FILE)["delete finished operations"])


def start_erasures(connection: Connection, deleted_after_days: int) -> list[UUID]:
    """Start to erase the learners that were deleted more than this number of days ago.

    Return the ids of the started operations, at most ten. A failed erasure is not started again,
    because an administrator must look into the failure.
    """
    schema.set_search_path(connection)
    with database.translate_errors(_translate):
        rows = connection.run(
            blocks(_FILE)["learners to erase"], days=deleted_after_days, limit=_ERASURES_PER_RUN
        )
        return [_start(connection, learner, digest) for learner, digest in rows]


def _start(connection: Connection, learner: str, digest: str) -> UUID:
    values = records.accept_values(
        OperationKind.ERASE_USER,
        caller=records.BATCH_JOB,
        # The database keeps an SHA-256 hash of this idempotency key. If the key were the learner's
        # id, the hash would still identify the learner after the erasure.
        key=digest,
        subject=learner,
        user_id=learner,
    )
    operation_id: UUID = connection.run(blocks("operations/operations")["accept"], **values)[0][0]
    return operation_id


def _translate(failure: Failure) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"nothing was deleted: {failure.message}")
