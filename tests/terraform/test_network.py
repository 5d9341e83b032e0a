"""The network, and Redis in it."""

import ipaddress
import ssl

import pytest

from progress.adapters.redis.url import parse_url
from tests.support.cloud_run import secret_ids, secret_value, templates
from tests.support.terraform import ENVIRONMENTS
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Deployment, Resources


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_service_and_job_is_connected_to_the_network(
    environments: Environments, environment: str
) -> None:
    resources = environments[environment].applied
    subnetwork = resources["google_compute_subnetwork.this"]
    assert subnetwork["private_ip_google_access"]
    instances = sum(
        service["template"][0]["scaling"][0]["max_instance_count"]
        for service in resources.of("google_cloud_run_v2_service", "function").values()
    )
    addresses = ipaddress.ip_network(subnetwork["ip_cidr_range"]).num_addresses
    # Blue and green both use two addresses per instance, and Cloud Run releases addresses late.
    assert addresses > 8 * instances
    for name, template in templates(resources).items():
        (access,) = template["vpc_access"]
        assert access["egress"] == "PRIVATE_RANGES_ONLY", name
        assert access["network_interfaces"][0]["subnetwork"] == subnetwork["id"]
    assert not resources.of("google_compute_router_nat")
    assert not resources.of("google_compute_address")
    # This rule denies all incoming connections. Prod has a second rule, tested in test_dataflow.py.
    firewall = resources["google_compute_firewall.deny_ingress"]
    assert len(resources.of("google_compute_firewall")) == (2 if environment == "prod" else 1)
    assert (firewall["direction"], firewall["source_ranges"]) == ("INGRESS", ["0.0.0.0/0"])
    assert firewall["deny"] == [{"ports": firewall["deny"][0]["ports"], "protocol": "all"}]
    assert not firewall["allow"]


def test_a_fixed_egress_address_is_reserved_and_used(moving: Deployment) -> None:
    resources = moving.applied
    (nat,) = resources.of("google_compute_router_nat").values()
    (address,) = resources.of("google_compute_address").values()
    assert nat["nat_ip_allocate_option"] == "MANUAL_ONLY"
    assert nat["nat_ips"] == [address["self_link"]]
    assert nat["log_config"][0]["enable"]  # logs connections for which no port was free
    assert moving.outputs["egress_address"] == address["address"]
    for template in templates(resources).values():
        assert template["vpc_access"][0]["egress"] == "ALL_TRAFFIC"


def test_databases_wait_for_the_network_peering(environments: Environments) -> None:
    configured = environments["prod"].configuration["root_module"]["resources"]
    peering = environments["prod"].applied[
        "google_service_networking_connection.private_services[0]"
    ]
    assert peering["deletion_policy"] == "ABANDON"
    waits = {resource["address"]: resource.get("depends_on", []) for resource in configured}
    for waiting in ("google_sql_database_instance.this", "google_redis_instance.this"):
        assert "google_service_networking_connection.private_services" in waits[waiting]


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
