"""The lock files of Terraform's providers, which whoever delivers commits."""

import subprocess

from tests.support.terraform import REPOSITORY

LOCKS = ("infra/bootstrap/.terraform.lock.hcl", "infra/terraform/.terraform.lock.hcl")


def test_a_lock_file_can_be_committed() -> None:
    ignored = subprocess.run(["git", "check-ignore", *LOCKS], cwd=REPOSITORY, check=False)
    assert ignored.returncode == 1


def test_a_committed_lock_file_has_the_hashes_of_the_registry_for_each_platform() -> None:
    for lock in LOCKS:
        command = ["git", "show", f"HEAD:{lock}"]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        for provider in done.stdout.split("\nprovider ")[1:]:
            assert '"zh:' in provider  # only providers from the registry have zh: hashes
            assert provider.count('"h1:') >= 4  # Linux and macOS, on amd64 and arm64
