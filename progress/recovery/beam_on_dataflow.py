"""The engine `beam` in the cloud: a job of Dataflow, which infra/beam's Flex Template describes."""

import time
from collections.abc import Callable

from progress.adapters.dataflow import CANCELLED, DONE, ENDED, Dataflow
from progress.errors import DataflowUnavailable, ProgressError, SettingsError
from progress.projections import replacement
from progress.recovery.archive_loads import Rebuild
from progress.recovery.archive_rebuild import Source
from progress.settings import Settings

_POLL_INTERVAL_S = 10.0
_OUTAGE_TIMEOUT_S = 900.0  # the longest outage of Dataflow's API that a rebuild survives
_MAX_MACHINES = 8  # the database loads eight buckets at the same time
_ACCOUNTS = ".gserviceaccount.com"


def check_settings(source: Source, current: Settings) -> None:
    """Raise SettingsError if Dataflow's workers could not reach the archive or the database."""
    for name in ("dataflow_region", "dataflow_subnetwork", "dataflow_worker_account"):
        if not getattr(current, name):
            raise SettingsError(f"{name.upper()} is not set, but DATAFLOW_TEMPLATE is")
    if source.database:
        raise SettingsError(
            "Dataflow's workers log in to Cloud SQL with their own account: set "
            "INSTANCE_CONNECTION_NAME instead of DATABASE_URL, or use --engine tasks"
        )
    if not source.archive.startswith("gs://"):
        raise SettingsError("Dataflow's workers read the archive from a bucket: set ARCHIVE_BUCKET")


def run(
    source: Source,
    rebuild: Rebuild,
    on_loaded: Callable[[], None],
    *,
    current: Settings,
    workers: int,
    announce: Callable[[str], None],
) -> None:
    """Load every bucket by a job of the Flex Template, and wait until the job has ended.

    `workers` is the number of machines that the job starts with. `announce` shows a sentence to the
    operator. Raise ProgressError if the job fails or is cancelled, and DataflowUnavailable if
    Dataflow does not respond for 15 minutes.
    """
    dataflow = Dataflow(current.pubsub_project_id, current.dataflow_region or "")
    job_id = _launch(dataflow, source, rebuild, current, workers)
    announce(f"The Dataflow job {job_id} loads the buckets: {dataflow.page_of(job_id)}")
    try:
        state = _follow(dataflow, job_id, on_loaded)
    except BaseException:
        announce(
            f"The Dataflow job {job_id} ends when it finds no rebuild. To cancel it now, run "
            f"`{dataflow.cancelling_command(job_id)}`."
        )
        raise
    if state == CANCELLED:
        raise ProgressError(f"the Dataflow job {job_id} was cancelled: run the rebuild again")
    if state != DONE:
        reasons = dataflow.read_errors(job_id) or [f"it ended in the state {state}"]
        raise ProgressError(
            f"the Dataflow job {job_id} failed: {reasons[-1]}; its log is at "
            f"{dataflow.page_of(job_id)}"
        )


def _launch(
    dataflow: Dataflow, source: Source, rebuild: Rebuild, current: Settings, workers: int
) -> str:
    template = current.dataflow_template or ""
    folder = template.rpartition("/")[0]
    return dataflow.launch(
        f"progress-rebuild-{rebuild.version}",
        template,
        _list_parameters(source, rebuild, current),
        {
            "numWorkers": workers,
            "maxWorkers": max(workers, _MAX_MACHINES),
            "subnetwork": current.dataflow_subnetwork,
            "serviceAccountEmail": current.dataflow_worker_account,
            "stagingLocation": f"{folder}/staging",
            "tempLocation": f"{folder}/temp",
        },
    )


def _list_parameters(source: Source, rebuild: Rebuild, current: Settings) -> dict[str, str]:
    """Return the parameters that infra/beam/metadata.json declares; the workers log in by IAM."""
    account = current.dataflow_worker_account or ""
    return {
        "archive": source.archive,
        "buckets": str(rebuild.buckets),
        "version": str(rebuild.version),
        "schema": replacement.building_name(),
        "instance_connection_name": current.instance_connection_name or "",
        "db_name": current.db_name or "",
        "db_iam_user": account.removesuffix(_ACCOUNTS),
    }


def _follow(dataflow: Dataflow, job_id: str, on_loaded: Callable[[], None]) -> str:
    """Return the state in which the job has ended."""
    responded_at = time.monotonic()
    while True:
        try:
            state = dataflow.read_state(job_id)
        except DataflowUnavailable:
            if time.monotonic() > responded_at + _OUTAGE_TIMEOUT_S:
                raise
        else:
            responded_at = time.monotonic()
            if state in ENDED:
                return state
        on_loaded()
        time.sleep(_POLL_INTERVAL_S)
