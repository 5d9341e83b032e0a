"""The preflight check, run against a fake gcloud."""

import ast
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import skip_without
from tests.support import gcloud_syntax, programs
from tests.support.terraform import REPOSITORY
from tests.support.terraform_environments import Environments

_INFRA = REPOSITORY / "infra"
# Answers a call with the file that is named after the call's first words, or after the quota that
# it asks for. Without one, it fails.
_GCLOUD = """#!/bin/sh
printf '%s\\n' "$*" >> "$FAKE/calls"
[ "$1" = --quiet ] || exit 1
shift
[ "$1 $2" != "beta quotas" ] || set -- beta "$5"
cat "$FAKE/$1 $2" 2>/dev/null || { echo "no such call" >&2; exit 1; }
"""
_CPUS, _MEMORY = "beta CpuAllocPerProjectRegion", "beta MemAllocPerProjectRegion"
_ORGANISATION = "organizations/123456789012"
_GRANT = {"role": "roles/editor", "members": ["user:ana@example.com"]}
_DEFAULT = "serviceAccount:1-compute@developer.gserviceaccount.com"


def quota(value: int) -> dict[str, object]:
    row = {"applicableLocations": ["europe-west1"], "details": {"value": str(value)}}
    return {"dimensionsInfos": [row]}


@dataclass(frozen=True)
class Preflight:
    """A copy of the script, with the values of an operator and a fake gcloud that accepts them."""

    folder: Path
    variables: dict[str, str]

    def answer(self, call: str, value: object) -> None:
        (self.folder / call).write_text(json.dumps(value), encoding="utf-8")

    def change(self, environment: str, old: str, new: str) -> None:
        file = self.folder / f"terraform/environments/{environment}.tfvars"
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    def run(self, *arguments: str) -> tuple[int, list[str]]:
        """Return the exit code, and the lines about checks that did not pass."""
        path = f"{self.folder}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "FAKE": str(self.folder), **self.variables}
        command = [sys.executable, str(self.folder / "preflight"), *arguments]
        done = programs.try_run(command, environment)
        lines = (done.stdout + done.stderr).splitlines()
        return done.returncode, [line for line in lines if not line.startswith(("ok ", "      "))]


@pytest.fixture
def preflight(request: pytest.FixtureRequest, tmp_path: Path) -> Preflight:
    if not shutil.which("terraform"):
        skip_without(request, "terraform")
    shutil.copy(_INFRA / "preflight", tmp_path)
    shutil.copytree(_INFRA / "terraform/environments", tmp_path / "terraform/environments")
    shutil.copy(_INFRA / "terraform/jobs.tf", tmp_path / "terraform")
    (tmp_path / "gcloud").write_text(_GCLOUD)
    (tmp_path / "gcloud").chmod(0o755)

    made = Preflight(tmp_path, {"TF_VAR_neon_owner_password": "secret"})
    for environment in ("dev", "staging", "prod"):
        made.change(environment, f"progress-{environment}", f"ours-{environment}")
        made.change(environment, "000000-000000-000000", "01ABCD-234567-89EF01")
        made.change(environment, "organizations/000000000000", _ORGANISATION)
        file = tmp_path / f"terraform/environments/{environment}.tfvars"
        file.write_text(file.read_text().replace("example", "ours"))
    projects = [{"projectId": f"ours-{name}"} for name in ("dev", "staging", "prod")]
    made.answer("projects list", projects)
    made.answer("organizations list", [{"name": _ORGANISATION}])
    made.answer("billing projects", projects)
    made.answer(_CPUS, quota(68_000))  # in thousandths
    made.answer(_MEMORY, quota(51 * 2**30))
    made.answer("projects get-iam-policy", {"bindings": [_GRANT]})
    made.answer("storage cat", {"resources": []})
    return made


@pytest.mark.first_in_gate
@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_correct_values_have_no_findings(preflight: Preflight, environment: str) -> None:
    assert preflight.run(environment) == (0, [])
    if sdk := gcloud_syntax.find_sdk():
        calls = (preflight.folder / "calls").read_text().splitlines()
        split = [call.split() for call in calls]
        assert gcloud_syntax.find_rejected(sdk, preflight.folder, split) == []


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_examples_that_were_left_in_place_are_named(preflight: Preflight, environment: str) -> None:
    file = f"terraform/environments/{environment}.tfvars"
    shutil.copy(_INFRA / file, preflight.folder / file)
    code, lines = preflight.run(environment)
    own = ["neon.host"] if environment == "dev" else ["github.repository", "domain", "app_url"]
    for path in ("project_id", "billing_account", *own):
        assert f"FAIL  example values: write your own value of {path}" in lines
    assert f'FAIL  organisation: write `parent = "{_ORGANISATION}"`' in lines
    assert code == 1
    # The other values work as they are, and are not for the operator to find.
    _, _, others = (_INFRA / file).read_text().partition("# Everything below works")
    assert others
    assert "example" not in others


def test_an_example_that_the_profile_does_not_use_is_not_asked_for(preflight: Preflight) -> None:
    preflight.change("dev", "ep-ours-dev", "ep-example-dev")
    named = "FAIL  example values: write your own value of neon.host"
    assert preflight.run("dev") == (1, [named])
    preflight.change("dev", 'database = "neon"', 'database = "cloud_sql"')
    preflight.variables.pop("TF_VAR_neon_owner_password")
    assert preflight.run("dev") == (0, [])
    preflight.change("dev", "project_id ", "# project_id ")
    assert preflight.run("dev") == (1, ["FAIL  example values: write your own value of project_id"])


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("call", "answer", "finding"),
    [
        ("organizations list", [{"name": "organizations/7"}], 'write `parent = "organizations/7"`'),
        ("organizations list", [], "organisation: `gcloud organizations list` prints none"),
        (
            "billing projects",
            [{"projectId": f"project-{number}"} for number in range(5)],
            "limit of projects: a new billing account pays for 5 projects",
        ),
        (
            _CPUS,
            quota(67_000),
            "CPU quota: the functions and the largest job may need 68 CPUs, and Cloud Run grants",
        ),
        (
            _MEMORY,
            quota(40 * 2**30),
            "need 51 GiB of memory, and Cloud Run grants 40 in europe-west1: upgrade a trial",
        ),
        (
            "projects get-iam-policy",
            {"bindings": [_GRANT, {"role": "roles/editor", "members": [_DEFAULT]}]},
            f"default accounts: {_DEFAULT} may edit the project: run `gcloud projects remove-iam",
        ),
    ],
)
def test_what_would_stop_the_apply_is_reported(
    preflight: Preflight, call: str, answer: Any, finding: str
) -> None:
    preflight.answer(call, answer)
    code, (line,) = preflight.run("prod")
    assert code == 1
    assert line.startswith("FAIL  ")
    assert finding in line


@pytest.mark.parametrize(("linked", "environment"), [(4, "dev"), (6, "staging")])
def test_a_new_projects_quota_is_enough_and_a_raised_limit_of_projects_is_none(
    preflight: Preflight, linked: int, environment: str
) -> None:
    preflight.answer(_CPUS, quota(20_000))
    preflight.answer(_MEMORY, quota(40 * 2**30))
    preflight.answer("billing projects", [{"projectId": f"id-{n}"} for n in range(linked)])
    assert preflight.run(environment) == (0, [])


def test_before_the_project_exists_nothing_in_it_is_asked(preflight: Preflight) -> None:
    preflight.answer("projects list", [])
    for each in (_CPUS, _MEMORY):
        (preflight.folder / each).unlink()
    (preflight.folder / "projects get-iam-policy").unlink()
    (preflight.folder / "storage cat").unlink()
    assert preflight.run("dev") == (0, [])


def test_a_check_that_cannot_run_changes_the_exit_code(preflight: Preflight) -> None:
    (preflight.folder / "billing projects").unlink()
    code, (line,) = preflight.run("dev")
    assert code == 2
    assert line.startswith("?     limit of projects: gcloud --quiet billing projects list")
    assert line.endswith("no such call")
    preflight.answer("organizations list", [])
    assert preflight.run("dev")[0] == 1  # a finding takes precedence
    (preflight.folder / "projects list").unlink()
    assert preflight.run("dev")[0] == 2


@pytest.mark.parametrize("password", [None, "", "secret\n", "infra/preflight dev"])
def test_a_missing_or_mistyped_password_of_neon_is_reported(
    preflight: Preflight, password: str | None
) -> None:
    preflight.variables.pop("TF_VAR_neon_owner_password")
    if password is not None:
        preflight.variables["TF_VAR_neon_owner_password"] = password
    code, (line,) = preflight.run("dev")
    assert code == 1
    assert line.startswith("FAIL  Neon's password: TF_VAR_neon_owner_password is ")
    assert preflight.run("prod") == (0, [])


@pytest.mark.parametrize("kind", [int, str])  # a later provider may store versions as texts
@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_an_apply_that_wrote_only_some_copies_of_a_password_is_reported(
    preflight: Preflight, environments: Environments, environment: str, kind: type
) -> None:
    """The next apply generates other passwords and writes them only to the missing copies."""
    state = json.loads(json.dumps(environments[environment].state))
    preflight.variables.pop("TF_VAR_neon_owner_password")  # the first apply has stored it
    (versions,) = (
        resource["instances"]
        for resource in state["resources"]
        if resource["type"] == "google_secret_manager_secret_version"
        and resource["name"] == "password"
    )
    for version in versions:
        stored = version["attributes"]["secret_data_wo_version"]
        version["attributes"]["secret_data_wo_version"] = kind(int(stored))
    preflight.answer("storage cat", state)
    assert preflight.run(environment) == (0, [])
    versions.pop()
    preflight.answer("storage cat", state)
    code, (line,) = preflight.run(environment)
    assert code == 1
    assert line.endswith("To write all of them again, set `password_version = 2`")
    preflight.change(environment, "project_id ", "password_version = 2\nproject_id ")
    assert preflight.run(environment) == (0, [])


def test_an_unknown_environment_is_rejected(preflight: Preflight) -> None:
    for arguments in ((), ("production",), ("dev", "prod")):
        code, (line,) = preflight.run(*arguments)
        assert code == 2
        assert line.startswith("usage: infra/preflight dev|prod|staging")


@pytest.mark.parametrize("program", ["preflight", "try"])
def test_an_older_python_is_named_before_it_fails(program: str) -> None:
    text = (_INFRA / program).read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 8))
    old = 'import sys; sys.version_info = (3, 10, 9); sys.version = "3.10.9 (main)"'
    code = f"{old}\nfor name in ('dataclasses', 'webbrowser'): sys.modules[name] = None"
    done = programs.try_run([sys.executable, "-c", f"{code}\nexec({text!r})"])
    assert (done.returncode, done.stderr) == (
        1,
        f"infra/{program} needs Python 3.11 or newer, and this is 3.10.9\n",
    )
