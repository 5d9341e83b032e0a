"""The network, Redis in it, and the load balancer in front of the query function."""

import ipaddress
import re
import ssl

import pytest

from progress.adapters.redis.url import parse_url
from tests.support.cloud_run import secret_ids, secret_value, templates
from tests.support.terraform import NOT_DEV
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Resources, Values


def test_an_environment_without_anything_in_a_network_has_none(environments: Environments) -> None:
    """Cloud Run would keep the network's addresses for hours after the last service is deleted."""
    dev = environments["dev"].applied
    assert {tuple(template["vpc_access"] or ()) for template in templates(dev).values()} == {()}
    assert not [address for address in dev if "google_compute_" in address]
    assert not dev.of("google_redis_instance")
    assert all("REDIS_URL" not in secret_ids(dev, part) for part in templates(dev))
    assert environments["dev"].outputs["domain_records"] == []  # it has no load balancer


def test_the_load_balancer_has_tls_1_3_and_says_which_records_its_domain_needs(
    environments: Environments, prod: Resources
) -> None:
    proxy = prod.one("google_compute_target_https_proxy")
    policy = prod.one("google_compute_ssl_policy")
    assert proxy["ssl_policy"] == policy["id"]
    assert (policy["min_tls_version"], policy["profile"]) == ("TLS_1_3", "RESTRICTED")
    assert environments["prod"].outputs["domain_records"] == [
        f"{DOMAIN}. A {prod['google_compute_global_address.load_balancer[0]']['address']}",
        f"_acme-challenge.{DOMAIN}. CNAME 1.authorize.certificatemanager.goog.",
    ]


@pytest.mark.parametrize("environment", NOT_DEV)
def test_every_service_and_job_is_connected_to_the_network(
    environments: Environments, environment: str
) -> None:
    resources = environments[environment].applied
    subnetwork = resources["google_compute_subnetwork.this[0]"]
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
    (firewall,) = resources.of("google_compute_firewall").values()
    assert (firewall["direction"], firewall["source_ranges"]) == ("INGRESS", ["0.0.0.0/0"])
    assert firewall["deny"] == [{"ports": firewall["deny"][0]["ports"], "protocol": "all"}]
    assert not firewall["allow"]


def test_databases_wait_for_the_network_peering(environments: Environments) -> None:
    configured = environments["prod"].configuration["root_module"]["resources"]
    peering = environments["prod"].applied[
        "google_service_networking_connection.private_services[0]"
    ]
    assert peering["deletion_policy"] == "ABANDON"
    waits = {resource["address"]: resource.get("depends_on", []) for resource in configured}
    for waiting in ("google_sql_database_instance.this", "google_redis_instance.this"):
        assert "google_service_networking_connection.private_services" in waits[waiting]


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


DOMAIN = "progress.example.com"
SMOKE_KEY = "0123456789abcdef0123456789abcdef"


def test_no_route_leads_to_green_if_no_smoke_key_is_set(prod: Resources) -> None:
    (matcher,) = prod.of("google_compute_url_map", "load_balancer")["0"]["path_matcher"]
    assert matcher["route_rules"] == []


@pytest.mark.exhaustive  # it needs a plan of its own
def test_requests_with_the_smoke_key_are_routed_to_green(environments: Environments) -> None:
    deployment = environments.variant("prod-smoke", "prod", f"-var=smoke_key={SMOKE_KEY}")
    prod = deployment.applied
    assert deployment.second_plan == ""
    backends = prod.of("google_compute_backend_service", "load_balancer")
    groups = prod.of("google_compute_region_network_endpoint_group", "load_balancer")
    (matcher,) = prod.of("google_compute_url_map", "load_balancer")["0"]["path_matcher"]
    (route,) = matcher["route_rules"]
    (header,) = route["match_rules"][0]["header_matches"]
    assert (header["header_name"], header["exact_match"]) == ("x-progress-revision", SMOKE_KEY)
    for name, service in (("live", matcher["default_service"]), ("green", route["service"])):
        assert service == backends[name]["id"]
        assert [backend["group"] for backend in backends[name]["backend"]] == [groups[name]["id"]]
    tags = {name: backend_group["cloud_run"][0]["tag"] for name, backend_group in groups.items()}
    assert tags == {"live": None, "green": "green"}


@pytest.fixture(scope="module")
def rules(prod: Resources) -> list[Values]:
    """Cloud Armor's rules, sorted by priority; both backends must have these rules."""
    policy = prod.one("google_compute_security_policy")
    for backend in prod.of("google_compute_backend_service", "load_balancer").values():
        assert backend["security_policy"] == policy["id"]
    return sorted(policy["rule"], key=lambda rule: int(rule["priority"]))


def expression(rule: Values) -> str:
    match = rule["match"][0]
    return str(match["expr"][0]["expression"]) if match["expr"] else ""


def test_no_rule_that_reads_bodies_reads_what_learners_post(rules: list[Values]) -> None:
    conditions = [expression(rule) for rule in rules if "Waf(" in expression(rule)]
    assert len(conditions) == 11
    assert any("cve-canary" in condition for condition in conditions)
    for condition in conditions:
        path, _, evaluation = condition.partition(" && ")
        assert path == "request.path != '/events'"
        assert re.fullmatch(
            r"evaluatePreconfiguredWaf\('[\w-]+'(, \{'sensitivity': 1\})?\)", evaluation
        )
