"""The workflow that locks the versions of Terraform's providers, and the lock files."""

import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support import terraform
from tests.support.terraform import REPOSITORY

WORKFLOW = REPOSITORY / ".github/workflows/providers.yaml"
PLATFORMS = ("linux_amd64", "linux_arm64", "darwin_amd64", "darwin_arm64")
VERSIONS = {"google": "7.46.1", "random": "3.7.2"}
LOCKS = ("infra/bootstrap/.terraform.lock.hcl", "infra/terraform/.terraform.lock.hcl")

# Terraform itself, with a folder in the place of the registry.
_TERRAFORM = """#!/bin/bash
case " $* " in *" providers lock "*) set -- "$@" "-fs-mirror=$MIRROR";; esac
exec "$TERRAFORM" "$@"
"""
_GH = '#!/bin/bash\necho "$*" >> "$CALLS"\n'


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@example.com")
    done = subprocess.run(
        ["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.fixture
def run_workflow(tmp_path: Path) -> Callable[[str], list[str]]:
    """A function that runs the workflow's steps in a clone, and returns the calls of `gh`."""
    program = shutil.which("terraform")
    if not program:
        pytest.skip("needs terraform")
    for provider, version in VERSIONS.items():
        folder = tmp_path / "mirror/registry.terraform.io/hashicorp" / provider
        folder.mkdir(parents=True)
        for platform in PLATFORMS:
            name = f"terraform-provider-{provider}_{version}_{platform}.zip"
            with zipfile.ZipFile(folder / name, "w") as package:
                package.writestr(f"terraform-provider-{provider}_v{version}", platform)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("terraform", _TERRAFORM), ("gh", _GH)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for root in ("bootstrap", "terraform"):
        source = REPOSITORY / "infra" / root
        terraform.copy_folder(source, tmp_path / "clone/infra" / root)
    clone = tmp_path / "clone"
    git(tmp_path, "init", "--quiet", "--bare", "origin")
    git(clone, "init", "--quiet", "--initial-branch=main")
    git(clone, "remote", "add", "origin", str(tmp_path / "origin"))
    shutil.copy(REPOSITORY / ".gitignore", clone)
    git(clone, "add", ".")
    git(clone, "commit", "--quiet", "--message=first")

    def run(branch: str) -> list[str]:
        calls = tmp_path / f"{branch}.txt"
        calls.touch()
        environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "TERRAFORM": program,
            "CHECKPOINT_DISABLE": "1",
            "MIRROR": str(tmp_path / "mirror"),
            "CALLS": str(calls),
            "BRANCH": branch,
        }
        (job,) = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"].values()
        for step in job["steps"]:
            if "run" in step:
                command = ["bash", "-e", "-c", step["run"]]
                folder = clone / step["working-directory"]
                subprocess.run(command, cwd=folder, env=environment, check=True, timeout=300)
        return calls.read_text().splitlines()

    return run


def test_a_pull_request_locks_the_providers_for_four_platforms(
    run_workflow: Callable[[str], list[str]], tmp_path: Path
) -> None:
    calls = run_workflow("first")
    assert [call.partition(" --title")[0] for call in calls] == [
        "auth setup-git",
        "pr create --base main --head first",
    ]
    origin = tmp_path / "origin"
    assert git(origin, "diff", "--name-only", "first~1", "first").split() == [*LOCKS]
    for lock in LOCKS:
        locked = git(origin, "show", f"first:{lock}").split("\nprovider ")[1:]
        names = {"google"} if "bootstrap" in lock else {*VERSIONS}
        assert {text.partition('" {')[0].rpartition("/")[2] for text in locked} == names
        for text in locked:
            assert len(set(re.findall(r'"h1:[^"]+"', text))) == len(PLATFORMS)
    assert run_workflow("second") == []  # the lock files are up to date


def test_a_lock_file_can_be_committed_and_no_copy_of_a_root_has_it(tmp_path: Path) -> None:
    ignored = subprocess.run(["git", "check-ignore", *LOCKS], cwd=REPOSITORY, check=False)
    assert ignored.returncode == 1
    source = tmp_path / "source"
    (source / ".terraform").mkdir(parents=True)
    for name in ("main.tf", ".terraform.lock.hcl", ".terraform/modules.json"):
        (source / name).touch()
    terraform.copy_folder(source, tmp_path / "copy")
    assert [file.name for file in (tmp_path / "copy").rglob("*")] == ["main.tf"]


def test_a_committed_lock_file_has_the_hashes_of_the_registry_for_each_platform() -> None:
    for lock in LOCKS:
        command = ["git", "show", f"HEAD:{lock}"]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        for provider in done.stdout.split("\nprovider ")[1:]:
            assert '"zh:' in provider  # only providers from the registry have zh: hashes
            assert provider.count('"h1:') >= len(PLATFORMS)
