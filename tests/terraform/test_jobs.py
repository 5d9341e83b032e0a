"""Jobs, and Dataflow for the rebuild."""

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


def test_the_rebuild_job_has_the_settings_to_start_the_template(prod: Resources) -> None:
    job = prod.of("google_cloud_run_v2_job", "job")["rebuild"]
    planned = {name: value for name, value in settings(job).items() if "DATAFLOW" in name}
    subnetwork = prod["google_compute_subnetwork.this[0]"]
    assert planned == {
        "DATAFLOW_TEMPLATE": "gs://progress-prod-progress-templates/beam-rebuild.json",
        "DATAFLOW_REGION": "europe-west1",
        "DATAFLOW_SUBNETWORK": f"regions/europe-west1/subnetworks/{subnetwork['name']}",
        "DATAFLOW_WORKER_ACCOUNT": "progress-dataflow@progress-prod.iam.gserviceaccount.com",
    }
    bucket = prod.of("google_storage_bucket", "templates")["dataflow"]
    assert planned["DATAFLOW_TEMPLATE"].startswith(f"gs://{bucket['name']}/")


def test_only_workers_accept_connections_and_only_from_workers(prod: Resources) -> None:
    rule = prod.of("google_compute_firewall", "dataflow")["dataflow"]
    assert rule["direction"] == "INGRESS"
    assert rule["source_tags"] == rule["target_tags"] == ["dataflow"]
    assert not rule["source_ranges"]
    assert [(allowed["protocol"], allowed["ports"]) for allowed in rule["allow"]] == [
        ("tcp", ["12345-12346"])
    ]
    assert rule["priority"] < prod["google_compute_firewall.deny_ingress[0]"]["priority"]


def test_workers_log_in_to_cloud_sql_as_their_service_account(prod: Resources) -> None:
    user = prod.of("google_sql_user", "member")["dataflow"]
    assert user["type"] == "CLOUD_IAM_SERVICE_ACCOUNT"
    account = prod.of("google_service_account", "member")["dataflow"]["email"]
    assert user["name"] == account.removesuffix(".gserviceaccount.com")


def test_the_migration_runs_again_if_the_logins_change(prod: Resources, dev: Resources) -> None:
    """The migration gives privileges to each login, including that of Dataflow's workers."""
    triggers = [
        json.dumps(part["terraform_data.migrate"]["triggers_replace"]) for part in (prod, dev)
    ]
    assert ['"dataflow": "progress_load"' in text for text in triggers] == [True, False]
