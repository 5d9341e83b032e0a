"""Secrets: where passwords are stored, how they are rotated, and Redis's URL."""

import itertools
import json
import re
import ssl

import pytest

from progress.adapters.redis.url import parse_url
from tests.support.cloud_run import secret_value
from tests.support.terraform_environments import MIGRATION, Environments
from tests.support.terraform_state import Deployment, Resources, Values


def test_no_two_secrets_have_the_same_value(dev: Resources, prod: Resources) -> None:
    for resources in (dev, prod):
        held = [
            version["secret_data"]
            for version in resources.of("google_secret_manager_secret_version", "this").values()
        ]
        held += resources.passwords.values()
        assert all(one != other for one, other in itertools.combinations(held, 2))


def test_the_redis_url_has_the_tls_port_and_the_certificate_authority(prod: Resources) -> None:
    redis = prod["google_redis_instance.this[0]"]
    at = parse_url(secret_value(prod, "query", "REDIS_URL"))
    assert (at.host, at.port, at.password) == (redis["host"], 6378, redis["auth_string"])
    assert at.tls
    assert not at.tls.check_hostname  # the server's certificate has no host name
    assert at.tls.verify_mode == ssl.CERT_REQUIRED
    assert len(at.tls.get_ca_certs()) == len(redis["server_ca_certs"]) == 2
    assert redis["redis_configs"] == {"maxmemory-policy": "volatile-ttl"}


OWNER = "-var=neon_owner_password=0wner-s3cr3t"
_WRITTEN = re.compile(r":(\w{32,})(?=[@ ]|$)")


def test_plans_and_states_do_not_contain_a_password_that_an_operator_gives(
    environments: Environments,
) -> None:
    root = environments.root()
    target = "google_secret_manager_secret_version.neon_owner"
    plan = root.plan("dev", f"-target={target}", OWNER, name="given")
    root.run("apply", OWNER, "given.tfplan", state="given")
    state = (root.folder / "given.tfstate").read_text()
    assert target in str(plan)
    assert '"neon_owner"' in state
    for text in (str(plan), state):
        assert "0wner-s3cr3t" not in text


def passwords(deployment: Deployment) -> set[str]:
    values = {
        match[1] for value in deployment.passwords.values() for match in _WRITTEN.finditer(value)
    }
    # Each secret has its own password, except `logins`, which repeats the others' passwords.
    assert len(values) >= len(deployment.passwords) - 1
    return values


def test_plans_and_states_do_not_contain_generated_passwords(deployment: Deployment) -> None:
    kept = json.dumps([deployment.plan, deployment.state]) + deployment.second_plan
    assert not [password for password in passwords(deployment) if password in kept]
    assert "password_wo_version" in kept or "secret_data_wo_version" in kept


def changed_addresses(plan: Values) -> set[str]:
    changes = plan["resource_changes"]
    return {change["address"] for change in changes if change["change"]["actions"] != ["no-op"]}


@pytest.mark.exhaustive
def test_raising_the_password_version_rotates_every_password(
    moving: Deployment, environments: Environments
) -> None:
    """The plan changes only the passwords of both databases, and runs the migration to set them."""
    root = environments.root()
    options = (*MIGRATION, "-var=password_version=2", "-refresh=false")
    plan = root.plan("dev", *options, name="moving")
    assert changed_addresses(plan) == {
        *("google_sql_user.owner[0]", "terraform_data.migrate"),
        *(f'google_secret_manager_secret_version.password["{name}"]' for name in moving.passwords),
    }
    shown = root.run("show", "moving.tfplan")
    assert not [password for password in passwords(moving) if password in json.dumps(plan) + shown]


@pytest.mark.exhaustive
def test_a_changed_database_address_rotates_the_passwords(environments: Environments) -> None:
    """A secret holds an address and a password, so a new address requires a new secret version.

    Each run of Terraform generates new passwords, so the new version contains a new password. The
    migration then sets this password for the login.
    """
    dev = environments["dev"]
    neon = '{ host = "ep-other.neon.tech", database = "progress", owner = "progress_owner" }'
    plan = environments.root().plan("dev", f"-var=neon={neon}", "-refresh=false")
    changes = changed_addresses(plan)
    assert changes == {
        "terraform_data.migrate",
        *(f'google_secret_manager_secret_version.password["{name}"]' for name in dev.passwords),
    }
