"""The lock files of Terraform's providers, which whoever delivers commits."""

from tests.support import programs
from tests.support.terraform import REPOSITORY

LOCKS = ("infra/bootstrap/.terraform.lock.hcl", "infra/terraform/.terraform.lock.hcl")


def test_a_lock_file_can_be_committed() -> None:
    ignored = programs.try_run(["git", "check-ignore", *LOCKS], folder=REPOSITORY)
    assert ignored.returncode == 1


def test_a_committed_lock_file_has_the_hashes_of_the_registry_for_each_platform() -> None:
    for lock in LOCKS:
        done = programs.try_run(["git", "show", f"HEAD:{lock}"], folder=REPOSITORY)
        for provider in done.stdout.split("\nprovider ")[1:]:
            assert '"zh:' in provider  # only providers from the registry have zh: hashes
            assert provider.count('"h1:') >= 4  # Linux and macOS, on amd64 and arm64
