"""The first apply to an empty project: the order of resources, the image and the migration."""

import json
import re

import pytest
import yaml

from tests.support.cloud_run import container, only, plain_settings, template
from tests.support.terraform import GCLOUD, REPOSITORY, need_offline
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Deployment, Resources

# Resources that do not wait until this apply has enabled the APIs. They need only APIs that
# infra/bootstrap has already enabled.
_AT_ONCE = {"google_project_service.api", "google_project_iam_audit_config.access"}
_AGENT = "@gcp-sa-pubsub."

# The API of each kind of resource; a key is a prefix of the resource type.
_APIS = {
    "artifact_registry": "artifactregistry",
    "billing": "billingbudgets",
    "certificate_manager": "certificatemanager",
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
_VERSIONS = ("this", "password", "neon_owner")  # the names of the secret versions
_EXPORTED_TO = {"telemetry", "cloudtrace"}
_CALLED = {"artifactregistry", "iamcredentials"}  # called at run time


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
    assert [a for a in addresses if "google_project_service.api" not in order.before(a)] == []


def test_a_peering_that_a_destroy_left_behind_is_taken_again(deployment: Deployment) -> None:
    peerings = deployment.applied.of("google_service_networking_connection").values()
    assert all(peering["update_on_creation_fail"] for peering in peerings)
    assert bool(peerings) is ("google_compute_network.this[0]" in deployment.applied)


def test_each_api_in_use_is_enabled_and_no_other(deployment: Deployment) -> None:
    """Compute Engine's API creates an account that Google may let edit the project."""
    resources = deployment.applied
    kinds = {address.partition(".")[0].removeprefix("google_") for address in resources}
    kinds -= {"project_service", "terraform_data", "data"}
    used = {next(api for start, api in _APIS.items() if kind.startswith(start)) for kind in kinds}
    services = resources.of("google_project_service")
    assert services.keys() == {f"{api}.googleapis.com" for api in used | _EXPORTED_TO | _CALLED}


def test_functions_and_jobs_run_one_image(deployment: Deployment) -> None:
    project = deployment.plan["variables"]["project_id"]["value"]
    services = deployment.applied.of("google_cloud_run_v2_service", "function")
    for name in services:
        assert plain_settings(deployment.applied, name)["FUNCTION_TARGET"] == name
        assert (REPOSITORY / "functions" / name / "main.py").is_file()
    jobs = deployment.applied.of("google_cloud_run_v2_job", "job").values()
    built = f"europe-west1-docker.pkg.dev/{project}/progress/progress:latest"
    # By its digest: a job that followed a tag would run the next build before its migration. The
    # pipeline says itself what it has built.
    newest = "data.google_artifact_registry_docker_image.built[0]"
    by_hand = newest in deployment.applied
    assert by_hand == (project == "progress-dev")
    image = deployment.applied[newest]["self_link"] if by_hand else built
    assert {container(part)["image"] for part in (*services.values(), *jobs)} == {image}
    # The command of docs/first-cloud.md builds it.
    build = yaml.safe_load((REPOSITORY / "infra/docker/build.yaml").read_text())
    image = build["substitutions"]["_IMAGE"].replace("${_REGION}", "europe-west1")
    assert image.replace("$PROJECT_ID", project) == built
    step, scan = build["steps"]
    assert (REPOSITORY / step["args"][1].removeprefix("--file=")).is_file()
    assert re.fullmatch(r"anchore/grype:v[\d.]+@sha256:[0-9a-f]{64}", scan["name"])
    assert scan["args"] == ["docker:$_IMAGE", "--only-fixed", "--fail-on=critical"]
    assert step["args"][2] == "--tag=$_IMAGE"
    assert build["images"] == ["$_IMAGE"]  # pushed after the last step
    assert build["serviceAccount"].endswith("/progress-build@$PROJECT_ID.iam.gserviceaccount.com")


def test_the_pipeline_creates_functions_and_jobs_with_the_image_that_it_has_built(
    environments: Environments,
) -> None:
    workflow = (REPOSITORY / ".github/workflows/release.yaml").read_text(encoding="utf-8")
    (option,) = re.findall(r'-var="(\w+)=\$IMAGE"', workflow)
    options = ("-var-file=environments/staging.tfvars", f"-var={option}=built@sha256:1")
    output = environments.root().run("console", *options, text="local.image")
    assert output == '"built@sha256:1"\n'


@pytest.mark.exhaustive
def test_a_published_image_comes_through_a_remote_repository(environments: Environments) -> None:
    """Cloud Run does not pull from ghcr.io."""
    published = "-var=image=ghcr.io/ours/progress:1.2.3"
    plan = environments.root().plan("dev", published, name="published")
    planned = Resources(plan["planned_values"]["root_module"]["resources"])
    (remote,) = planned.of("google_artifact_registry_repository").values()
    (docker,) = only(remote["remote_repository_config"])["docker_repository"]
    assert only(docker["custom_repository"])["uri"] == "https://ghcr.io"
    (service, *_) = planned.of("google_cloud_run_v2_service", "function").values()
    place = f"europe-west1-docker.pkg.dev/progress-dev/{remote['repository_id']}"
    assert container(service)["image"] == f"{place}/ours/progress:1.2.3"


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


def test_access_to_a_secret_is_granted_before_its_version_is_written(order: Order) -> None:
    """A grant takes effect only after a while; until then Cloud Run rejects the first revision.

    Terraform therefore grants access early, and waits. It does not wait for the secret
    versions, or for resources that take long to create.
    """
    right = "google_secret_manager_secret_iam_member.accessor"
    versions = {f"google_secret_manager_secret_version.{name}" for name in _VERSIONS}
    slow = {"google_sql_database_instance.this", "google_redis_instance.this"}
    assert not order.before(right) & (versions | slow)
    assert slow <= order.before("google_secret_manager_secret_version.this")
    assert "google_sql_user.owner" in order.before("google_secret_manager_secret_version.password")
    for user in ("google_cloud_run_v2_service.function", "google_cloud_run_v2_job.job"):
        assert {right, *versions, "terraform_data.grants"} <= order.before(user)
    assert {right, "google_bigquery_table_iam_member.pubsub"} <= order.before(
        "terraform_data.grants"
    )
    assert "terraform_data.grants" in order.before("google_pubsub_subscription.analytics")


def test_an_objective_waits_for_its_metric_to_be_known(order: Order) -> None:
    assert "google_logging_metric.field" in order.before("terraform_data.grants")
    assert {"terraform_data.grants", "terraform_data.migrate"} <= order.before(
        "google_monitoring_slo.this"
    )


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
        *("google_sql_user.owner", "google_sql_user.member", "terraform_data.grants"),
        "google_secret_manager_secret_iam_member.accessor",
        *(f"google_secret_manager_secret_version.{name}" for name in _VERSIONS),
    } <= order.before("terraform_data.migrate")


def test_the_plan_of_a_destroy_of_production_fails(environments: Environments) -> None:
    need_offline()
    root = environments.root()
    state = json.dumps(environments["prod"].state)
    (root.folder / "destroyed.tfstate").write_text(state)
    plan = ("plan", "-destroy", "-refresh=false", "-var-file=environments/prod.tfvars")
    with pytest.raises(AssertionError, match="Instance cannot be destroyed") as raised:
        root.run(*plan, state="destroyed")
    assert "terraform_data.protection[0]" in str(raised.value)


def test_dev_can_be_destroyed_but_production_cannot(deployments: dict[str, Deployment]) -> None:
    for name, deployment in deployments.items():
        resources = deployment.applied
        guards = {
            address: resource.get("deletion_protection", not resource.get("force_destroy"))
            for address, resource in resources.items()
            if resource.get("deletion_protection") is not None
            or resource.get("force_destroy") is not None
        }
        assert guards.pop("google_bigquery_table.events") is False  # a view stores no data
        redis = 'google_secret_manager_secret.this["progress-redis-url"]'
        # the value of this secret can be read again from the Redis instance
        assert guards.pop(redis, False) is False
        assert len(guards) >= 10
        assert set(guards.values()) == {name == "prod"}
        dataset = resources["google_bigquery_dataset.analytics"]
        assert dataset["delete_contents_on_destroy"] == (name != "prod")
        assert ("terraform_data.protection[0]" in resources) is (name == "prod")


@pytest.mark.exhaustive
def test_the_test_of_a_real_environment_applies_plans_again_and_destroys(
    environments: Environments,
) -> None:
    need_offline()
    readme = (REPOSITORY / "infra/terraform/README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^(?: {4}.+\n)* {4}terraform .* test .+\n", readme, re.MULTILINE)
    output = environments.root().run_program(["bash", "-ec", f"cd ../..\n{block}"])
    assert "2 passed, 0 failed." in output
