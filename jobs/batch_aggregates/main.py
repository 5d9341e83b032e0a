"""The batch job: Cloud Scheduler starts it every 5 to 30 minutes, with one process per task."""

import sys

from progress import settings
from progress.adapters.telemetry import logs
from progress.operations import batch_job


def main() -> int:
    """Return 0 if this task's share is done or another run is doing it; return 1 on failure."""
    logs.configure("batch")
    return batch_job.run(settings.current())


if __name__ == "__main__":
    sys.exit(main())
