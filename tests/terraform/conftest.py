"""The planned resources that several test modules check."""

import pytest

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
    """The deployment of a migration from Neon to Cloud SQL, with a fixed egress address."""
    return environments.variant("moving", "staging", *MIGRATION)
