"""Deployments with mocks of the providers."""

import pytest

from tests.support import terraform_mocks
from tests.support.terraform import Root
from tests.support.terraform_environments import Environments
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
