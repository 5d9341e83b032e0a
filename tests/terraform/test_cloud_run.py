"""The planned functions and jobs: who calls them, and what they need."""

import re
import shutil

import pytest

from progress.adapters import startup
from progress.recovery import rebuild_units
from tests.support import programs, terraform
from tests.support.cloud_run import container, only, parts, plain_settings, secret_ids, template
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Deployment, Values, find_attributes


@pytest.mark.skipif(not shutil.which("terraform"), reason="needs terraform")
def test_the_terraform_files_are_formatted() -> None:
    folder = terraform.REPOSITORY / "infra"
    command = ["terraform", f"-chdir={folder}", "fmt", "-check", "-recursive"]
    assert programs.run(command) == ""


def test_a_second_plan_after_apply_shows_no_change(deployment: Deployment) -> None:
    assert deployment.second_plan == ""


@pytest.mark.exhaustive  # plans one more environment
def test_another_region_has_foreign_topics_and_a_subscriber_with_an_endpoint(
    environments: Environments,
) -> None:
    """No environment sets these variables. No service or job names the usual region."""
    asia = environments.variant(
        *("asia", "dev", "-var=region=asia-northeast1", "-var=publish_events=all"),
        '-var=foreign_topics={"user-events"="projects/elsewhere/topics/user-events-v2"}',
        '-var=event_posters=["group:posters@example.com"]',
        '-var=event_subscriptions={"rewards-sub"={endpoint="https://rewards.example.com"}}',
    )
    assert asia.second_plan == ""
    schedules = asia.applied.of("google_cloud_scheduler_job").values()
    assert {schedule["region"] for schedule in schedules} == {"asia-northeast1"}
    for part in parts(asia.applied):
        assert "europe-west1" not in str(plain_settings(asia.applied, part))
    for part in ("query", "release"):
        assert plain_settings(asia.applied, part)["SCHEDULER_REGION"] == "asia-northeast1"


@pytest.mark.exhaustive
def test_staging_has_the_products_and_the_settings_of_production(
    environments: Environments,
) -> None:
    """Only sizes, addresses, the schedules for the night and the protection of prod differ."""
    staging, prod = (environments[name].applied for name in ("staging", "prod"))
    products, wanted = (
        {re.sub(r"\[.*?\]", "", address) for address in resources} for resources in (staging, prod)
    )
    assert products == wanted - {"terraform_data.protection"}
    for part in parts(prod):
        assert plain_settings(staging, part).keys() == plain_settings(prod, part).keys()
        assert secret_ids(staging, part) == secret_ids(prod, part)


def test_each_service_and_job_has_its_own_account(deployment: Deployment) -> None:
    for name, service in deployment.applied.of("google_cloud_run_v2_service", "function").items():
        assert template(service)["service_account"].startswith(f"progress-{name}@")
    for name, job in deployment.applied.of("google_cloud_run_v2_job", "job").items():
        inside = only(template(job)["template"])
        assert inside["service_account"].startswith(f"progress-{name.removesuffix('-large')}@")


def test_only_the_startup_probe_waits_for_the_network(deployment: Deployment) -> None:
    for name, service in deployment.applied.of("google_cloud_run_v2_service", "function").items():
        probes = {
            kind: only(container(service)[f"{kind}_probe"]) for kind in ("startup", "liveness")
        }
        paths = {kind: only(probe["http_get"])["path"] for kind, probe in probes.items()}
        # A database outage must not make Cloud Run restart instances that already run.
        assert paths == {"startup": startup.PATH, "liveness": "/health" if name == "query" else "/"}
        for probe in probes.values():
            assert probe["timeout_seconds"] <= probe["period_seconds"]
        first = probes["startup"]
        seconds = first["period_seconds"] * first["failure_threshold"]
        # After TIMEOUT_S, the function passes the probe in any case. Cloud Run must therefore
        # probe for longer than TIMEOUT_S before it gives up. Cloud Run accepts at most 240 s.
        assert startup.TIMEOUT_S + 30 <= seconds <= 240
        assert first["timeout_seconds"] > startup._CONNECT_TIMEOUT_S


def test_the_rebuild_job_has_memory_for_the_data_of_duckdb(deployment: Deployment) -> None:
    """A task has no disk: its memory also holds the files and rows of one bucket of learners."""
    job = deployment.applied.of("google_cloud_run_v2_job", "job")["rebuild"]
    memory = only(container(job)["resources"])["limits"]["memory"]
    assert int(memory.removesuffix("Gi")) >= 3 * int(rebuild_units._MEMORY.removesuffix("GB"))


@pytest.mark.exhaustive
def test_terraform_restores_only_attributes_that_nothing_else_may_change(
    environments: Environments,
) -> None:
    """The plan neither deploys new code nor resets what a release or a schedule has changed."""
    plan = environments.plan_after("prod", _released)
    changed = re.findall(r"^ +([~+-]) (.+?) +(?:=|\{)", plan, re.MULTILINE)
    assert {*changed} == {
        ("~", 'resource "google_cloud_run_v2_service" "function"'),
        *(("~", name) for name in ("ingress", "scaling", "max_instance_count")),
    }
    assert "0 to add, 3 to change, 0 to destroy" in plan


def _released(state: Values) -> None:
    """Change the state to simulate a release, the night schedule and `progress schedule pause`.

    Also change the ingress and the maximum number of instances, which only Terraform may change.
    """
    for service in find_attributes(state, "google_cloud_run_v2_service"):
        container(service)["image"] = "elsewhere/progress@sha256:0123"
        template(service)["revision"] = f"{service['name']}-00002-abc"
        template(service)["labels"] = {"client.knative.dev/nonce": "abcdefghij"}  # set by gcloud
        template(service)["annotations"] = {"client.knative.dev/user-image": "elsewhere"}
        container(service)["name"] = f"{service['name']}-1"
        share = {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "tag": "blue"}
        service["traffic"] = [{**share, "revision": f"{service['name']}-00002-abc", "percent": 100}]
        service["client"], service["client_version"] = "gcloud", "500.0.0"
        only(service["scaling"]).update(min_instance_count=0, max_instance_count=99)
        service["ingress"] = "INGRESS_TRAFFIC_ALL"
    for job in find_attributes(state, "google_cloud_run_v2_job"):
        container(job)["image"] = "elsewhere/progress@sha256:0123"
        container(job)["name"] = f"{job['name']}-1"
        template(job)["labels"] = {"client.knative.dev/nonce": "abc_def_ghi"}
        template(job)["annotations"] = {"client.knative.dev/user-image": "elsewhere"}
        job["client"], job["client_version"] = "gcloud", "500.0.0"
    for schedule in find_attributes(state, "google_cloud_scheduler_job"):
        schedule["paused"] = True
