"""The batch job, as Cloud Run starts it: every five minutes, one process for each task."""

import sys

from progress import settings
from progress.adapters.telemetry import logs
from progress.operations import batch_job


def main() -> int:
    """0 when this task's share is done, or another run is doing it; 1 if it failed."""
    logs.configure("batch")
    return batch_job.run(settings.current())


if __name__ == "__main__":
    sys.exit(main())
