"""The network, Redis in it, and the load balancer in front of the query function."""

import ipaddress
import re
import ssl

import pytest

from progress.adapters.redis.url import parse_url
from tests.support.cloud_run import secret_ids, secret_value, templates
from tests.support.terraform import NOT_DEV
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Deployment, Resources, Values


def test_an_environment_without_anything_in_its_network_does_not_use_it(dev: Resources) -> None:
    """Cloud Run would keep the network's addresses for hours after the last service is deleted."""
    assert {tuple(template["vpc_access"] or ()) for template in templates(dev).values()} == {()}


@pytest.mark.parametrize("environment", NOT_DEV)
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
    # This rule denies all incoming connections. Dataflow has a second rule (test_jobs.py).
    firewall = resources["google_compute_firewall.deny_ingress"]
    assert len(resources.of("google_compute_firewall")) == 2
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


DOMAIN = "progress.example.com"


def test_an_environment_without_a_domain_has_no_load_balancer(environments: Environments) -> None:
    dev = environments["dev"]
    for kind in ("backend_service", "global_forwarding_rule", "security_policy", "url_map"):
        assert not dev.applied.of(f"google_compute_{kind}")
    assert dev.outputs.get("load_balancer_address") is None


def test_the_load_balancer_has_tls_1_3_and_a_certificate_for_the_domain(prod: Resources) -> None:
    proxy = prod.one("google_compute_target_https_proxy")
    policy = prod.one("google_compute_ssl_policy")
    certificate = prod.one("google_compute_managed_ssl_certificate")
    rule = prod.of("google_compute_global_forwarding_rule", "load_balancer")["0"]
    assert (rule["port_range"], rule["target"]) == ("443", proxy["id"])
    assert rule["ip_address"] == prod.one("google_compute_global_address", "load_balancer")["id"]
    assert proxy["ssl_policy"] == policy["id"]
    assert proxy["ssl_certificates"] == [certificate["id"]]
    assert certificate["managed"][0]["domains"] == [DOMAIN]
    assert (policy["min_tls_version"], policy["profile"]) == ("TLS_1_3", "RESTRICTED")


def test_plain_http_is_redirected_to_https(prod: Resources) -> None:
    rule = prod.of("google_compute_global_forwarding_rule", "redirect")["0"]
    proxy = prod.one("google_compute_target_http_proxy")
    urls = prod.of("google_compute_url_map", "redirect")["0"]
    (redirect,) = urls["default_url_redirect"]
    assert (rule["port_range"], rule["target"]) == ("80", proxy["id"])
    assert rule["ip_address"] == prod.one("google_compute_global_address", "load_balancer")["id"]
    assert proxy["url_map"] == urls["id"]
    assert redirect["https_redirect"]


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
    urls = prod.of("google_compute_url_map", "load_balancer")["0"]
    (matcher,) = urls["path_matcher"]
    (route,) = matcher["route_rules"]
    (match,) = route["match_rules"]
    (header,) = match["header_matches"]
    assert urls["host_rule"][0]["hosts"] == ["*"]
    assert urls["host_rule"][0]["path_matcher"] == matcher["name"]
    assert urls["default_service"] == matcher["default_service"] == backends["live"]["id"]
    assert route["service"] == backends["green"]["id"]
    assert match["prefix_match"] == "/"
    assert (header["header_name"], header["exact_match"]) == ("x-progress-revision", SMOKE_KEY)
    says = {name: backend["custom_response_headers"][1:] for name, backend in backends.items()}
    assert says == {"live": [], "green": ["x-progress-revision: green"]}
    tags = {name: backend_group["cloud_run"][0]["tag"] for name, backend_group in groups.items()}
    assert tags == {"live": None, "green": "green"}
    # The managed load balancer is necessary, because the classic one cannot route by header.
    rules = prod.of("google_compute_global_forwarding_rule")
    for part in (*rules.values(), *backends.values()):
        assert part["load_balancing_scheme"] == "EXTERNAL_MANAGED"
    for name, group in groups.items():
        assert group["network_endpoint_type"] == "SERVERLESS"
        assert group["cloud_run"][0]["service"] == "progress-query"
        assert [backend["group"] for backend in backends[name]["backend"]] == [group["id"]]


def test_streams_are_neither_cut_off_nor_buffered(environments: Environments) -> None:
    planned = environments["prod"].planned
    for backend in planned.of("google_compute_backend_service", "load_balancer").values():
        # Google rejects a timeout on a serverless backend.
        assert backend.get("timeout_sec") is None
        assert backend["max_stream_duration"] == []
        assert backend["compression_mode"] == "DISABLED"
    service = planned.of("google_cloud_run_v2_service", "function")["query"]
    assert service["template"][0]["timeout"] == "3600s"


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


def test_requests_are_limited_per_ip_address(rules: list[Values]) -> None:
    (rule,) = [rule for rule in rules if rule["action"] == "throttle"]
    (limit,) = rule["rate_limit_options"]
    assert (limit["enforce_on_key"], limit["exceed_action"]) == ("IP", "deny(429)")
    assert rule["match"][0]["config"][0]["src_ip_ranges"] == ["*"]
    after = [later for later in rules if later["priority"] > rule["priority"]]
    assert [(later["action"], later["priority"]) for later in after] == [("allow", 2147483647)]


def test_the_owasp_rules_are_enforced_and_cloud_armor_parses_graphql(
    prod: Resources, rules: list[Values]
) -> None:
    by_rule_set = {
        name: rule
        for rule in rules
        for name in re.findall(r"evaluatePreconfiguredWaf\('([\w-]+)'", expression(rule))
    }
    assert {name.removesuffix("-v33-stable") for name in by_rule_set} == {
        *("sqli", "xss", "lfi", "rfi", "rce", "nodejs", "protocolattack"),
        *("methodenforcement", "scannerdetection", "sessionfixation", "cve-canary"),
    }
    options = prod.one("google_compute_security_policy")["advanced_options_config"][0]
    assert options["json_parsing"] == "STANDARD_WITH_GRAPHQL"
    for name, rule in by_rule_set.items():
        assert rule["action"] == "deny(403)"
        assert not rule["preview"]
        assert name == "cve-canary" or "'sensitivity': 1" in expression(rule)


@pytest.mark.parametrize("name", ["sqli", "xss", "rce", "lfi", "rfi", "nodejs", "protocolattack"])
def test_the_firewall_rules_ignore_the_graphql_document_and_the_token(
    rules: list[Values], name: str
) -> None:
    (rule,) = [rule for rule in rules if f"'{name}-v33-stable'" in expression(rule)]
    (excluded,) = rule["preconfigured_waf_config"][0]["exclusion"]
    assert excluded["target_rule_set"] == f"{name}-v33-stable"
    assert excluded["request_query_param"] == [{"operator": "EQUALS", "value": "query"}]
    assert excluded["request_header"] == [{"operator": "EQUALS", "value": "authorization"}]


def test_the_rules_do_not_exceed_the_limits_of_cloud_armor(rules: list[Values]) -> None:
    advanced = [expression(rule) for rule in rules if expression(rule)]
    assert len(advanced) <= 20
    for condition in advanced:
        assert len(condition) <= 2048
        assert len(re.split(r"&&|\|\|", condition)) <= 5
    assert len({rule["priority"] for rule in rules}) == len(rules)
    assert max(len(rule["description"]) for rule in rules) <= 64
