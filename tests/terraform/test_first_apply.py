"""The first apply to an empty project: the order of resources, the builds and the migration."""

import json
import re

import pytest
import yaml

from tests.support.cloud_run import container, only, template
from tests.support.terraform import GCLOUD, REPOSITORY, need_offline
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Deployment

# Resources that do not wait until this apply has enabled the APIs. They need only APIs that
# infra/bootstrap has already enabled.
_AT_ONCE = {"google_project_service.api", "google_project_iam_audit_config.secrets"}
_AGENT = "@gcp-sa-pubsub."

# The API of each kind of resource; a key is a prefix of the resource type.
_APIS = {
    "artifact_registry": "artifactregistry",
    "bigquery_connection": "bigqueryconnection",
    "billing": "billingbudgets",
    "cloud_run": "run",
    "cloud_scheduler": "cloudscheduler",
    "project_iam": "cloudresourcemanager",
    "secret_manager": "secretmanager",
    "service_account": "iam",
    "service_networking": "servicenetworking",
    "sql": "sqladmin",
}
_SAME = ("bigquery", "compute", "logging", "monitoring", "pubsub", "redis", "storage")
_APIS |= {name: name for name in _SAME}
_BUILT_WITH = {"cloudbuild"}
_VERSIONS = ("this", "password", "neon_owner")  # the names of the secret versions
_EXPORTED_TO = {"telemetry", "cloudtrace"}
_CALLED = {"iamcredentials", "dataflow"}  # the functions and the rebuild job call these APIs


class Order:
    """The dependencies between resources. The addresses of resources lack their for_each keys."""

    def __init__(self, graph: str) -> None:
        self.made = set(re.findall(r'^ *"([^"]+)" \[', graph, re.MULTILINE))
        self._next: dict[str, set[str]] = {}
        for later, sooner in re.findall(r'^ *"([^"]+)" -> "([^"]+)"', graph, re.MULTILINE):
            self._next.setdefault(later, set()).add(sooner)

    def before(self, address: str) -> set[str]:
        addresses: set[str] = set()
        ahead = [address]
        while ahead:
            new = self._next.get(ahead.pop(), set()) - addresses
            addresses |= new
            ahead += new
        return addresses


@pytest.fixture(scope="module")
def order(environments: Environments) -> Order:
    return Order(environments.root().run("graph"))


def test_each_resource_waits_for_its_api(order: Order) -> None:
    addresses = {
        address for address in order.made if "google_" in address and "data." not in address
    } - _AT_ONCE
    assert len(addresses) > 50
    assert {
        address
        for address in addresses
        if "google_project_service.api" not in order.before(address)
    } == set()


def test_each_api_in_use_is_enabled_and_stays_enabled(environments: Environments) -> None:
    resources = environments["prod"].applied
    kinds = {re.sub(r"^(module\.[^.]+\.)*", "", address) for address in resources}
    kinds = {address.partition(".")[0].removeprefix("google_") for address in kinds}
    kinds -= {"project_service", "terraform_data", "data"}
    used = {next(api for start, api in _APIS.items() if kind.startswith(start)) for kind in kinds}
    services = resources.of("google_project_service")
    assert services.keys() == {
        f"{api}.googleapis.com" for api in used | _BUILT_WITH | _EXPORTED_TO | _CALLED
    }
    assert not any(service["disable_on_destroy"] for service in services.values())


def test_api_calls_are_billed_to_the_project(deployment: Deployment) -> None:
    """Without this setting, the budgets API rejects calls with an operator's own credentials."""
    expressions = deployment.configuration["provider_config"]["google"]["expressions"]
    assert expressions["user_project_override"]["constant_value"] is True
    assert expressions["billing_project"]["references"] == ["var.project_id"]


def test_each_image_is_built_before_its_service_is_created(
    environments: Environments, deployment: Deployment, order: Order
) -> None:
    built = order.before("module.function.google_cloud_run_v2_service.this")
    assert {"terraform_data.image", "data.archive_file.source"} <= built
    rights = {right for right in order.before("terraform_data.image") if "_iam_member." in right}
    assert {right.rpartition(".")[2] for right in rights} == {"build", "member"}
    # The file `GCLOUD` lists the gcloud calls of every environment's apply.
    calls = {*(environments.root().folder / GCLOUD).read_text().splitlines()}
    bucket = deployment.applied["google_storage_bucket.sources"]["name"]
    for name, service in deployment.applied.of("google_cloud_run_v2_service", "function").items():
        image = container(service)["image"]
        ((_, archive, *words),) = (
            line.removeprefix("builds ").split()
            for line in calls
            if line.startswith("builds submit ") and f"_IMAGE={image}," in line
        )
        assert archive == deployment.applied[f'data.archive_file.source["{name}"]']["output_path"]
        flags = dict(word.removeprefix("--").partition("=")[::2] for word in words)
        assert flags["substitutions"] == f"_IMAGE={image},_FUNCTION={name}"
        assert "/serviceAccounts/progress-build@" in flags["service-account"]
        assert flags["gcs-source-staging-dir"] == f"gs://{bucket}/builds"
        # Cloud Build allows new projects to build in this region
        assert flags["region"] == "europe-west1"
        assert flags["config"].endswith("/infra/release/build.yaml")
    assert (REPOSITORY / "infra" / "release" / "build.yaml").exists()


def test_the_builder_supports_the_requested_python() -> None:
    """Builds failed when the tag `latest` moved to a builder without this Python."""
    build = yaml.safe_load((REPOSITORY / "infra" / "release" / "build.yaml").read_text())
    name, _, tag = build["substitutions"]["_BUILDER"].partition("@")[0].partition(":")
    assert (name, tag) == ("gcr.io/buildpacks/builder", "google-22")
    argument = next(word for word in build["steps"][0]["args"] if "GOOGLE_PYTHON_VERSION" in word)
    version = argument.rpartition("=")[2]
    assert version.removesuffix(".*") in {"3.10", "3.11", "3.12", "3.13"}  # of google-22


def test_each_image_of_the_build_is_pinned_in_one_place() -> None:
    """A substitution pins an image to a tag or a digest; the steps refer to the substitution."""
    build = yaml.safe_load((REPOSITORY / "infra" / "release" / "build.yaml").read_text())
    images = build["substitutions"]
    steps = build["steps"]
    used = [step["name"] for step in steps] + [
        word.partition("=")[2] for word in steps[0]["args"] if word.startswith("--builder=")
    ]
    assert sorted(used) == sorted(f"${name}" for name in images)
    for image in images.values():
        assert re.fullmatch(r"gcr\.io/[\w./-]+(:[\w.-]+|(:[\w.-]+)?@sha256:[0-9a-f]{64})", image)


def test_the_service_agent_of_pubsub_is_created_before_it_gets_roles(
    environments: Environments, deployment: Deployment, order: Order
) -> None:
    grants = {
        re.sub(r'\["[^"]*"\]', "", address)
        for address, resource in deployment.applied.items()
        if _AGENT in str(resource.get("member"))
    }
    assert len(grants) == 4
    for address in grants:
        assert "terraform_data.pubsub_agent" in order.before(address), address
    project = deployment.plan["variables"]["project_id"]["value"]
    # With --quiet before `beta`, gcloud installs missing beta commands without a question
    create = "--quiet beta services identity create --service=pubsub.googleapis.com"
    calls = (environments.root().folder / GCLOUD).read_text().splitlines()
    assert f"{create} --project={project}" in calls


def test_the_account_of_bigquerys_connection_is_created_before_it_gets_roles(order: Order) -> None:
    """Google creates this account some time after the connection.

    The grants therefore wait until the images are built. By then, the account exists.
    """
    for name in ("connection", "connection_list"):
        before = order.before(f"google_storage_bucket_iam_member.{name}")
        assert {"google_bigquery_connection.archive", "terraform_data.image"} <= before


def test_access_to_a_secret_is_granted_before_its_version_is_written(order: Order) -> None:
    """A grant takes effect only after a while; until then Cloud Run rejects the first revision.

    Terraform therefore grants access early. It does not wait for the secret versions, or for
    resources that take long to create.
    """
    right = "google_secret_manager_secret_iam_member.accessor"
    versions = {f"google_secret_manager_secret_version.{name}" for name in _VERSIONS}
    slow = {"google_sql_database_instance.this", "google_redis_instance.this"}
    assert not order.before(right) & (versions | slow)
    assert slow <= order.before("google_secret_manager_secret_version.this")
    assert "google_sql_user.owner" in order.before("google_secret_manager_secret_version.password")
    for user in (
        "module.function.google_cloud_run_v2_service.this",
        "module.job.google_cloud_run_v2_job.this",
    ):
        assert {right, *versions} <= order.before(user)


def test_the_migration_waits_for_all_resources_that_it_needs(
    environments: Environments, deployment: Deployment, order: Order
) -> None:
    job = deployment.applied.of("google_cloud_run_v2_job", "job")["release"]
    inside = only(template(job)["template"])
    assert only(inside["containers"])["args"] == ["migrate"]
    project = deployment.plan["variables"]["project_id"]["value"]
    calls = (environments.root().folder / GCLOUD).read_text().splitlines()
    run = f"run jobs execute {job['name']} --wait --region={job['location']} --project={project} "
    assert [line for line in calls if line.startswith(run)]
    assert {
        *("google_sql_user.owner", "google_sql_user.member", "terraform_data.image"),
        "google_secret_manager_secret_iam_member.accessor",
        *(f"google_secret_manager_secret_version.{name}" for name in _VERSIONS),
    } <= order.before("terraform_data.migrate")


def test_the_schedules_wait_for_the_migration(order: Order) -> None:
    """Jobs that start before the first migration fail, and fire alerts."""
    schedules = {name for name in order.made if name.startswith("google_cloud_scheduler_job.")}
    assert schedules == {f"google_cloud_scheduler_job.{name}" for name in ("run", "night")}
    for schedule in schedules:
        assert "terraform_data.migrate" in order.before(schedule)


@pytest.mark.parametrize("environment", [pytest.param("dev", marks=pytest.mark.exhaustive), "prod"])
def test_the_plan_of_a_destroy_fails_only_in_production(
    environments: Environments, environment: str
) -> None:
    need_offline()
    root = environments.root()
    state = f"destroyed-{environment}"
    (root.folder / f"{state}.tfstate").write_text(json.dumps(environments[environment].state))
    plan = ("plan", "-destroy", "-refresh=false", f"-var-file=environments/{environment}.tfvars")
    if environment == "prod":
        with pytest.raises(AssertionError, match="Instance cannot be destroyed") as raised:
            root.run(*plan, state=state)
        assert "terraform_data.protection[0]" in str(raised.value)
    else:
        assert "google_pubsub_subscription" in root.run(*plan, state=state)


def test_dev_can_be_destroyed_but_production_cannot(deployments: dict[str, Deployment]) -> None:
    for name, deployment in deployments.items():
        resources = deployment.applied
        guards = {
            address: resource.get("deletion_protection", not resource.get("force_destroy"))
            for address, resource in resources.items()
            if resource.get("deletion_protection") is not None
            or resource.get("force_destroy") is not None
        }
        # views and the external table `archive` store no data
        for view in ("events", "archive", "accepted_events"):
            assert guards.pop(f"google_bigquery_table.{view}") is False
        redis = 'google_secret_manager_secret.this["progress-redis-url"]'
        # the value of this secret can be read again from the Redis instance
        assert guards.pop(redis, False) is False
        assert len(guards) >= 11
        assert set(guards.values()) == {name == "prod"}
        dataset = resources["google_bigquery_dataset.analytics"]
        assert dataset["delete_contents_on_destroy"] == (name != "prod")
        assert ("terraform_data.protection[0]" in resources) is (name == "prod")
    folder = REPOSITORY / "infra" / "terraform"
    literal = [file for file in folder.rglob("*.tf") if "prevent_destroy" in file.read_text()]
    assert [file.name for file in literal] == ["protection.tf"]


def test_the_sources_bucket_deletes_only_uploaded_build_sources(deployment: Deployment) -> None:
    bucket = deployment.applied["google_storage_bucket.sources"]
    condition = only(only(bucket["lifecycle_rule"])["condition"])
    assert condition["matches_prefix"] == ["builds/"]
