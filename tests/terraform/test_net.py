"""What the functions stand on, as Terraform would make it: network, database, Redis, secrets."""

import ipaddress
import itertools
import ssl

import pytest

from progress.adapters.postgres import logins, url
from progress.adapters.redis.url import parse_url
from progress.query.read_models import as_of, reader
from tests.support.cloud_run import containers, secrets, told, value
from tests.support.terraform import ENVIRONMENTS, MOVING, Environments, Resources, Told, listed

pytestmark = pytest.mark.timeout(600)  # whoever is first waits for all that Terraform does

FUNCTIONS = ("ingest", "project", "query")
GROUPS = {
    "ingest": "progress_ingest",
    "project": "progress_project",
    "query": "progress_query",
    "batch": "progress_batch",
    "backup": "progress_query",
}
PARTS = {**dict(zip(FUNCTIONS, FUNCTIONS, strict=True)), "batch": "batch", "backup": "backup"}


@pytest.fixture(scope="module")
def prod(environments: Environments) -> Resources:
    return environments["prod"].applied


@pytest.fixture(scope="module")
def dev(environments: Environments) -> Resources:
    return environments["dev"].applied


@pytest.fixture(scope="module")
def moving(environments: Environments) -> Told:
    """Neon is left for Cloud SQL; and calls leave from one address."""
    return environments.variant("moving", "staging", *MOVING)


def member(part: str) -> str:
    """As whom a service or job runs."""
    return "batch" if part == "batch-large" else part


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_part_has_a_leg_in_the_network(environments: Environments, environment: str) -> None:
    made = environments[environment].applied
    subnetwork = made["google_compute_subnetwork.this"]
    assert subnetwork["private_ip_google_access"]
    instances = sum(
        each["template"][0]["scaling"][0]["max_instance_count"]
        for each in made.of("google_cloud_run_v2_service", "function").values()
    )
    addresses = ipaddress.ip_network(subnetwork["ip_cidr_range"]).num_addresses
    assert addresses > 8 * instances  # two of each, blue and green, and what is let go late
    for name, each in containers(made).items():
        (access,) = each["vpc_access"]
        assert access["egress"] == "PRIVATE_RANGES_ONLY", name
        assert access["network_interfaces"][0]["subnetwork"] == subnetwork["id"]
    assert not made.of("google_compute_router_nat")
    assert not made.of("google_compute_address")
    (firewall,) = made.of("google_compute_firewall").values()  # nobody here listens
    assert (firewall["direction"], firewall["source_ranges"]) == ("INGRESS", ["0.0.0.0/0"])
    assert firewall["deny"] == [{"ports": firewall["deny"][0]["ports"], "protocol": "all"}]
    assert not firewall["allow"]


def test_a_fixed_egress_address_is_there_where_it_is_asked_for(moving: Told) -> None:
    made = moving.applied
    (nat,) = made.of("google_compute_router_nat").values()
    (address,) = made.of("google_compute_address").values()
    assert nat["nat_ip_allocate_option"] == "MANUAL_ONLY"
    assert nat["nat_ips"] == [address["self_link"]]
    assert nat["log_config"][0]["enable"]  # a port that was not to be had
    assert moving.outputs["egress_address"] == address["address"]
    for each in containers(made).values():
        assert each["vpc_access"][0]["egress"] == "ALL_TRAFFIC"


def test_cloud_sql_is_private_encrypted_backed_up_and_guarded(prod: Resources) -> None:
    instance = prod["google_sql_database_instance.this[0]"]
    (settings,) = instance["settings"]
    (ip,) = settings["ip_configuration"]
    (backups,) = settings["backup_configuration"]
    flags = {each["name"]: each["value"] for each in settings["database_flags"]}
    assert int(instance["database_version"].removeprefix("POSTGRES_")) >= 15
    assert (ip["ipv4_enabled"], ip["ssl_mode"]) == (False, "ENCRYPTED_ONLY")
    assert ip["private_network"] == prod["google_compute_network.this"]["id"]
    assert ip["authorized_networks"] == []
    assert backups["enabled"]
    assert backups["point_in_time_recovery_enabled"]
    assert backups["transaction_log_retention_days"] == 7
    assert backups["backup_retention_settings"] == [
        {"retained_backups": 7, "retention_unit": "COUNT"}
    ]
    assert instance["deletion_protection"]
    assert settings["deletion_protection_enabled"]
    assert (settings["availability_type"], settings["edition"]) == ("REGIONAL", "ENTERPRISE")
    assert settings["disk_autoresize"]
    assert settings["disk_autoresize_limit"] == 500  # GB; 0 would be none
    assert settings["final_backup_config"] == [{"enabled": True, "retention_days": 30}]
    assert settings["insights_config"][0]["query_insights_enabled"]
    assert flags["cloudsql.iam_authentication"] == "on"
    assert flags["log_min_duration_statement"] == "-1"  # no learner's values in its log


def test_the_network_of_google_s_services_is_peered_first(environments: Environments) -> None:
    configured = environments["prod"].plan["configuration"]["root_module"]["resources"]
    peering = environments["prod"].applied[
        "google_service_networking_connection.private_services[0]"
    ]
    assert peering["deletion_policy"] == "ABANDON"
    waits = {each["address"]: each.get("depends_on", []) for each in configured}
    for waiting in ("google_sql_database_instance.this", "google_redis_instance.this"):
        assert "google_service_networking_connection.private_services" in waits[waiting]


def test_elsewhere_cloud_sql_is_small_and_may_go(moving: Told) -> None:
    instance = moving.applied["google_sql_database_instance.this[0]"]
    (settings,) = instance["settings"]
    assert settings["availability_type"] == "ZONAL"
    assert 0 < settings["disk_autoresize_limit"] <= 20
    assert settings["final_backup_config"] == [{"enabled": True, "retention_days": 7}]
    assert not instance["deletion_protection"]


# A candidate of ingest or query is reached by its tag or header, and only the release does that:
# one instance, and another in case. Project's is pushed all wake-ups.
CANDIDATES = {"ingest": 2, "query": 2}


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_every_instance_may_connect_and_those_of_a_release_too(
    environments: Environments, moving: Told, environment: str
) -> None:
    made = environments["prod"].applied if environment == "prod" else moving.applied
    flags = made["google_sql_database_instance.this[0]"]["settings"][0]["database_flags"]
    (limit,) = (int(each["value"]) for each in flags if each["name"] == "max_connections")
    each_of = {
        "ingest": 1,  # groupcommit's
        "project": int(told(made, "project")["THREADS"]),
        "query": int(told(made, "query")["WORKERS"]) * (reader._CONNECTIONS + as_of._SESSIONS),
    }
    connections = 0
    for name, service in made.of("google_cloud_run_v2_service", "function").items():
        (shared,), (template,) = service["scaling"], service["template"]
        (own,) = template["scaling"]
        most = shared["max_instance_count"]
        candidate = min(CANDIDATES.get(name, most), own["max_instance_count"])
        assert own["max_instance_count"] >= most  # else a revision with all traffic has fewer
        connections += (most + candidate) * each_of[name]
    assert connections <= 0.95 * limit


@pytest.mark.parametrize("part", GROUPS)
def test_cloud_sql_knows_each_part_by_its_service_account(prod: Resources, part: str) -> None:
    user = prod.of("google_sql_user", "member")[part]
    assert user["type"] == "CLOUD_IAM_SERVICE_ACCOUNT"
    assert user["name"] == f"progress-{part}@progress-prod.iam"
    assert told(prod, part)["DB_IAM_USER"] == user["name"]
    assert told(prod, part)["DB_NAME"] == prod["google_sql_database.this[0]"]["name"]
    instance = prod["google_sql_database_instance.this[0]"]
    assert told(prod, part)["INSTANCE_CONNECTION_NAME"] == instance["connection_name"]
    assert "DATABASE_URL" not in secrets(prod, part)
    account = prod.of("google_service_account", "member")[part]
    roles = {
        each["role"]
        for key, each in prod.of("google_project_iam_member", "cloud_sql").items()
        if key.startswith(f"{part}-") and each["member"] == account["member"]
    }
    assert roles == {"roles/cloudsql.client", "roles/cloudsql.instanceUser"}


def test_the_release_job_gives_cloud_sql_s_users_their_groups(prod: Resources) -> None:
    users = prod.of("google_sql_user", "member")
    admitted = logins.parse(value(prod, "release", "DATABASE_LOGINS"))
    assert {each.name: each.group for each in admitted} == {
        users[part]["name"]: group for part, group in GROUPS.items()
    }
    assert all(each.password is None for each in admitted)


def test_the_release_job_is_the_owner_of_cloud_sql(
    environments: Environments, prod: Resources
) -> None:
    owner = url.parse_url(value(prod, "release", "DATABASE_URL"))
    user = prod["google_sql_user.owner[0]"]
    version = prod.of("google_secret_manager_secret_version", "password")[
        "progress-cloud-sql-url-owner"
    ]
    assert owner.user == user["name"]
    assert len(owner.password or "") >= 32
    assert user["password_wo_version"] == version["secret_data_wo_version"] > 0
    configured = environments["prod"].plan["configuration"]["root_module"]["resources"]
    (given,) = (each for each in configured if each["address"] == "google_sql_user.owner")
    assert given["expressions"]["password_wo"]["references"] == [
        'ephemeral.random_password.database["owner"].result',
        'ephemeral.random_password.database["owner"]',
        "ephemeral.random_password.database",
    ]
    assert owner.sslmode == "require"
    assert owner.host == prod["google_sql_database_instance.this[0]"]["private_ip_address"]
    assert "DB_IAM_USER" not in told(prod, "release")


def test_each_part_logs_in_to_neon_with_a_password_of_its_own(dev: Resources) -> None:
    admitted = {each.name: each for each in logins.parse(value(dev, "release", "DATABASE_LOGINS"))}
    passwords = set()
    for part, group in GROUPS.items():
        at = url.parse_url(value(dev, part, "DATABASE_URL"))
        assert (admitted[at.user].group, admitted[at.user].password) == (group, at.password)
        assert at.host == "ep-example-dev.eu-central-1.aws.neon.tech"
        assert at.sslmode == "verify-full"
        assert "DB_IAM_USER" not in told(dev, part)
        passwords.add(at.password)
    assert len(passwords) == len(admitted) == len(GROUPS)
    assert all(len(password or "") >= 32 for password in passwords)
    assert not dev.of("google_sql_database_instance")


def test_while_it_moves_the_functions_use_the_former_database(moving: Told) -> None:
    made = moving.applied
    assert made["google_sql_database_instance.this[0]"]
    for part in GROUPS:
        assert "neon.tech" in value(made, part, "DATABASE_URL")
        assert "DB_IAM_USER" not in told(made, part)


def test_while_it_moves_the_release_job_works_on_the_new_database(moving: Told) -> None:
    made = moving.applied
    at = url.parse_url(value(made, "release", "DATABASE_URL"))
    assert at.user == made["google_sql_user.owner[0]"]["name"]
    admitted = logins.parse(value(made, "release", "DATABASE_LOGINS"))
    assert {each.name for each in admitted} == {
        each["name"] for each in made.of("google_sql_user", "member").values()
    }
    dumps = made["google_storage_bucket_iam_member.cloud_sql_dumps[0]"]
    assert dumps["bucket"] == made["google_storage_bucket.backup"]["name"]
    assert moving.again == ""


def test_after_the_move_the_release_job_works_on_the_new_one_and_the_former_one_is_kept(
    environments: Environments,
) -> None:
    options = ("-var=database=cloud_sql", "-var=former_database=neon")
    plan = environments.root().planned("dev", *options, name="moved")
    made = Resources(listed(plan["planned_values"]["root_module"]))
    assert secrets(made, "release")["DATABASE_URL"] == "progress-cloud-sql-url-owner"
    assert secrets(made, "release")["DATABASE_LOGINS"] == "progress-cloud-sql-logins"
    assert made.of("google_secret_manager_secret_version", "password").keys() == {
        *(f"progress-neon-url-{part}" for part in GROUPS),
        *("progress-neon-logins", "progress-cloud-sql-url-owner"),
    }
    assert made['google_secret_manager_secret.this["progress-neon-url-query"]']


def test_redis_asks_for_a_password_over_tls(prod: Resources) -> None:
    redis = prod["google_redis_instance.this[0]"]
    assert redis["auth_enabled"]
    assert redis["transit_encryption_mode"] == "SERVER_AUTHENTICATION"
    assert redis["connect_mode"] == "PRIVATE_SERVICE_ACCESS"
    assert redis["authorized_network"] == prod["google_compute_network.this"]["id"]
    assert redis["redis_configs"] == {"maxmemory-policy": "volatile-lru"}
    assert redis["tier"] == "STANDARD_HA"


@pytest.mark.parametrize("part", ["project", "query", "batch", "release"])
def test_redis_is_found_by_its_own_port_and_authority(prod: Resources, part: str) -> None:
    redis = prod["google_redis_instance.this[0]"]
    url = value(prod, part, "REDIS_URL")
    at = parse_url(url)
    assert (at.host, at.port) == (redis["host"], 6378)
    assert at.handshake[0] == ("AUTH", redis["auth_string"])
    assert at.tls
    assert not at.tls.check_hostname  # its certificate names nobody
    assert at.tls.verify_mode == ssl.CERT_REQUIRED
    assert len(at.tls.get_ca_certs()) == len(redis["server_ca_certs"]) == 2


def test_without_redis_nobody_is_told_of_one(dev: Resources) -> None:
    assert not dev.of("google_redis_instance")
    assert all("REDIS_URL" not in secrets(dev, part) for part in containers(dev))


def readers(made: Resources) -> set[tuple[str, str]]:
    """Who may read which secret."""
    return {
        (key.partition(":")[2], key.partition(":")[0])
        for key in made.of("google_secret_manager_secret_iam_member", "accessor")
    }


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_a_secret_is_read_by_who_is_given_it_and_by_nobody_else(
    environments: Environments, environment: str
) -> None:
    made = environments[environment].applied
    given = {
        (member(part), each) for part in containers(made) for each in secrets(made, part).values()
    }
    assert readers(made) == given
    assert {secret for _, secret in given} == set(made.of("google_secret_manager_secret", "this"))
    accounts = made.of("google_service_account", "member")
    for key, each in made.of("google_secret_manager_secret_iam_member", "accessor").items():
        assert each["role"] == "roles/secretmanager.secretAccessor"
        assert each["member"] == accounts[key.partition(":")[2]]["member"]


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_a_secret_lies_in_the_region_and_its_reading_is_recorded(
    environments: Environments, environment: str
) -> None:
    made = environments[environment].applied
    for each in made.of("google_secret_manager_secret", "this").values():
        (replication,) = each["replication"]
        replicas = replication["user_managed"][0]["replicas"]
        assert [replica["location"] for replica in replicas] == ["europe-west1"]
    audited = made["google_project_iam_audit_config.secrets"]
    assert audited["service"] == "secretmanager.googleapis.com"
    assert [each["log_type"] for each in audited["audit_log_config"]] == ["DATA_READ"]


def test_no_two_secrets_hold_the_same(dev: Resources, prod: Resources) -> None:
    for made in (dev, prod):
        held = [
            each["secret_data"]
            for each in made.of("google_secret_manager_secret_version", "this").values()
        ]
        held += made.passwords.values()
        assert all(one != other for one, other in itertools.combinations(held, 2))
