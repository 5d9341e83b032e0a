"""The planned resources that several test modules check."""

import pytest

from tests.conftest import need_terraform
from tests.support import terraform
from tests.support.terraform import Root
from tests.support.terraform_environments import MIGRATION, Environments
from tests.support.terraform_state import Deployment, Resources


@pytest.fixture(scope="session")
def prod(environments: Environments) -> Resources:
    return environments["prod"].applied


@pytest.fixture(scope="session")
def dev(environments: Environments) -> Resources:
    return environments["dev"].applied


@pytest.fixture(scope="session")
def moving(environments: Environments) -> Deployment:
    """The deployment of dev during a migration from Neon to Cloud SQL.

    MIGRATION lists what else it has.
    """
    return environments.variant("moving", "dev", *MIGRATION)


@pytest.fixture(scope="session")
def bootstrap_root(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Root:
    need_terraform(request)
    return terraform.copy_bootstrap(tmp_path_factory.mktemp("bootstrap"))


@pytest.fixture(scope="session")
def bootstrap(bootstrap_root: Root) -> Deployment:
    """The deployment of infra/bootstrap: planned, applied and planned again."""
    return bootstrap_root.deploy("delivered")


@pytest.fixture(scope="session")
def resources(bootstrap: Deployment) -> Resources:
    return bootstrap.applied
