"""The planned resources that a rebuild with Dataflow uses, except the roles (test_iam.py)."""

import json

import pytest

from tests.support.cloud_run import settings
from tests.support.terraform_state import Resources

pytestmark = pytest.mark.timeout(600)  # the first test waits until Terraform has created the plans


def test_the_rebuild_job_has_the_settings_to_start_the_template(prod: Resources) -> None:
    job = prod.of("google_cloud_run_v2_job", "job")["rebuild"]
    planned = {name: value for name, value in settings(job).items() if "DATAFLOW" in name}
    subnetwork = prod["google_compute_subnetwork.this"]
    assert planned == {
        "DATAFLOW_TEMPLATE": "gs://progress-prod-progress-templates/beam-rebuild.json",
        "DATAFLOW_REGION": "europe-west1",
        "DATAFLOW_SUBNETWORK": f"regions/europe-west1/subnetworks/{subnetwork['name']}",
        "DATAFLOW_WORKER_ACCOUNT": "progress-dataflow@progress-prod.iam.gserviceaccount.com",
    }
    bucket = prod.of("google_storage_bucket", "templates")["dataflow"]
    assert planned["DATAFLOW_TEMPLATE"].startswith(f"gs://{bucket['name']}/")


def test_workers_without_public_addresses_reach_googles_apis(prod: Resources) -> None:
    assert prod["google_compute_subnetwork.this"]["private_ip_google_access"]


def test_only_workers_accept_connections_and_only_from_workers(prod: Resources) -> None:
    rule = prod.of("google_compute_firewall", "dataflow")["dataflow"]
    assert rule["direction"] == "INGRESS"
    assert rule["source_tags"] == rule["target_tags"] == ["dataflow"]
    assert not rule["source_ranges"]
    assert [(allowed["protocol"], allowed["ports"]) for allowed in rule["allow"]] == [
        ("tcp", ["12345-12346"])
    ]
    assert rule["priority"] < prod["google_compute_firewall.deny_ingress"]["priority"]


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


def test_the_bucket_deletes_files_of_ended_jobs_but_keeps_the_template(prod: Resources) -> None:
    bucket = prod.of("google_storage_bucket", "templates")["dataflow"]
    (rule,) = bucket["lifecycle_rule"]
    (condition,) = rule["condition"]
    assert condition["matches_prefix"] == ["staging/", "temp/"]
    assert bucket["uniform_bucket_level_access"]
    assert bucket["public_access_prevention"] == "enforced"


def test_dev_has_no_resources_or_settings_for_dataflow(dev: Resources) -> None:
    assert not [address for address in dev if "dataflow" in address.lower()]
    job = dev.of("google_cloud_run_v2_job", "job")["rebuild"]
    assert not [name for name in settings(job) if "DATAFLOW" in name]
