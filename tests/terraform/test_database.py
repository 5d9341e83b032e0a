"""The planned database: Cloud SQL, Neon, logins, and the migration from Neon to Cloud SQL."""

import inspect

import pytest

from progress.adapters.postgres import logins, url
from progress.projections import rebuild
from tests.support.cloud_run import plain_settings, secret_ids, secret_value
from tests.support.terraform import ENVIRONMENTS
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Deployment, Resources

GROUPS = {
    "ingest": "progress_ingest",
    "project": "progress_project",
    "query": "progress_query",
    "batch": "progress_batch",
    "backup": "progress_backup",
    "rebuild": "progress_project",
}


# The maximum number of instances of green (a release's new revision) before green gets traffic. At
# that time, only the release sends requests to it, so that it needs one instance and a spare.
CANDIDATES = 2


def query_connections(resources: Resources) -> int:
    planned = plain_settings(resources, "query")
    return int(planned["DATABASE_POOL_SIZE"]) + int(planned["DATABASE_PAST_SESSIONS"])


def test_each_function_opens_at_most_five_connections_to_neon(dev: Resources) -> None:
    """One request to project may rebuild, while the others fold.

    A rebuild has one connection for the operation, one for the swap, and one for each worker.
    """
    rebuild_workers = inspect.signature(rebuild.run).parameters["workers"].default
    for name, service in dev.of("google_cloud_run_v2_service", "function").items():
        (inside,) = service["template"]
        of_an_instance = {
            "ingest": 2,  # a group commit, and another one for long dead letters
            "project": 2 + rebuild_workers + inside["max_instance_request_concurrency"] - 1,
            "query": int(plain_settings(dev, "query")["WORKERS"]) * query_connections(dev),
        }[name]
        (shared,), (own,) = service["scaling"], inside["scaling"]
        most = max(shared["max_instance_count"], own["max_instance_count"])
        assert 0 < most * of_an_instance <= 5, name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_connection_limit_covers_all_instances_during_a_release(
    environments: Environments, moving: Deployment, environment: str
) -> None:
    resources = moving.applied if environment == "dev" else environments[environment].applied
    flags = resources["google_sql_database_instance.this[0]"]["settings"][0]["database_flags"]
    (limit,) = (int(flag["value"]) for flag in flags if flag["name"] == "max_connections")
    each_of = {
        "ingest": 2,  # a group commit, and another one for long dead letters
        "project": int(plain_settings(resources, "project")["THREADS"]),
        "query": int(plain_settings(resources, "query")["WORKERS"]) * query_connections(resources),
    }
    connections = 0
    for name, service in resources.of("google_cloud_run_v2_service", "function").items():
        (shared,), (template,) = service["scaling"], service["template"]
        (own,) = template["scaling"]
        most = shared["max_instance_count"]
        candidate = min(CANDIDATES, own["max_instance_count"])
        assert own["max_instance_count"] >= most  # one revision may serve all traffic
        connections += (most + candidate) * each_of[name]
    assert connections <= 0.95 * limit


@pytest.mark.parametrize("part", GROUPS)
def test_each_function_and_job_logs_in_to_cloud_sql_with_its_service_account(
    prod: Resources, part: str
) -> None:
    user = prod.of("google_sql_user", "member")[part]
    assert user["type"] == "CLOUD_IAM_SERVICE_ACCOUNT"
    assert user["name"] == f"progress-{part}@progress-prod.iam"
    assert plain_settings(prod, part)["DB_IAM_USER"] == user["name"]
    assert plain_settings(prod, part)["DB_NAME"] == prod["google_sql_database.this[0]"]["name"]
    instance = prod["google_sql_database_instance.this[0]"]
    assert plain_settings(prod, part)["INSTANCE_CONNECTION_NAME"] == instance["connection_name"]
    assert "DATABASE_URL" not in secret_ids(prod, part)


def test_the_release_job_assigns_cloud_sql_users_to_groups(prod: Resources) -> None:
    # It also says whose backups `progress doctor` looks at.
    instance = f"progress-prod:europe-west1:{prod['google_sql_database_instance.this[0]']['name']}"
    assert plain_settings(prod, "release")["INSTANCE_CONNECTION_NAME"] == instance
    users = prod.of("google_sql_user", "member")
    admitted = logins.parse(secret_value(prod, "release", "DATABASE_LOGINS"))
    assert {login.name: login.group for login in admitted} == {
        users[part]["name"]: group for part, group in GROUPS.items()
    }
    assert all(login.password is None for login in admitted)


def test_the_release_job_logs_in_to_cloud_sql_as_the_owner(prod: Resources) -> None:
    owner = url.parse_url(secret_value(prod, "release", "DATABASE_URL"))
    user = prod["google_sql_user.owner[0]"]
    version = prod.of("google_secret_manager_secret_version", "password")[
        "progress-cloud-sql-url-owner"
    ]
    assert owner.user == user["name"]
    assert len(owner.password or "") >= 32
    assert user["password_wo_version"] == version["secret_data_wo_version"] > 0
    assert owner.sslmode == "require"
    assert owner.host == prod["google_sql_database_instance.this[0]"]["private_ip_address"]
    assert "DB_IAM_USER" not in plain_settings(prod, "release")


def test_each_function_and_job_logs_in_to_neon_with_its_own_password(dev: Resources) -> None:
    admitted = {
        login.name: login for login in logins.parse(secret_value(dev, "release", "DATABASE_LOGINS"))
    }
    passwords = set()
    for part, group in GROUPS.items():
        at = url.parse_url(secret_value(dev, part, "DATABASE_URL"))
        assert (admitted[at.user].group, admitted[at.user].password) == (group, at.password)
        assert at.host == "ep-example-dev.eu-central-1.aws.neon.tech"
        assert at.sslmode == "verify-full"
        assert "DB_IAM_USER" not in plain_settings(dev, part)
        passwords.add(at.password)
    assert len(passwords) == len(admitted) == len(GROUPS)
    assert all(len(password or "") >= 32 for password in passwords)
    assert not dev.of("google_sql_database_instance")


def test_the_functions_use_the_current_database_during_a_migration(moving: Deployment) -> None:
    resources = moving.applied
    assert resources["google_sql_database_instance.this[0]"]
    for part in GROUPS:
        assert "neon.tech" in secret_value(resources, part, "DATABASE_URL")
        assert "DB_IAM_USER" not in plain_settings(resources, part)


def test_the_release_job_uses_the_new_database_during_a_migration(moving: Deployment) -> None:
    resources = moving.applied
    at = url.parse_url(secret_value(resources, "release", "DATABASE_URL"))
    assert at.user == resources["google_sql_user.owner[0]"]["name"]
    admitted = logins.parse(secret_value(resources, "release", "DATABASE_LOGINS"))
    assert {login.name for login in admitted} == {
        user["name"] for user in resources.of("google_sql_user", "member").values()
    }
    assert moving.second_plan == ""


def test_an_analyst_may_use_the_login_of_the_analysts_in_both_databases(
    moving: Deployment, dev: Resources
) -> None:
    resources = moving.applied
    account = resources.of("google_service_account", "member")["analyst"]
    grant = resources.of("google_service_account_iam_member", "analyst")["user:ana@example.com"]
    assert grant["service_account_id"] == account["name"]
    assert grant["role"] == "roles/iam.serviceAccountTokenCreator"
    admitted = logins.parse(secret_value(resources, "release", "DATABASE_LOGINS"))
    user = resources.of("google_sql_user", "member")["analyst"]
    assert [login.name for login in admitted if login.group == "progress_analyst"] == [user["name"]]
    readers = resources.of("google_secret_manager_secret_iam_member", "accessor")
    assert readers["progress-neon-url-analyst:analyst"]["member"] == account["member"]
    assert "analyst" not in dev.of("google_service_account", "member")


@pytest.mark.exhaustive
def test_the_new_database_is_used_and_the_former_database_is_kept_after_a_migration(
    environments: Environments,
) -> None:
    options = ("-var=database=cloud_sql", "-var=former_database=neon")
    plan = environments.root().plan("dev", *options, name="moved")
    resources = Resources(plan["planned_values"]["root_module"]["resources"])
    assert secret_ids(resources, "release")["DATABASE_URL"] == "progress-cloud-sql-url-owner"
    assert secret_ids(resources, "release")["DATABASE_LOGINS"] == "progress-cloud-sql-logins"
    assert resources.of("google_secret_manager_secret_version", "password").keys() == {
        *(f"progress-neon-url-{part}" for part in GROUPS),
        *("progress-neon-logins", "progress-cloud-sql-url-owner"),
    }
    assert resources['google_secret_manager_secret.this["progress-neon-url-query"]']
