"""The preflight check, run against a fake gcloud."""

import ast
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import fake_cloud, gcloud_syntax
from tests.support.fake_cloud import Cloud
from tests.support.release_world import CallRejected, World
from tests.support.terraform import REPOSITORY
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Deployment

_INFRA = REPOSITORY / "infra"
_PREFLIGHT = _INFRA / "preflight"
_FILES = (
    *("preflight", "release/environments.py", "release/gcloud.py", "release/exit_status.py"),
    "terraform/versions.tf",
    "bootstrap/bootstrap.tfvars",
)
_CREDENTIALS = "auth application-default print-access-token"
_SIGN_IN = "auth print-access-token"
_BUCKETS = "storage buckets list"
_QUOTA = "beta quotas info describe CpuAllocPerProjectRegion"
_PEERING = "compute.restrictVpcPeering"


@dataclass
class Fresh(World):
    """A project that infra/bootstrap has created.

    `answers` maps the first words of a gcloud call to the output of the call or to its error.
    """

    answers: dict[str, Any] = field(default_factory=dict)

    def do(self, words: list[str]) -> str:
        plain = " ".join(word for word in words if not word.startswith("--"))
        prefix = max(
            (candidate for candidate in self.answers if plain.startswith(candidate)),
            key=len,
            default="",
        )
        answer = self.answers.get(prefix, CallRejected(f"no such call: {plain}"))
        if isinstance(answer, CallRejected):
            raise answer
        return answer if isinstance(answer, str) else json.dumps(answer)


def fresh(project: str) -> Fresh:
    pipeline = f"progress-pipeline@{project}.iam.gserviceaccount.com"
    quota = {"applicableLocations": ["europe-west1"], "details": {"value": "200000"}}
    return Fresh(
        answers={
            "version": {"Google Cloud SDK": "550.0.0"},
            _SIGN_IN: "token\n",
            "billing projects describe": {"billingEnabled": True},
            "iam service-accounts list": [{"email": pipeline}],
            _CREDENTIALS: "token\n",
            "projects describe": {"parent": {"type": "organization", "id": "12"}},
            "projects get-iam-policy": {"bindings": []},
            "org-policies describe": {"spec": {"rules": [{"allowAll": True}]}},
            _QUOTA: {"dimensionsInfos": [quota]},
            _BUCKETS: [{"name": f"{project}-terraform-state"}],
            "storage buckets describe": CallRejected("gs://x not found: 404."),
            "storage cat": CallRejected("The following URLs matched no objects or files: gs://x"),
            "compute ssl-certificates list": [
                {"managed": {"domainStatus": {domain: "ACTIVE"}}}
                for domain in ("progress.ours.com", "staging.progress.ours.com")
            ],
        }
    )


# The answers before infra/bootstrap is applied.
_INVISIBLE = CallRejected("you do not have permission to access [x] (or it may not exist)")
UNMADE = {
    "version": {"Google Cloud SDK": "550.0.0"},
    _CREDENTIALS: "token\n",
    _SIGN_IN: "token\n",
    "projects describe": _INVISIBLE,
    "storage buckets describe": CallRejected("gs://x not found: 404."),
    "billing accounts describe": {"open": True},
    "billing projects list": [{"projectId": "my-first-project"}],
}


def list_enabled_apis() -> list[str]:
    """Return the APIs that infra/bootstrap enables in each environment's project."""
    text = (_INFRA / "bootstrap" / "projects.tf").read_text(encoding="utf-8")
    in_all, _, in_environments = re.findall(r'\[("\w+"[^]]*)\]', text.partition("\nresource")[0])
    return re.findall(r'"(\w+)"', in_all + in_environments)


def copy_preflight(folder: Path) -> Path:
    """Copy the script and the environments; replace the examples as an operator does."""
    for name in _FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_INFRA / name, folder / name)
    target = folder / "terraform" / "environments"
    shutil.copytree(_INFRA / "terraform" / "environments", target)
    for file in (folder / "bootstrap" / "bootstrap.tfvars", *target.iterdir()):
        text = file.read_text(encoding="utf-8")
        text = text.replace("000000-000000-000000", "01ABCD-234567-89EF01")
        file.write_text(text.replace("example", "ours").replace("= 123456789", "= 42"))
    return target


@dataclass(frozen=True)
class Preflight:
    """The preflight script and the fake cloud that it checks."""

    folder: Path
    cloud: Cloud
    environments: Path
    variables: dict[str, str]

    def check(self, environment: str, **changed: Any) -> tuple[int, list[str]]:
        """Run preflight on a correct project, but with the `changed` answers to gcloud calls.

        Return the exit code and the lines of the output.
        """
        project = f"progress-{environment}"
        self.cloud.world, self.cloud.apis = fresh(project), {project: list_enabled_apis()}
        self.cloud.world.answers.update(
            {name.replace("_", " "): answer for name, answer in changed.items()}
        )
        return self.run(environment)

    def check_bootstrap(self, **changed: Any) -> tuple[int, list[str]]:
        """Run preflight for projects that can be created, with the `changed` answers."""
        self.cloud.world = Fresh(answers={**UNMADE, **changed})
        self.cloud.permissions = ["billing.resourceAssociations.create"]
        self.cloud.permissions += ["billing.accounts.setIamPolicy"]
        return self.run("bootstrap")

    @property
    def path(self) -> str:
        """The folders of programs: the fakes come first."""
        fakes = [self.folder, self.folder / "terraform-program"]
        return os.pathsep.join([*map(str, fakes), os.environ["PATH"]])

    def run(self, *arguments: str) -> tuple[int, list[str]]:
        done = subprocess.run(
            [sys.executable, self.folder / "preflight", *arguments],
            env={
                **os.environ,
                "PATH": self.path,
                **self.variables,
                "FAKE_GCLOUD_PORT": str(self.cloud.port),
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDBILLING": f"{self.cloud.address}/",
                "PREFLIGHT_CERTIFICATES_URL": f"{self.cloud.address}/x509/",
            },
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).splitlines()

    def change(self, file: str, old: str, new: str) -> None:
        """Change a text in one of the environments' files."""
        path = self.environments / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new))

    def install_terraform(self, version: str) -> None:
        program = self.folder / "terraform-program" / "terraform"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"""#!/bin/sh\necho '{{"terraform_version": "{version}"}}'\n""")
        program.chmod(0o755)


@pytest.fixture
def preflight(tmp_path: Path) -> Iterator[Preflight]:
    with fake_cloud.running(tmp_path, Cloud) as cloud:
        variables = {"TF_VAR_neon_owner_password": "secret"}
        made = Preflight(tmp_path, cloud, copy_preflight(tmp_path), variables)
        made.install_terraform("1.11.0")
        yield made


def policy(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"rules": [*rules]}}


def allow(*values: str) -> dict[str, Any]:
    return policy({"values": {"allowedValues": [*values]}})


@pytest.mark.first_in_gate
@pytest.mark.parametrize("environment", ["dev", "staging", "prod", "trial"])
def test_a_correct_project_has_no_findings(preflight: Preflight, environment: str) -> None:
    code, lines = preflight.check(environment)
    assert (code, [line for line in lines if not line.startswith("ok ")]) == (0, [])
    assert len(lines) == 16
    # Only then does gcloud install missing beta commands without a question
    assert {words[0] for words in preflight.cloud.calls} == {"--quiet"}


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("call", "answer", "name", "advice"),
    [
        ("version", {"Google Cloud SDK": "499.0.0"}, "gcloud", "gcloud components update"),
        ("billing projects describe", {"billingEnabled": False}, "project", "infra/bootstrap"),
        (
            "projects describe",
            _INVISIBLE,
            "project",
            "progress-prod cannot be read: in prod.tfvars",
        ),
        ("iam service-accounts list", [], "project", "infra/bootstrap"),
        (
            _CREDENTIALS,
            CallRejected("no credentials"),
            "credentials",
            "gcloud auth application-default",
        ),
        (_BUCKETS, [], "bucket names", "infra/bootstrap"),
        (
            "storage buckets describe",
            CallRejected("403: you does not have storage.buckets.get access"),
            "bucket names",
            "another project_id",
        ),
        ("storage buckets describe", {"name": "x"}, "bucket names", "another project_id"),
        (
            _QUOTA,
            {
                "dimensionsInfos": [
                    {"applicableLocations": ["us-east1"], "details": {"value": "900000"}},
                    {"applicableLocations": ["europe-west1"], "details": {"value": "20000"}},
                ]
            },
            "CPU quota",
            "request a higher quota",
        ),
    ],
)
def test_problems_are_reported_with_the_action_to_take(
    preflight: Preflight, call: str, answer: Any, name: str, advice: str
) -> None:
    code, lines = preflight.check("prod", **{call: answer})
    problems = [line for line in lines if not line.startswith(("ok ", "?"))]
    assert code == 1
    assert problems
    assert all(line.startswith(f"FAIL  {name}: ") for line in problems)
    assert advice in problems[0]


def test_a_missing_billing_role_is_reported(preflight: Preflight) -> None:
    preflight.cloud.permissions = []
    code, lines = preflight.check("dev")
    (failure,) = (line for line in lines if line.startswith("FAIL"))
    assert code == 1
    assert "roles/billing.costsManager" in failure
    code, _ = preflight.check("trial")  # this environment has no budget
    assert code == 0


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("environment", "constraint", "answer", "refuses"),
    [
        ("prod", _PEERING, policy({"denyAll": True}), True),
        ("dev", _PEERING, policy({"denyAll": True}), False),  # Neon needs no peering
        ("prod", _PEERING, allow("under:organizations/433637338589"), False),
        ("prod", _PEERING, allow("under:organizations/12"), True),
        ("dev", "run.allowedIngress", allow("internal"), True),
        ("dev", "run.allowedIngress", allow("internal", "is:all"), False),
        ("prod", "run.allowedIngress", allow("internal", "all"), True),
        ("prod", "run.allowedVPCEgress", allow("all-traffic"), True),
        ("dev", "run.allowedVPCEgress", allow("all-traffic"), False),
        ("dev", "run.managed.requireInvokerIam", policy({"enforce": True}), True),
        ("dev", "run.managed.requireInvokerIam", policy({"enforce": False}), False),
        ("dev", "gcp.resourceLocations", allow("in:us-locations"), True),
        ("dev", "gcp.resourceLocations", allow("in:eu-locations"), False),
        ("dev", "gcp.resourceLocations", allow("europe-west1"), False),
        ("dev", "gcp.resourceLocations", allow("europe-west10"), True),
        (
            "dev",
            "gcp.resourceLocations",
            policy({"values": {"deniedValues": ["in:europe-west1-locations"]}}),
            True,
        ),
        ("prod", "compute.disableGlobalLoadBalancing", policy({"enforce": True}), True),
        ("staging", "compute.disableGlobalLoadBalancing", policy({"enforce": True}), True),
        ("dev", "compute.disableGlobalLoadBalancing", policy({"enforce": True}), False),
    ],
)
def test_an_organisation_policy_that_denies_a_needed_value_is_reported(
    preflight: Preflight, environment: str, constraint: str, answer: Any, refuses: bool
) -> None:
    code, lines = preflight.check(environment, **{f"org-policies describe {constraint}": answer})
    assert code == int(refuses)
    problems = [line for line in lines if line.startswith("FAIL")]
    assert bool(problems) == refuses
    assert all(constraint in line and "infra/bootstrap/README.md" in line for line in problems)


def test_policies_are_not_checked_without_an_organisation(preflight: Preflight) -> None:
    nothing = CallRejected("organization policies need an organization")
    code, _ = preflight.check("dev", projects_describe={}, **{"org-policies describe": nothing})
    assert code == 0


def test_a_check_that_cannot_run_is_reported_and_changes_the_exit_code(
    preflight: Preflight,
) -> None:
    denied = CallRejected("PERMISSION_DENIED")
    code, lines = preflight.check("dev", **{"org-policies describe": denied})
    assert code == 2
    (unknown,) = (line for line in lines if line.startswith("?"))
    assert "PERMISSION_DENIED" in unknown
    code, _ = preflight.check(
        "dev", **{"org-policies describe": denied, "iam service-accounts list": []}
    )
    assert code == 1  # a failed check takes precedence over a check that could not run


def test_an_unknown_environment_is_rejected(preflight: Preflight) -> None:
    for arguments in ((), ("production",), ("dev", "prod")):
        code, (line,) = preflight.run(*arguments)
        assert (code, line) == (2, "usage: infra/preflight bootstrap|dev|prod|staging|trial")
    assert preflight.cloud.calls == []


def test_preflight_and_terraform_read_the_same_values(deployments: dict[str, Deployment]) -> None:
    read = runpy.run_path(str(_PREFLIGHT))["Environment"].read
    for name, deployment in deployments.items():
        variables = {
            key: variable["value"] for key, variable in deployment.plan["variables"].items()
        }
        env = read(name)
        assert (env.project, env.region) == (variables["project_id"], variables["region"])
        assert (env.build_region, env.billing_account) == (
            variables["build_region"],
            variables["billing_account"],
        )
        assert env.cpus == sum(
            int(function["cpu"]) * function["max_instances"]
            for function in variables["functions"].values()
        )
        members = [
            *variables["publishers"].values(), variables["event_subscribers"],
            *(each["subscribers"] for each in variables["event_subscriptions"].values()),
            variables["database_analysts"],
        ]  # fmt: skip
        assert {*env.members} == {member for each in members for member in each}
        assert env.domain == variables["domain"]
        assert env.password_version == variables["password_version"]
        assert env.has_neon == (variables["database"] == "neon")
        assert env.has_peering == bool(
            deployment.applied.of("google_service_networking_connection")
        )
        buckets = {
            bucket["name"] for bucket in deployment.applied.of("google_storage_bucket").values()
        }
        suffixes = runpy.run_path(str(_PREFLIGHT))["SUFFIXES"]
        optional = {"progress-templates"} if env.project == "progress-dev" else set()
        assert buckets == {f"{env.project}-{suffix}" for suffix in {*suffixes} - optional}


def test_a_billing_api_that_is_not_enabled_is_not_taken_for_a_missing_role(
    preflight: Preflight,
) -> None:
    preflight.cloud.world = fresh("progress-dev")
    code, lines = preflight.run("dev")
    assert code == 2
    (unknown,) = (line for line in lines if line.startswith("?"))
    assert "the billing API failed: HTTP Error 403" in unknown


def test_examples_that_were_left_in_place_are_reported(preflight: Preflight) -> None:
    committed = _INFRA / "terraform" / "environments"
    for environment in ("dev", "prod"):
        shutil.copy(committed / f"{environment}.tfvars", preflight.environments)
        code, lines = preflight.check(environment)
        assert code == 1
        found = "\n".join(line for line in lines if line.startswith("FAIL  example values: "))
        parts = ["000000-000000-000000", "example/progress", "ep-example-dev"]
        if environment == "prod":
            parts[2:] = ["progress.example.com", "@example-prod", "example-prod, https://app."]
        for part in parts:
            assert part in found
    shutil.copy(committed / "trial.tfvars", preflight.environments)
    assert preflight.check("trial")[0] == 0  # its values are no examples


def test_the_examples_of_an_environment_stand_together_at_the_top() -> None:
    find = runpy.run_path(str(_PREFLIGHT))["EXAMPLE"].search
    for environment in ("dev", "staging", "prod"):
        file = _INFRA / "terraform" / "environments" / f"{environment}.tfvars"
        own, _, others = file.read_text(encoding="utf-8").partition("# Everything below works")
        assert find(own)
        assert others
        assert not find(others)


@pytest.mark.first_in_gate
@pytest.mark.parametrize(("version", "expected"), [("1.9.8", 1), ("1.11.0", 0), ("1.14.0-rc1", 0)])
def test_terraform_must_have_the_version_that_the_module_requires(
    preflight: Preflight, version: str, expected: int
) -> None:
    preflight.install_terraform(version)
    code, lines = preflight.check("dev")
    assert code == expected
    assert ("FAIL  terraform: terraform is 1.9.8: install 1.11 or newer" in lines) == bool(expected)


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    "setting",
    [
        'publishers = {{ user-events = ["{}"] }}',
        'event_subscriptions = {{\n  progress-events-sub = {{\n    subscribers = ["{}"]\n  }}\n}}',
        'event_subscribers = ["{}"]',
        'database_analysts = ["{}"]',
    ],
)
def test_an_account_that_does_not_exist_is_reported(preflight: Preflight, setting: str) -> None:
    account = "users@ours-dev.iam.gserviceaccount.com"
    preflight.cloud.unknown = {account}
    assert preflight.check("dev")[0] == 0
    line = setting.format(f"serviceAccount:{account}")
    preflight.change("dev.tfvars", 'redis    = "none"', f'redis = "none"\n{line}')
    code, lines = preflight.check("dev")
    (failure,) = (line for line in lines if line.startswith("FAIL"))
    assert code == 1
    assert f"IAM members: the account {account} does not exist" in failure
    # Only Google can look up a group.
    preflight.change("dev.tfvars", f"serviceAccount:{account}", "group:u")
    assert preflight.check("dev")[0] == 0


def test_the_domain_of_prod_is_a_step_after_the_apply(preflight: Preflight) -> None:
    waiting = [{"managed": {"domainStatus": {"progress.ours.com": "PROVISIONING"}}}, {}]
    for certificates in ([], waiting):
        code, lines = preflight.check("prod", **{"compute ssl-certificates list": certificates})
        assert code == 0
        (step,) = (line for line in lines if line.startswith("todo"))
        assert "set its A record to the output load_balancer_address" in step


def test_the_first_apply_needs_the_password_of_neons_owner(
    preflight: Preflight, environments: Environments
) -> None:
    preflight.variables.clear()
    code, lines = preflight.check("dev")
    (failure,) = (line for line in lines if line.startswith("FAIL"))
    assert code == 1
    assert "export it as TF_VAR_neon_owner_password" in failure
    assert preflight.check("prod")[0] == 0
    assert preflight.check("dev", storage_cat=environments["dev"].state)[0] == 0


@pytest.mark.parametrize("password", ["", "secret\n", "infra/preflight dev"])
def test_what_cannot_be_the_password_of_neons_owner_is_reported(
    preflight: Preflight, password: str
) -> None:
    preflight.variables["TF_VAR_neon_owner_password"] = password
    code, lines = preflight.check("dev")
    (failure,) = (line for line in lines if not line.startswith("ok "))
    assert code == 1
    assert failure == (
        "FAIL  Neon's password: TF_VAR_neon_owner_password is empty or has white space: read it "
        "again (docs/first-cloud.md, step 9)"
    )


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("file", "old", "new", "finding"),
    [
        (
            *("dev.tfvars", '"ep-ours', '"postgresql://neondb_owner:npg_secret@ep-ours'),
            "host in dev.tfvars: expected only the host",
        ),
        (
            *("dev.tfvars", '"ours/progress', '"https://github.com/ours/progress'),
            "https://github.com/ours/progress in dev.tfvars: expected OWNER/NAME",
        ),
        (
            *("../../bootstrap/bootstrap.tfvars", '"ours/progress', '"https://github.com/ours/p'),
            "https://github.com/ours/p in bootstrap.tfvars: expected OWNER/NAME",
        ),
        *(
            (
                *("../../bootstrap/bootstrap.tfvars", '"ours-dev"', f'"{project}"'),
                f"{project} in bootstrap.tfvars: expected a project's id",
            )
            for project in ("Ours-dev", "4711-dev", "ours", "ours_dev", f"ours{'-dev' * 7}")
        ),
    ],
)
def test_a_value_of_another_form_is_reported(
    own_projects: Preflight, file: str, old: str, new: str, finding: str
) -> None:
    own_projects.change(file, old, new)
    is_bootstrap = file.endswith("bootstrap.tfvars")
    code, lines = own_projects.check_bootstrap() if is_bootstrap else own_projects.check("dev")
    (failure,) = (line for line in lines if not line.startswith("ok "))
    assert code == 1
    assert failure.startswith(f"FAIL  values: {finding}")
    assert "npg_secret" not in failure


@pytest.mark.parametrize(
    ("root", "line"),
    [("bootstrap", "images_project"), ("bootstrap", "billing_account"), ("dev", "project_id")],
)
def test_a_value_that_is_missing_is_named(preflight: Preflight, root: str, line: str) -> None:
    file = "../../bootstrap/bootstrap.tfvars" if root == "bootstrap" else f"{root}.tfvars"
    preflight.change(file, f"\n{line} ", f"\n# {line} ")
    assert preflight.run(root) == (1, [f"FAIL  values: {root}.tfvars has no {line}"])


def test_without_gcloud_or_a_sign_in_nothing_else_is_asked(preflight: Preflight) -> None:
    def find_failures() -> list[str]:
        code, lines = preflight.check("dev", **{_SIGN_IN: CallRejected("no active account")})
        assert code == 1
        return [line for line in lines if not line.startswith("ok ")]

    assert find_failures() == ["FAIL  sign-in: run `gcloud auth login`"]
    (preflight.folder / "gcloud").unlink()
    preflight.variables["PATH"] = os.pathsep.join(
        str(folder)
        for folder in map(Path, preflight.path.split(os.pathsep))
        if not (folder / "gcloud").exists()
    )
    (missing,) = find_failures()
    assert missing.startswith("FAIL  gcloud: gcloud is not installed or not in PATH: https://")


@pytest.mark.parametrize("program", ["preflight", "try"])
def test_an_older_python_is_named_before_it_fails(program: str) -> None:
    text = (_INFRA / program).read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 8))
    old = 'import sys; sys.version_info = (3, 10, 9); sys.version = "3.10.9 (main)"'
    code = f"{old}\nfor name in ('dataclasses', 'webbrowser'): sys.modules[name] = None"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nexec({text!r})"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        1,
        f"infra/{program} needs Python 3.11 or newer, and this is 3.10.9\n",
    )


@pytest.mark.first_in_gate
@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_an_apply_that_wrote_only_some_copies_of_a_password_is_reported(
    preflight: Preflight, environments: Environments, environment: str
) -> None:
    """The next apply generates other passwords and writes them only to the missing copies."""
    state = json.loads(json.dumps(environments[environment].state))
    assert preflight.check(environment, storage_cat=state)[0] == 0
    (versions,) = (
        resource["instances"]
        for resource in state["resources"]
        if resource["type"] == "google_secret_manager_secret_version"
        and resource["name"] == "password"
    )
    versions.pop()
    code, lines = preflight.check(environment, storage_cat=state)
    (failure,) = (line for line in lines if line.startswith("FAIL"))
    assert code == 1
    assert f"set `password_version = 2` in {environment}.tfvars" in failure
    preflight.change(f"{environment}.tfvars", "project_id ", "password_version = 2\nproject_id ")
    assert preflight.check(environment, storage_cat=state)[0] == 0


@pytest.fixture
def own_projects(preflight: Preflight) -> Preflight:
    """The preflight script, after the operator has chosen the ids of the projects."""
    for name in ("dev", "images"):
        preflight.change("../../bootstrap/bootstrap.tfvars", f'"progress-{name}"', f'"ours-{name}"')
    return preflight


def test_projects_that_can_be_created_have_no_findings(own_projects: Preflight) -> None:
    code, lines = own_projects.check_bootstrap()
    assert (code, [line for line in lines if not line.startswith("ok ")]) == (0, [])
    assert len(lines) == 10
    if sdk := gcloud_syntax.find_sdk():
        calls = own_projects.cloud.calls
        assert gcloud_syntax.find_rejected(sdk, own_projects.folder, calls) == []


def test_examples_in_the_values_of_the_bootstrap_are_reported(preflight: Preflight) -> None:
    shutil.copy(_INFRA / "bootstrap" / "bootstrap.tfvars", preflight.folder / "bootstrap")
    code, lines = preflight.check_bootstrap()
    found = "\n".join(line for line in lines if line.startswith("FAIL"))
    assert code == 1
    for part in (
        *("000000-000000-000000", "example/progress", "123456789 in line"),
        *("others have taken progress-dev:", "others have taken progress-images:"),
    ):
        assert part in found
    assert "such as progress-dev- and your initials and birthday" in found
    assert "staging" not in found  # it is a comment


_DELETED = {"lifecycleState": "DELETE_REQUESTED", "labels": {"app": "progress"}}


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        (
            {"storage buckets describe gs://ours-dev-terraform-state": {"name": "x"}},
            "projects: bucket ours-dev-terraform-state belongs to another project",
        ),
        (
            {"storage buckets describe gs://ours-images-sources": CallRejected("HTTPError 403")},
            "projects: bucket ours-images-sources belongs to another project",
        ),
        (
            {"projects describe ours-dev": _DELETED},
            "projects: ours-dev was deleted, and Google keeps its id for 30 days",
        ),
        ({"billing accounts describe": {"open": False}}, "is closed: activate it at"),
        (
            {"billing accounts describe": CallRejected("403")},
            "billing account 01ABCD-234567-89EF01 cannot be read: `gcloud billing accounts list`",
        ),
    ],
)
def test_what_would_stop_the_bootstrap_is_reported(
    own_projects: Preflight, changed: dict[str, Any], finding: str
) -> None:
    code, lines = own_projects.check_bootstrap(**changed)
    (failure,) = (line for line in lines if line.startswith("FAIL"))
    assert code == 1
    assert finding in failure


def test_the_bootstrap_needs_two_permissions_on_the_billing_account(
    own_projects: Preflight,
) -> None:
    own_projects.check_bootstrap()
    own_projects.cloud.permissions.remove("billing.accounts.setIamPolicy")
    code, lines = own_projects.run("bootstrap")
    (failure,) = (line for line in lines if line.startswith("FAIL"))
    assert code == 1
    assert "you lack billing.accounts.setIamPolicy on billing account 01ABCD" in failure
    assert "roles/billing.admin" in failure


@pytest.mark.first_in_gate
@pytest.mark.parametrize(("linked", "is_reported"), [(3, False), (4, True), (5, True), (6, False)])
def test_more_projects_than_a_new_billing_account_pays_for_are_reported(
    own_projects: Preflight, linked: int, is_reported: bool
) -> None:
    projects = [{"projectId": f"project-{number}"} for number in range(linked)]
    code, lines = own_projects.check_bootstrap(**{"billing projects list": projects})
    assert code == 0
    steps = [line for line in lines if line.startswith("todo")]
    assert bool(steps) is is_reported
    assert all("Precondition check failed" in s and "billing_quota_increase" in s for s in steps)


@pytest.mark.parametrize(("labels", "is_reported"), [({"app": "progress"}, False), ({}, True)])
def test_a_project_that_terraform_has_not_created_must_be_imported(
    own_projects: Preflight, labels: dict[str, str], is_reported: bool
) -> None:
    made = {"lifecycleState": "ACTIVE", "labels": labels}
    code, lines = own_projects.check_bootstrap(**{"projects describe ours-dev": made})
    assert code == 0
    assert any("todo  existing projects: ours-dev exists" in line for line in lines) is is_reported


def test_each_constraint_is_documented() -> None:
    text = (REPOSITORY / "infra" / "bootstrap" / "README.md").read_text(encoding="utf-8")
    for policy in runpy.run_path(str(_PREFLIGHT))["POLICIES"]:
        assert f"constraints/{policy.constraint}`" in text


def test_a_default_account_that_may_edit_the_project_is_named(preflight: Preflight) -> None:
    member = "serviceAccount:123-compute@developer.gserviceaccount.com"
    agent = "serviceAccount:123@cloudservices.gserviceaccount.com"  # Google's own, which needs it
    bindings = [
        {"role": "roles/editor", "members": [member, agent]},
        {
            "role": "roles/viewer",
            "members": ["serviceAccount:9-compute@developer.gserviceaccount.com"],
        },
    ]
    code, lines = preflight.check("dev", **{"projects get-iam-policy": {"bindings": bindings}})
    (found,) = [line for line in lines if "default accounts" in line]
    assert code == 0
    assert found.startswith(f"todo  default accounts: {member} may change")
