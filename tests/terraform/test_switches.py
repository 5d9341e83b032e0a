"""The variables that switch features on, and deployments with mocks of the providers."""

import pytest

from tests.support import terraform_mocks
from tests.support.cloud_run import plain_settings, templates
from tests.support.terraform import Root
from tests.support.terraform_environments import NIGHTLY, Environments
from tests.support.terraform_state import Deployment


@pytest.mark.exhaustive
def test_mocks_make_the_same_deployment_as_the_offline_provider(
    root: Root, environments: Environments
) -> None:
    """A clone that has only the registry's provider tests deployments that mocks make."""
    expected = environments["prod"]
    options = ["-var-file=environments/prod.tfvars"]
    mocked = Deployment(*terraform_mocks.deploy(root.folder, root.run, options), {})
    assert mocked.second_plan == expected.second_plan == ""
    assert mocked.planned.keys() == expected.planned.keys()
    assert mocked.applied.keys() == expected.applied.keys()
    assert mocked.outputs.keys() == expected.outputs.keys()
    for kind in ("google_cloud_run_v2_service", "google_project_iam_member"):
        for key, resource in expected.applied.of(kind).items():
            same = {"role", "member", "ingress", "scaling"} & resource.keys()
            assert {mocked.applied.of(kind)[key][name] == resource[name] for name in same} == {True}


def test_every_part_of_every_environment_exports_to_google(deployment: Deployment) -> None:
    applied = deployment.applied
    ratio = "1" if deployment.plan["variables"]["environment"]["value"] == "dev" else "0.1"
    roles = applied.of("google_project_iam_member", "member").keys()
    assert "telemetry.googleapis.com" in applied.of("google_project_service", "api")
    for name, part in templates(applied).items():
        settings = plain_settings(applied, name)
        assert settings["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://telemetry.googleapis.com"
        assert settings["OTEL_RESOURCE_ATTRIBUTES"].endswith("cloud.region=europe-west1")
        assert settings["OTEL_TRACES_SAMPLER"] == "traceidratio"
        assert settings["OTEL_TRACES_SAMPLER_ARG"] == ratio
        member = part["service_account"].partition("@")[0].removeprefix("progress-")
        for role in ("telemetry.writer", "serviceusage.serviceUsageConsumer"):
            assert f"{member} roles/{role}" in roles


@pytest.mark.exhaustive
def test_an_own_collector_needs_no_roles_at_google(environments: Environments) -> None:
    applied = environments.variant("nightly", "dev", *NIGHTLY).applied
    query = plain_settings(applied, "query")
    assert query["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://collector.example.com"
    roles = applied.of("google_project_iam_member", "member").keys()
    assert "query roles/telemetry.writer" not in roles


@pytest.mark.exhaustive
def test_only_a_function_with_a_minimum_at_night_has_schedules(environments: Environments) -> None:
    applied = environments.variant("nightly", "dev", *NIGHTLY).applied
    schedules = applied.of("google_cloud_scheduler_job", "night")
    assert schedules.keys() == {"evening-query", "morning-query"}
    grants = applied.of("google_cloud_run_v2_service_iam_member", "scheduler")
    assert grants.keys() == {"query"}
