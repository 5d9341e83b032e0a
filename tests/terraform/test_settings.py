"""Terraform sets each setting that the code reads, and no other settings.

The exceptions are NOT_PLANNED and FRAMEWORK.
"""

import msgspec

from progress import auth, settings
from progress.settings import Settings
from tests.support.cloud_run import parts, plain_settings, secret_ids
from tests.support.terraform_state import Deployment, Resources

# Settings that functions-framework, gunicorn, Python and OpenTelemetry read.
FRAMEWORK = {
    *("THREADS", "FUNCTION_TARGET"),
    *("OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"),
}

# Settings that Terraform does not set: Cloud Run sets them, only tests or the local stack need
# them, or they are optional.
NOT_PLANNED = {
    *("SERVE_COMMANDS_URL", "SERVE_EVENTS_URL", "SERVE_KEY", "SERVE_WAKES"),
    *("EVENTS_URL", "EVENTS_TOKEN", "WEBHOOK_URL", "WEBHOOK_SECRET"),
    *("CLOUD_RUN_JOB", "CLOUD_RUN_EXECUTION"),
    *("CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT", "CLOUD_RUN_TASK_ATTEMPT"),
    *("PUBSUB_EMULATOR_HOST", "CLOUD_SCHEDULER_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"),
    *("PROGRESS_DATA_DIR", "FORMER_SCHEMA_DAYS", "MALFORMED_DAYS"),
    "K_SERVICE",  # Cloud Run sets it
}


def read_settings(resources: Resources, part: str) -> dict[str, str]:
    return plain_settings(resources, part) | secret_ids(resources, part)


def test_every_planned_setting_is_valid(deployment: Deployment) -> None:
    known = {field.name.upper() for field in msgspec.structs.fields(Settings)}
    for part in parts(deployment.applied):
        planned = read_settings(deployment.applied, part)
        assert planned.keys() - FRAMEWORK <= known
        redis = {"REDIS_URL": "rediss://here:6378/0"} if "REDIS_URL" in planned else {}
        read = settings.read({name: planned[name] for name in planned.keys() - FRAMEWORK} | redis)
        if part == "query":
            is_dev = read.environment == "development"
            assert auth.load_issuer(read).is_public is is_dev  # in dev, Google's for every account


def test_the_job_of_operators_commands_has_the_redis_of_the_queries(deployment: Deployment) -> None:
    """`progress warm --afresh` runs there, after a restore."""
    query, job = (secret_ids(deployment.applied, part) for part in ("query", "release"))
    assert job.get("REDIS_URL") == query.get("REDIS_URL")


def test_every_setting_that_the_code_reads_is_planned(
    deployments: dict[str, Deployment], moving: Deployment
) -> None:
    planned = {
        name
        for environment in (*deployments.values(), moving)
        for part in parts(environment.applied)
        for name in read_settings(environment.applied, part)
    }
    read = {field.name.upper() for field in msgspec.structs.fields(Settings)}
    assert planned - FRAMEWORK == read - NOT_PLANNED
