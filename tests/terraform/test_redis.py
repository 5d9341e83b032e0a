"""The planned Redis: encryption, password and settings."""

import ssl

import pytest

from progress.adapters.redis.url import parse_url
from tests.support.cloud_run import secret_ids, secret_value, templates
from tests.support.terraform_state import Resources

pytestmark = pytest.mark.timeout(600)  # the first test waits until Terraform has created the plans


def test_redis_requires_a_password_and_tls(prod: Resources) -> None:
    redis = prod["google_redis_instance.this[0]"]
    assert redis["auth_enabled"]
    assert redis["transit_encryption_mode"] == "SERVER_AUTHENTICATION"
    assert redis["connect_mode"] == "PRIVATE_SERVICE_ACCESS"
    assert redis["authorized_network"] == prod["google_compute_network.this"]["id"]
    assert redis["redis_configs"] == {"maxmemory-policy": "volatile-lru"}
    assert redis["tier"] == "STANDARD_HA"


@pytest.mark.parametrize("part", ["project", "query", "batch", "release"])
def test_the_redis_url_has_the_tls_port_and_the_certificate_authority(
    prod: Resources, part: str
) -> None:
    redis = prod["google_redis_instance.this[0]"]
    url = secret_value(prod, part, "REDIS_URL")
    at = parse_url(url)
    assert (at.host, at.port) == (redis["host"], 6378)
    assert at.password == redis["auth_string"]
    assert at.tls
    assert not at.tls.check_hostname  # the server's certificate has no host name
    assert at.tls.verify_mode == ssl.CERT_REQUIRED
    assert len(at.tls.get_ca_certs()) == len(redis["server_ca_certs"]) == 2


def test_no_service_or_job_has_a_redis_url_if_there_is_no_redis(dev: Resources) -> None:
    assert not dev.of("google_redis_instance")
    assert all("REDIS_URL" not in secret_ids(dev, part) for part in templates(dev))
