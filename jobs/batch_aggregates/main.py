"""The Cloud Run job that Cloud Scheduler starts every five minutes: it aggregates in batch.

It computes the weekly, domain and level statistics, and folds shards whose wake-up was lost.
`progress.operations.batch_job` does the work, in one process for each task; `batch_minutes` in
infra/terraform changes the interval.
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
