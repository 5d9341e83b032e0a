"""The projects, accounts and grants of infra/bootstrap."""

import json
import re

import pytest

from tests.support.cloud_run import only
from tests.support.terraform import GCLOUD, REPOSITORY, Root, need_offline
from tests.support.terraform_state import Deployment, Resources, list_provider_calls

PROJECTS = {name: f"progress-{name}" for name in ("dev", "staging", "prod", "images")}


IN_ENVIRONMENTS = {name: id_ for name, id_ in PROJECTS.items() if name != "images"}


def test_without_github_there_is_one_project_and_nobody_but_an_operator_delivers(
    bootstrap_root: Root,
) -> None:
    planned = bootstrap_root.plan("terraform", name="own")["planned_values"]["root_module"]
    own = Resources(planned["resources"])
    assert own.one("google_project")["project_id"] == "progress-dev"
    assert not [kind for kind in map(own.kind, own) if "workload_identity" in kind]
    assert own.one("google_service_account")["account_id"] == "progress-build"
    assert "dev compute" not in enabled(own)


def enabled(resources: Resources) -> set[str]:
    """Return the APIs that are on, each after its project's name."""
    projects = resources.of("google_project").items()
    by_provider = {
        f"{name} {request.removeprefix('enable ')}"
        for name, project in projects
        for _, request in list_provider_calls(project)
        if request.startswith("enable ")
    }
    return by_provider | resources.of("google_project_service").keys()


def test_only_what_has_a_network_or_a_load_balancer_has_the_compute_api(
    resources: Resources,
) -> None:
    on = {name for name in PROJECTS if f"{name} compute" in enabled(resources)}
    assert on == {"staging", "prod"}


def test_bootstrap_enables_each_api_that_infra_terraform_uses(
    resources: Resources, deployments: dict[str, Deployment]
) -> None:
    """An API that is enabled seconds before its first use may not work yet."""
    for name, deployment in deployments.items():
        used = deployment.applied.of("google_project_service")
        wanted = {f"{name} {api.removesuffix('.googleapis.com')}" for api in used}
        assert wanted <= resources.of("google_project_service").keys()


def test_an_apply_never_replaces_a_project_that_the_provider_left_tainted(
    bootstrap_root: Root, bootstrap: Deployment
) -> None:
    """Google would refuse the id for 30 days. What the guide types takes the mark away."""
    need_offline()
    assert {p["deletion_policy"] for p in bootstrap.applied.of("google_project").values()} == {
        "PREVENT"
    }
    (bootstrap_root.folder / "tainted.tfstate").write_text(json.dumps(bootstrap.state))
    bootstrap_root.run("taint", 'google_project.this["dev"]', state="tainted")
    with pytest.raises(AssertionError, match="Instance cannot be destroyed"):
        bootstrap_root.find_changes("delivered", "tainted")
    guide = (REPOSITORY / "docs/first-cloud.md").read_text(encoding="utf-8")
    _, _, errors = guide.partition("\n## Errors\n")
    first = errors.split("\n- ")[1].replace("\n  ", " ")
    ((program, words),) = re.findall(r"`(terraform )-chdir=infra/bootstrap (untaint [^`]+)`", first)
    bootstrap_root.run_program(["bash", "-c", program + words], state="tainted")
    assert bootstrap_root.find_changes("delivered", "tainted") == ""


def test_an_update_that_names_a_published_image_deletes_nothing(
    bootstrap_root: Root, bootstrap: Deployment
) -> None:
    """Jobs and revisions run what their environment has built, until the next release."""
    need_offline()
    (bootstrap_root.folder / "built.tfstate").write_text(json.dumps(bootstrap.state))
    declared = bootstrap_root.folder.parent / "terraform/image.tf.json"
    before = declared.read_text(encoding="utf-8")
    assert before.count('"default": null') == 1
    declared.write_text(before.replace('"default": null', '"default": "ghcr.io/ours/progress:1"'))
    try:
        assert bootstrap_root.find_changes("delivered", "built") == ""
    finally:
        declared.write_text(before, encoding="utf-8")
    assert bootstrap.applied.of("google_artifact_registry_repository").keys() == PROJECTS.keys()


def test_each_environment_gets_the_agent_of_cloud_run_and_default_accounts_lose_their_role(
    bootstrap_root: Root, bootstrap: Deployment
) -> None:
    assert bootstrap.second_plan == ""
    called = (bootstrap_root.folder / GCLOUD).read_text(encoding="utf-8").splitlines()
    create = "--quiet beta services identity create --service=run.googleapis.com --project={}"
    remove = (
        "--quiet projects remove-iam-policy-binding {} --role=roles/editor --condition=None "
        "--member=serviceAccount:100000000000-compute@developer.gserviceaccount.com"
    )
    wanted = [create.format(PROJECTS[name]) for name in sorted(IN_ENVIRONMENTS)]
    assert called == wanted + [remove.format(PROJECTS[name]) for name in sorted(PROJECTS)]


# For each kind of resource in infra/terraform, two roles: `terraform apply` needs the first role,
# and `terraform plan` the second. A key is a prefix of the type; the longest matching key counts.
MADE_BY = {
    "artifact_registry": ("artifactregistry.admin", "artifactregistry.reader"),
    "bigquery": ("bigquery.dataOwner", "bigquery.metadataViewer"),
    "certificate_manager": ("certificatemanager.owner", "certificatemanager.viewer"),
    "cloud_run": ("run.admin", "run.viewer"),
    "cloud_scheduler": ("cloudscheduler.admin", "cloudscheduler.viewer"),
    "compute": ("compute.networkAdmin", "compute.viewer"),
    "compute_backend_service": ("compute.loadBalancerAdmin", "compute.viewer"),
    "compute_firewall": ("compute.securityAdmin", "compute.viewer"),
    "compute_region_network_endpoint": ("compute.loadBalancerAdmin", "compute.viewer"),
    "compute_security_policy": ("compute.securityAdmin", "compute.viewer"),
    "compute_ssl_policy": ("compute.securityAdmin", "compute.viewer"),
    "logging_metric": ("logging.configWriter", "terraformPlan"),
    "monitoring": ("monitoring.editor", "monitoring.viewer"),
    "project_iam": ("resourcemanager.projectIamAdmin", "iam.securityReviewer"),
    "project_service": ("serviceusage.serviceUsageAdmin", "serviceusage.serviceUsageConsumer"),
    "pubsub": ("pubsub.admin", "pubsub.viewer"),
    "redis": ("redis.admin", "redis.viewer"),
    "secret_manager": ("secretmanager.admin", "secretmanager.viewer"),
    "secret_manager_secret_version": ("secretmanager.admin", "secretmanager.secretAccessor"),
    "service_account": ("iam.serviceAccountAdmin", "iam.serviceAccountViewer"),
    "service_networking": ("servicenetworking.networksAdmin", "terraformPlan"),
    "sql": ("cloudsql.admin", "cloudsql.viewer"),
    "storage_bucket": ("storage.admin", "terraformPlan"),
}


# Roles that do not belong to a kind of resource. `terraform apply` needs the first set, because it
# assigns service accounts, and creates views, whose queries BigQuery checks with a job.
# `terraform plan` needs the second set.
BESIDE = {"bigquery.jobUser", "iam.serviceAccountUser"}, {"browser"}


_PLACES = ("billing_account_id", "bucket", "repository", "service_account_id", "project")


def grants(resources: Resources, account: str, project: str) -> dict[str, set[str]]:
    member = f"serviceAccount:{account}@{project}.iam.gserviceaccount.com"
    roles: dict[str, set[str]] = {}
    for address, resource in resources.items():
        if "_iam_member." in address and resource["member"] == member:
            place = next(resource[key] for key in _PLACES if resource.get(key))
            roles.setdefault(place, set()).add(resource["role"].rpartition("roles/")[2])
    return roles


def needed(deployments: dict[str, Deployment]) -> tuple[set[str], set[str]]:
    """Return the roles that `terraform apply` and `terraform plan` need for all environments."""
    applies, plans = {*BESIDE[0]}, {*BESIDE[1]}
    for deployment in deployments.values():
        for kind in {resource["type"] for resource in deployment.state["resources"]}:
            name = kind.removeprefix("google_")
            # A budget belongs to the billing account.
            if kind.startswith("google_") and name not in {"billing_budget", "project"}:
                start = max((prefix for prefix in MADE_BY if name.startswith(prefix)), key=len)
                applies.add(MADE_BY[start][0])
                plans.add(MADE_BY[start][1])
    return applies, plans


@pytest.mark.parametrize("name", IN_ENVIRONMENTS)
def test_terraform_accounts_have_exactly_the_roles_that_they_need(
    resources: Resources, deployments: dict[str, Deployment], name: str
) -> None:
    project = PROJECTS[name]
    applies, plans = needed(deployments)
    state, billing = f"{project}-terraform-state", "000000-000000-000000"
    assert grants(resources, "terraform", project) == {
        project: applies,
        state: {"storage.objectAdmin"},
        billing: {"billing.costsManager"},
        "progress": {"artifactregistry.reader"},
    }
    assert grants(resources, "terraform-plan", project) == {
        project: plans,
        state: {"storage.objectViewer"},
        billing: {"billing.viewer"},
    }


def test_the_terraform_account_may_grant_only_the_roles_that_infra_terraform_grants(
    resources: Resources, deployments: dict[str, Deployment]
) -> None:
    """Otherwise it could make itself the owner of the project."""
    for name, deployment in deployments.items():
        grant = resources.of("google_project_iam_member", "ci_grants")[name]
        expression = only(grant["condition"])["expression"]
        assert expression.startswith("api.getAttribute('iam.googleapis.com/modifiedGrantsByRole'")
        (listed,) = re.findall(r"\.hasOnly\(\[(.*)\]\)$", expression)
        roles = {role.strip("' ") for role in listed.split(",")}
        given = {
            planned["role"]
            for address, planned in deployment.applied.items()
            if address.startswith("google_project_iam_member.")
        }
        assert given <= roles if name == "dev" else given == roles
        assert len(roles) <= 10  # Google accepts no longer list


def test_the_plan_account_changes_nothing_and_reads_no_contents(resources: Resources) -> None:
    changing = ("admin", "editor", "owner", "user", "manager", "writer", "creator")
    for project in IN_ENVIRONMENTS.values():
        for roles in grants(resources, "terraform-plan", project).values():
            assert not [role for role in roles if role.lower().endswith(changing)]
            assert not roles & {"viewer", "logging.viewer", "bigquery.dataViewer"}
    for name, role in resources.of("google_project_iam_custom_role").items():
        does = {permission.rpartition(".")[2] for permission in role["permissions"]}
        assert does == {"get", "list", "getAuthString"} or not name.endswith("/terraformPlan")


@pytest.mark.exhaustive
def test_a_plan_that_deletes_a_project_or_a_custom_role_fails(
    bootstrap_root: Root, bootstrap: Deployment
) -> None:
    """A deleted role would block its id for weeks. Without its roles, a project can be removed."""
    need_offline()
    (bootstrap_root.folder / "kept.tfstate").write_text(json.dumps(bootstrap.state))
    plan = ("plan", "-refresh=false", "-var-file=delivered.tfvars")
    others = json.dumps([name for name in IN_ENVIRONMENTS if name != "dev"])
    for option in ("-destroy", f"-var=environments={others}"):
        with pytest.raises(AssertionError, match="Instance cannot be destroyed"):
            bootstrap_root.run(*plan, option, state="kept")
    forget = "terraform state rm 'google_project.this[\"dev\"]'"
    bootstrap_root.run_program(["bash", "-c", forget], state="kept")
    with pytest.raises(AssertionError, match="Instance cannot be destroyed") as raised:
        bootstrap_root.run(*plan, f"-var=environments={others}", state="kept")
    assert 'custom_role.this["dev/progressSigning"] has lifecycle.prevent_destroy' in " ".join(
        str(raised.value).replace("│", " ").split()
    )
    readme = (REPOSITORY / "infra/bootstrap/README.md").read_text(encoding="utf-8")
    (bootstrap_root.folder / "kept.tfstate").write_text(json.dumps(bootstrap.state))
    (command,) = re.findall(r"terraform state rm .*", readme)
    bootstrap_root.run_program(["bash", "-c", command], state="kept")
    changed = bootstrap_root.run(*plan, f"-var=environments={others}", state="kept")
    assert "google_project_iam_custom_role" not in changed
    assert "google_project.this" not in changed  # a person deletes it
    assert "google_storage_bucket.state" not in changed  # it is not empty, so Google would refuse


def test_log_lines_are_kept_in_the_region_for_as_long_as_the_documents_say(
    resources: Resources,
) -> None:
    text = (REPOSITORY / "docs/data-protection.md").read_text(encoding="utf-8")
    (days,) = re.findall(r"^\| log lines, on Google Cloud \| (\d+) days \|", text, re.MULTILINE)
    sinks = resources.of("google_logging_project_sink")
    buckets = resources.of("google_logging_project_bucket_config")
    assert buckets.keys() == sinks.keys() == IN_ENVIRONMENTS.keys()
    for name, bucket in buckets.items():
        assert (bucket["location"], bucket["retention_days"]) == ("europe-west1", int(days))
        assert sinks[name]["name"] == "_Default"
        assert sinks[name]["destination"] == f"logging.googleapis.com/{bucket['id']}"
        assert bucket["deletion_policy"] == "ABANDON"  # its id would be taken for seven days


def test_nobody_deletes_the_project_of_production_by_mistake(resources: Resources) -> None:
    number = resources.of("google_project")["prod"]["number"]
    (lien,) = resources.of("google_resource_manager_lien").values()
    assert lien["parent"] == f"projects/{number}"
    assert lien["restrictions"] == ["resourcemanager.projects.delete"]
