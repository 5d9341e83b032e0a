"""The schedule of the operation ARCHIVE: a batch run starts it when due, at most once a day."""

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection, Failure
from progress.adapters.postgres.statements import blocks
from progress.archive import plan
from progress.errors import DatabaseUnavailable
from progress.operations import records
from progress.operations.records import ARCHIVE_SUBJECT, OperationKind


def start_if_due(connection: Connection) -> None:
    """Start the day's ARCHIVE if it is due; raise DatabaseUnavailable if the database fails.

    ARCHIVE is due if the log has at least `plan.RANGE` unarchived events, or if the log's first
    unarchived event is older than `plan.MAX_AGE_DAYS`.
    """
    sql = blocks("operations/operations")
    with database.translate_errors(_translate):
        is_due, day = connection.run(
            sql["archive is due"], range_length=plan.RANGE, max_age_days=plan.MAX_AGE_DAYS
        )[0]
        if is_due:
            values = records.accept_values(
                OperationKind.ARCHIVE,
                caller=records.BATCH_JOB,
                key=day,
                subject=ARCHIVE_SUBJECT,
            )
            connection.run(sql["accept"], **values)


def _translate(failure: Failure) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"no archive operation was started: {failure.message}")
