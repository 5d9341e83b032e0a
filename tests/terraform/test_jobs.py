"""Jobs."""

import base64
import json

from progress.recovery import buckets
from tests.support.cloud_run import container, only, template
from tests.support.terraform_state import Deployment, Resources


def test_a_batch_run_ends_before_the_next_one_starts(deployment: Deployment) -> None:
    jobs = deployment.applied.of("google_cloud_run_v2_job", "job")
    times = {name: only(template(job)["template"])["timeout"] for name, job in jobs.items()}
    assert int(times["batch"].removesuffix("s")) < 300


def test_the_schedule_backs_up_cloud_sql_with_an_expiry_and_starts_the_dump_of_neon(
    deployment: Deployment,
) -> None:
    resources = deployment.applied
    schedule = resources["google_cloud_scheduler_job.backup"]
    (target,) = schedule["http_target"]
    assert (schedule["schedule"], target["http_method"]) == ("0 */6 * * *", "POST")
    (token,) = target["oauth_token"]
    assert token["service_account_email"].startswith("progress-backup-scheduler@")
    if instances := resources.of("google_sql_database_instance"):
        body = json.loads(base64.b64decode(target["body"]))
        (instance,) = instances.values()
        assert target["uri"].startswith("https://sqladmin.googleapis.com/v1/projects/")
        assert target["uri"].endswith("/backups")
        assert (body["instance"], body["ttlDays"]) == (instance["name"], "7")
    else:
        assert target["uri"].endswith("/jobs/progress-backup:run")
    assert container(resources.of("google_cloud_run_v2_job", "job")["backup"])["args"] == [
        "dump",
        "--daily",
    ]


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
