"""The batch job, as Cloud Run starts it: every five minutes, one process for each task."""

import sys

from progress import batch, database, logs, settings
from progress.errors import ProgressError


def main() -> int:
    """0 when this task's share is done, or another run is doing it; 1 if it failed."""
    here = settings.current()
    try:
        connection = database.connect(here, name="batch")
        called = 0 if here.cloud_run_task_index else batch.call_workers(connection)
        report = batch.run(connection, here.cloud_run_task_index, here.cloud_run_task_count)
    except ProgressError as fault:
        logs.write("ERROR", f"the batch run failed: {fault}", operation="batch")
        return 1
    done = "another run has the lock" if report.learners is None else "done"
    logs.write(
        "INFO", f"batch run: {done}", operation="batch",
        replayed=report.replayed, swept=report.swept, learners=report.learners or 0, called=called,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
