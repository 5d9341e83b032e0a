"""The deployment of infra/bootstrap, which is created once in a test run."""

import pytest

from tests.conftest import skip_without
from tests.support import terraform
from tests.support.terraform import Root
from tests.support.terraform_state import Deployment, Resources

PROJECTS = {
    "dev": "progress-dev", "staging": "progress-staging", "prod": "progress-prod",
    "trial": "progress-trial", "images": "progress-images",
}  # fmt: skip


IN_ENVIRONMENTS = {name: id_ for name, id_ in PROJECTS.items() if name != "images"}


@pytest.fixture(scope="session")
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Root:
    if terraform.find_offline() is None:
        skip_without(request, "terraform")
    return terraform.copy_bootstrap(tmp_path_factory.mktemp("bootstrap"))


@pytest.fixture(scope="session")
def bootstrap(root: Root) -> Deployment:
    """The deployment of infra/bootstrap: planned, applied and planned again."""
    return root.deploy("bootstrap")


@pytest.fixture(scope="session")
def resources(bootstrap: Deployment) -> Resources:
    return bootstrap.applied
