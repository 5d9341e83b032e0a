"""The export of a read model's rows: one CSV or Parquet file from one snapshot of the database.

The rows stream from COPY to the storage, so that the memory used does not grow with the number of
rows.
"""

import contextlib
from collections.abc import Callable

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.adapters.storage.storage import Output
from progress.operations import export_estimates, export_parquet
from progress.operations.export_files import FileFormat, StatisticsArguments
from progress.operations.export_streams import HashedOutput, Rows, Written, open_snapshot

_FILE = "operations/export_statistics"


def write(
    connection: Connection,
    request: StatisticsArguments,
    output: Output,
    report_progress: Callable[[float], None],
) -> Written:
    """Write the file in a transaction, which the caller ends by closing the connection.

    The connection's search path must contain the read models. Raise ProgressError if a rebuild
    replaces the read models during the export.
    """
    sql, name, target = blocks(_FILE), request.table.lower(), HashedOutput(output)
    values = {
        "learners": request.learners,
        "first_day": request.first_day,
        "last_day": request.last_day,
    }
    with open_snapshot(connection, marks_formulas=request.format is FileFormat.CSV):
        taken_at = connection.run(sql["request"], **values)[0][0]
        plan = connection.run(sql[f"estimate {name}"], **values)
        expected = export_estimates.read_rows(plan[0][0])
        with _open(target, request.format) as file:
            rows = Rows(file, lambda lines: report_progress(lines / max(lines + 1, expected)))
            connection.run(sql[name], stream=rows)
            rows.flush()
    return Written(taken_at, target.bytes, target.digest.hexdigest())


def _open(target: HashedOutput, format_: FileFormat) -> contextlib.AbstractContextManager[Output]:
    if format_ is FileFormat.PARQUET:
        return export_parquet.converting(target)
    return contextlib.nullcontext(target)
