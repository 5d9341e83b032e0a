"""The lock files of Terraform's providers, which whoever delivers commits."""

import re
from pathlib import Path

from tests.support import programs
from tests.support.terraform import REPOSITORY

LOCKS = ("infra/bootstrap/.terraform.lock.hcl", "infra/terraform/.terraform.lock.hcl")
PLATFORMS = {"linux_amd64", "linux_arm64", "darwin_amd64", "darwin_arm64", "windows_amd64"}


def test_a_lock_file_can_be_committed() -> None:
    ignored = programs.try_run(["git", "check-ignore", *LOCKS], folder=REPOSITORY)
    assert ignored.returncode == 1


def test_a_committed_lock_file_has_the_hashes_of_the_registry_for_each_platform() -> None:
    for lock in LOCKS:
        done = programs.try_run(["git", "show", f"HEAD:{lock}"], folder=REPOSITORY)
        for provider in done.stdout.split("\nprovider ")[1:]:
            assert '"zh:' in provider  # only providers from the registry have zh: hashes
            assert provider.count('"h1:') >= len(PLATFORMS)


def test_what_the_readme_types_locks_each_platform_in_both_folders(tmp_path: Path) -> None:
    readme = (REPOSITORY / "infra/terraform/README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^ {4}for root in .*?^ {4}done$", readme, re.MULTILINE | re.DOTALL)
    typed = f"terraform() {{ echo $*; }}\n{block}"
    done = programs.run(["bash", "-ec", typed], folder=tmp_path)
    calls = [set(line.split()) for line in done.splitlines()]
    wanted = {f"-platform={platform}" for platform in PLATFORMS} | {"providers", "lock"}
    assert calls == [{*wanted, f"-chdir={Path(lock).parent}"} for lock in LOCKS]
