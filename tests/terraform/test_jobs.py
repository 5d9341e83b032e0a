"""Jobs."""

import json

import pytest

from progress.recovery import buckets
from tests.support.cloud_run import container, only, settings, template
from tests.support.terraform import ENVIRONMENTS
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Deployment, Resources


def test_a_batch_run_ends_before_the_next_one_starts(deployment: Deployment) -> None:
    jobs = deployment.applied.of("google_cloud_run_v2_job", "job")
    times = {name: only(template(job)["template"])["timeout"] for name, job in jobs.items()}
    assert int(times["batch"].removesuffix("s")) < 300


def test_the_log_is_dumped_daily_where_the_database_has_no_daily_backups(
    deployment: Deployment,
) -> None:
    job = deployment.applied.of("google_cloud_run_v2_job", "job")["backup"]
    bucket = deployment.applied["google_storage_bucket.backup"]["name"]
    instances = deployment.applied.of("google_sql_database_instance")
    assert container(job)["args"] == [
        "backup",
        f"gs://{bucket}",
        *([] if instances else ["--with-log", "--daily"]),
    ]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_batch_job_erases_deleted_learners_in_staging_and_production(
    environments: Environments, environment: str
) -> None:
    days = {"dev": None, "staging": "1", "prod": "30"}[environment]
    jobs = environments[environment].applied.of("google_cloud_run_v2_job", "job")
    for name, job in jobs.items():
        wanted = days if name.startswith("batch") else None
        assert settings(job).get("ERASE_DELETED_AFTER_DAYS") == wanted


def test_the_rebuild_job_has_enough_memory_and_no_schedule(deployment: Deployment) -> None:
    job = deployment.applied.of("google_cloud_run_v2_job", "job")["rebuild"]
    # A task has no disk. Its memory holds DuckDB's data, and the files and rows of one bucket of
    # learners.
    memory = only(container(job)["resources"])["limits"]["memory"]
    assert int(memory.removesuffix("Gi")) >= 3 * int(buckets._MEMORY.removesuffix("GB"))
    assert job["name"] not in {
        only(schedule["http_target"])["uri"].rpartition("/")[2].removesuffix(":run")
        for schedule in deployment.applied.of("google_cloud_scheduler_job").values()
    }


def test_the_migration_runs_again_if_the_logins_change(moving: Deployment, dev: Resources) -> None:
    """The migration gives privileges to each login, including that of analysts."""
    triggers = [
        json.dumps(part["terraform_data.migrate"]["triggers_replace"])
        for part in (moving.applied, dev)
    ]
    assert ['"analyst": "progress_analyst"' in text for text in triggers] == [True, False]
