"""Terraform sets each setting that the code reads, and no other settings.

The exceptions are NOT_PLANNED and FRAMEWORK.
"""

import json

import msgspec
import pytest

from progress import auth, settings
from progress.auth import Issuer
from progress.settings import Settings
from tests.support import alert_policies
from tests.support.cloud_run import settings as cloud_settings
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Deployment, Values

# Settings that functions-framework, gunicorn, Python and OpenTelemetry read.
FRAMEWORK = {
    *("THREADS", "FUNCTION_TARGET"),
    *("OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"),
}

# Settings that Terraform does not set: Cloud Run sets them, only tests or the local stack need
# them, or they are optional.
NOT_PLANNED = {
    *("SERVE_COMMANDS_URL", "SERVE_EVENTS_URL", "SERVE_KEY"),
    *("CLOUD_RUN_JOB", "CLOUD_RUN_EXECUTION"),
    *("CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT", "CLOUD_RUN_TASK_ATTEMPT"),
    *("PUBSUB_EMULATOR_HOST", "CLOUD_SCHEDULER_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"),
    *("PROGRESS_DATA_DIR", "FORMER_SCHEMA_DAYS", "MALFORMED_DAYS"),
    "K_SERVICE",  # Cloud Run sets it
}


def list_parts(deployment: Deployment) -> list[Values]:
    kinds = ("google_cloud_run_v2_service", "google_cloud_run_v2_job")
    return [part for kind in kinds for part in deployment.applied.of(kind).values()]


def test_every_planned_setting_is_valid(deployment: Deployment) -> None:
    known = {field.name.upper() for field in msgspec.structs.fields(Settings)}
    for part in list_parts(deployment):
        planned = cloud_settings(part)
        assert planned.keys() - FRAMEWORK <= known
        redis = {"REDIS_URL": "rediss://here:6378/0"} if "REDIS_URL" in planned else {}
        settings.read({name: planned[name] for name in planned.keys() - FRAMEWORK} | redis)


def test_the_issuer_is_google_in_dev_and_otherwise_firebase_or_the_configured_one(
    environments: Environments, moving: Deployment
) -> None:
    def issuer(deployment: Deployment) -> Issuer:
        query = deployment.applied.of("google_cloud_run_v2_service", "function")["query"]
        planned = cloud_settings(query)
        kept = {name: planned[name] for name in planned if name.startswith(("AUTH_", "ENV"))}
        return auth.load_issuer(settings.read(kept))

    assert issuer(environments["dev"]).is_public
    firebase = issuer(environments["prod"])
    assert (firebase.audience, firebase.name) == (
        "example-prod",
        "https://securetoken.google.com/example-prod",
    )
    own = Issuer("https://login.example.com", "progress-dev", "https://login.example.com/keys")
    assert issuer(moving) == own


def test_every_program_that_creates_an_archive_divides_it_into_the_same_number_of_buckets(
    environments: Environments,
) -> None:
    for name, buckets in (("dev", "16"), ("prod", "256")):
        resources = environments[name].applied
        functions = resources.of("google_cloud_run_v2_service", "function")
        jobs = resources.of("google_cloud_run_v2_job", "job")
        for part in (functions["project"], jobs["release"]):
            assert cloud_settings(part)["ARCHIVE_BUCKETS"] == buckets


def test_every_setting_that_the_code_reads_is_planned(
    deployments: dict[str, Deployment], moving: Deployment
) -> None:
    planned = {
        name
        for environment in (*deployments.values(), moving)
        for part in list_parts(environment)
        for name in cloud_settings(part)
    }
    read = {field.name.upper() for field in msgspec.structs.fields(Settings)}
    assert planned - FRAMEWORK == read - NOT_PLANNED


@pytest.mark.exhaustive  # plans one more environment
def test_who_lists_the_schedules_looks_in_the_region_in_which_terraform_makes_them(
    environments: Environments,
) -> None:
    asia = environments.variant("asia", "dev", "-var=region=asia-northeast1")
    schedules = asia.applied.of("google_cloud_scheduler_job").values()
    assert {schedule["region"] for schedule in schedules} == {"asia-northeast1"}
    parts = {part["name"]: cloud_settings(part) for part in list_parts(asia)}
    for name in ("progress-query", "progress-release"):
        assert parts[name]["SCHEDULER_REGION"] == "asia-northeast1"
    assert "europe-west1" not in json.dumps(parts)


def test_one_variable_sets_each_limit_of_the_lag_for_queries_commands_and_alerts(
    moving: Deployment,
) -> None:
    query = moving.applied.of("google_cloud_run_v2_service", "function")["query"]
    commands = moving.applied.of("google_cloud_run_v2_job", "job")["release"]
    for part in (query, commands):
        limits = {name: value for name, value in cloud_settings(part).items() if "MAX_LAG" in name}
        assert limits == {
            "MAX_LAG_EVENTS": "750",
            "MAX_LAG_SECONDS": "4",
            "MAX_LAG_BATCH_SECONDS": "1200",
        }
    by_name = alert_policies.alerts(moving.applied)
    queries = [alert.query for alert in by_name.values()]
    for threshold in (" > 750", " > 4000", " > 904000", "[35m]"):  # the batch runs each 15 minutes
        assert any(threshold in query for query in queries), threshold
