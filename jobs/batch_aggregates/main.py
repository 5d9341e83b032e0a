"""The batch job; each of its Cloud Run tasks is one process.

Cloud Scheduler starts the job every 5 to 30 minutes (`batch_minutes` in infra/terraform).
"""

import sys

from progress import settings
from progress.adapters.telemetry import logs
from progress.operations import batch_job


def main() -> int:
    """Run this task's share of the batch run; return 1 if it fails, otherwise 0.

    The result is also 0 if another run holds a shard that this task needs.
    """
    logs.configure("batch")
    return batch_job.run(settings.current())


if __name__ == "__main__":
    sys.exit(main())
