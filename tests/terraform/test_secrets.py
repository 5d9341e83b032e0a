"""The planned secrets: readers, region, audit log and values."""

import itertools

import pytest

from tests.support.cloud_run import secret_ids, templates
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Resources

pytestmark = pytest.mark.timeout(600)  # the first test waits until Terraform has created the plans


def member(part: str) -> str:
    """Return the name of the account that a service or job runs as."""
    return "batch" if part == "batch-large" else part


def readers(resources: Resources) -> set[tuple[str, str]]:
    """Return the pairs (account, secret) in which the account may read the secret."""
    return {
        (key.partition(":")[2], key.partition(":")[0])
        for key in resources.of("google_secret_manager_secret_iam_member", "accessor")
    }


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_only_the_services_and_jobs_that_use_a_secret_may_read_it(
    environments: Environments, environment: str
) -> None:
    resources = environments[environment].applied
    used = {
        (member(part), secret)
        for part in templates(resources)
        for secret in secret_ids(resources, part).values()
    }
    assert readers(resources) == used
    assert {secret for _, secret in used} == set(
        resources.of("google_secret_manager_secret", "this")
    )
    accounts = resources.of("google_service_account", "member")
    for key, grant in resources.of("google_secret_manager_secret_iam_member", "accessor").items():
        assert grant["role"] == "roles/secretmanager.secretAccessor"
        assert grant["member"] == accounts[key.partition(":")[2]]["member"]


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_secrets_are_stored_in_the_region_and_reads_are_logged(
    environments: Environments, environment: str
) -> None:
    resources = environments[environment].applied
    for secret in resources.of("google_secret_manager_secret", "this").values():
        (replication,) = secret["replication"]
        replicas = replication["user_managed"][0]["replicas"]
        assert [replica["location"] for replica in replicas] == ["europe-west1"]
    audited = resources["google_project_iam_audit_config.secrets"]
    assert audited["service"] == "secretmanager.googleapis.com"
    assert [config["log_type"] for config in audited["audit_log_config"]] == ["DATA_READ"]


def test_no_two_secrets_have_the_same_value(dev: Resources, prod: Resources) -> None:
    for resources in (dev, prod):
        held = [
            version["secret_data"]
            for version in resources.of("google_secret_manager_secret_version", "this").values()
        ]
        held += resources.passwords.values()
        assert all(one != other for one, other in itertools.combinations(held, 2))
