"""The projects, state buckets and outputs of infra/bootstrap."""

import pytest

from tests.support.bootstrap_projects import IN_ENVIRONMENTS, PROJECTS
from tests.support.cloud_run import only
from tests.support.terraform import GCLOUD, REPOSITORY, Root
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Deployment, Resources, list_resources


def _apis(resources: Resources) -> list[dict[str, str]]:
    return [*resources.of("google_project_service").values()]


@pytest.mark.exhaustive
def test_a_second_plan_after_apply_shows_no_change(bootstrap: Deployment) -> None:
    assert bootstrap.second_plan == ""


def test_default_accounts_have_no_roles_and_projects_have_no_default_network(
    resources: Resources,
) -> None:
    projects = resources.of("google_project")
    assert {name: project["project_id"] for name, project in projects.items()} == PROJECTS
    assert not any(project["auto_create_network"] for project in projects.values())
    assert {project["billing_account"] for project in projects.values()} == {"000000-000000-000000"}
    guarded = {n for n, project in projects.items() if project["deletion_policy"] == "PREVENT"}
    assert guarded == {"prod", "images"}
    stripped = resources.of("google_project_default_service_accounts")
    assert {account["project"] for account in stripped.values()} == {*PROJECTS.values()}
    assert {account["action"] for account in stripped.values()} == {"DEPRIVILEGE"}
    on = {(api["project"], api["service"]) for api in _apis(resources)}
    # Enabling the Compute Engine API creates the default account, which then loses its roles.
    for project in PROJECTS.values():
        assert (project, "compute.googleapis.com") in on


@pytest.mark.parametrize(
    ("parent", "org", "folder"),
    [("organizations/12", "12", None), ("folders/34", None, "34")],
)
def test_projects_are_created_below_the_parent(
    bootstrap_root: Root, parent: str, org: str, folder: str
) -> None:
    plan = bootstrap_root.plan("bootstrap", f"-var=parent={parent}", name="parent")
    listed = list_resources(plan["planned_values"]["root_module"])
    for project in Resources(listed).of("google_project").values():
        assert (project["org_id"], project["folder_id"]) == (org, folder)


def test_each_project_has_a_private_versioned_state_bucket(resources: Resources) -> None:
    buckets = resources.of("google_storage_bucket", "state")
    assert {bucket["project"]: bucket["name"] for bucket in buckets.values()} == {
        project: f"{project}-terraform-state" for project in PROJECTS.values()
    }
    for bucket in buckets.values():
        assert only(bucket["versioning"])["enabled"]
        assert bucket["uniform_bucket_level_access"]
        assert bucket["public_access_prevention"] == "enforced"
        assert not bucket["force_destroy"]
    for file in (REPOSITORY / "infra/terraform/environments").glob("*.gcs.tfbackend"):
        name = file.name.partition(".")[0]
        assert f'bucket = "{buckets[name]["name"]}"' in file.read_text(encoding="utf-8")


def test_the_service_agent_of_cloud_run_is_created_before_it_gets_roles(
    bootstrap_root: Root, bootstrap: Deployment
) -> None:
    assert bootstrap.second_plan == ""
    called = (bootstrap_root.folder / GCLOUD).read_text(encoding="utf-8").splitlines()
    assert sorted(called) == sorted(
        f"beta services identity create --service=run.googleapis.com --project={project} --quiet"
        for project in IN_ENVIRONMENTS.values()
    )
    graph = bootstrap_root.run("graph")
    reader = "google_artifact_registry_repository_iam_member.reader"
    assert f'"{reader}" -> "terraform_data.run_agent"' in graph


def test_the_github_variables_name_the_project_of_each_environment(bootstrap: Deployment) -> None:
    assert {
        name: (variables["PROJECT_ID"], variables["REGION"])
        for name, variables in bootstrap.outputs["github_variables"].items()
    } == {
        {"prod": "production"}.get(name, name): (project, "europe-west1")
        for name, project in PROJECTS.items()
    }


def test_the_environments_use_the_created_projects(environments: Environments) -> None:
    for name, deployment in environments.items():
        assert deployment.plan["variables"]["project_id"]["value"] == PROJECTS[name]
