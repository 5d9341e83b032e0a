"""The engine `beam` in the cloud: a Dataflow job, which infra/beam's Flex Template describes."""

import contextlib
import time
from collections.abc import Callable, Iterator

from progress.adapters.dataflow import CANCELLED, DONE, ENDED, Dataflow, Job
from progress.errors import DataflowUnavailable, ProgressError, SettingsError
from progress.projections import replacement
from progress.recovery.archive_loads import Rebuild
from progress.recovery.archive_rebuild import Source
from progress.settings import Settings

_POLL_INTERVAL_S = 10.0
_OUTAGE_TIMEOUT_S = 900.0  # The longest outage of Dataflow's API that a rebuild survives.
_MAX_MACHINES = 8  # because the database loads at most eight buckets at the same time
_ACCOUNTS = ".gserviceaccount.com"


def check_settings(source: Source, current: Settings) -> None:
    """Raise SettingsError if Dataflow's workers could not reach the archive or the database."""
    for name in ("dataflow_region", "dataflow_subnetwork", "dataflow_worker_account"):
        if not getattr(current, name):
            raise SettingsError(f"{name.upper()} is not set, but DATAFLOW_TEMPLATE is")
    if source.database:
        raise SettingsError(
            "Dataflow's workers log in to Cloud SQL with their own account: set "
            "INSTANCE_CONNECTION_NAME instead of DATABASE_URL, or use --engine local"
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
    dataflow, name = _open(current), _name_job(rebuild, current)
    listing = f"To list it, run `{dataflow.listing_command(name)}`."
    with _announcing(
        *(announce, f"A Dataflow job named {name} may be running. {listing}"),
        *(DataflowUnavailable, KeyboardInterrupt),
    ):
        job_id = _launch(dataflow, source, rebuild, current, workers)
    cancelling = _describe_cancelling(dataflow, job_id, current)
    announce(f"The Dataflow job {job_id} loads the buckets: {dataflow.page_of(job_id)}")
    announce(f"To cancel the rebuild, {cancelling}.")
    left = f"The Dataflow job {job_id} ends when it finds that the rebuild has ended."
    with _announcing(announce, f"{left} To cancel it now, {cancelling}.", BaseException):
        state = _follow(dataflow, job_id, on_loaded)
    _check_end(dataflow, Job(job_id, state))


@contextlib.contextmanager
def _announcing(
    announce: Callable[[str], None], sentences: str, *failures: type[BaseException]
) -> Iterator[None]:
    """Announce the sentences if the `with` block raises one of the failures."""
    try:
        yield
    except failures:
        announce(sentences)
        raise


def check_earlier_attempts(current: Settings) -> None:
    """Raise ProgressError if an earlier attempt at this task launched a job that did not succeed.

    If a Dataflow job fails or is cancelled, its task fails, and Cloud Run repeats the task. The
    repeated task must not launch another job.
    """
    dataflow = _open(current)
    for attempt in range(current.cloud_run_task_attempt):
        job = dataflow.find(_name_attempt(current.cloud_run_execution or "", attempt))
        if job and job.state in ENDED:
            _check_end(dataflow, job)


def _open(current: Settings) -> Dataflow:
    return Dataflow(current.pubsub_project_id, current.dataflow_region or "")


def _name_job(rebuild: Rebuild, current: Settings) -> str:
    if current.cloud_run_execution:
        return _name_attempt(current.cloud_run_execution, current.cloud_run_task_attempt)
    return f"progress-rebuild-{rebuild.version}"


def _name_attempt(execution: str, attempt: int) -> str:
    return f"{execution}-{attempt}"


def _describe_cancelling(dataflow: Dataflow, job_id: str, current: Settings) -> str:
    command = f"`{dataflow.cancelling_command(job_id)}`"
    if execution := current.cloud_run_execution:
        return f"run `{dataflow.cancelling_execution_command(execution)}`, then {command}"
    return f"run {command}"


def _check_end(dataflow: Dataflow, job: Job) -> None:
    """Raise ProgressError if the ended job was cancelled or failed."""
    if job.state == CANCELLED:
        raise ProgressError(f"the Dataflow job {job.id} was cancelled: run the rebuild again")
    if job.state != DONE:
        reason = f"it ended in the state {job.state}"
        with contextlib.suppress(ProgressError):  # the job's page shows the errors, too
            reason = [reason, *dataflow.read_errors(job.id)][-1]
        raise ProgressError(
            f"the Dataflow job {job.id} failed: {reason}; its log is at {dataflow.page_of(job.id)}"
        )


def _launch(
    dataflow: Dataflow, source: Source, rebuild: Rebuild, current: Settings, workers: int
) -> str:
    template = current.dataflow_template or ""
    folder = template.rpartition("/")[0]
    return dataflow.launch(
        _name_job(rebuild, current),
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
    """Return the parameters that infra/beam/metadata.json declares.

    The parameters contain no password, because the workers log in to the database with IAM.
    """
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
    """Wait until the job has ended, and return its last state."""
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
