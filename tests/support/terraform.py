"""Run Terraform on a copy of a root module, with its states in files.

With `terraform-offline`, which contains the schema of Google's provider, Terraform can plan and
apply without the registry and the cloud. TERRAFORM_OFFLINE is the path of this program. Without it,
Terraform uses the registry's provider, and deployments are made with mocks of this provider.
"""

import atexit
import contextlib
import fcntl
import functools
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import http_servers, terraform_mocks
from tests.support.terraform_state import Deployment, Values, make_state

REPOSITORY = Path(__file__).resolve().parents[2]
# Staging has the resources and the settings of prod, as a test compares: the gate does not plan it.
NOT_DEV = ("prod", pytest.param("staging", marks=pytest.mark.exhaustive))
ENVIRONMENTS = ("dev", *NOT_DEV)
GCLOUD = "gcloud.txt"  # a file in the root module's folder that lists the calls of gcloud

_OFFLINE = REPOSITORY / os.environ.get("TERRAFORM_OFFLINE", "../shared/tools/terraform-offline")
_DOWNLOADS = Path(tempfile.gettempdir()) / f"progress-terraform-{os.getuid()}"
_FIELDS = "progress/adapters/telemetry/metric_fields.json"
# Terraform writes the state to this backend once, at the end of an apply. Its local backend writes
# the state after each resource, which doubles the CPU time of an apply of 200 resources.
_BACKEND = 'terraform {\n  backend "http" {}\n}\n'
_PASSWORDS = "passwords"  # a folder with one file per secret whose value is ephemeral
_WRITE_PASSWORDS = f"""
resource "terraform_data" "password_file" {{
  for_each = local.password_secrets

  provisioner "local-exec" {{
    environment = {{ VALUE = local.password_values[each.key] }}
    command     = "mkdir -p {_PASSWORDS}; printenv VALUE > {_PASSWORDS}/${{each.key}}"
  }}
}}
"""

# Terraform never prompts. It collects garbage only when its memory reaches 500 MiB; this saves more
# than 20 % of the CPU time. With more memory, page faults would cost more than is saved.
_GARBAGE = {"GOGC": "off", "GOMEMLIMIT": "500MiB"}
_ENVIRONMENT = {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0", **_GARBAGE}
_CACHE = {
    "TF_PLUGIN_CACHE_DIR": str(_DOWNLOADS),
    "TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE": "1",
}

_NO_CHANGES = "No changes. Your infrastructure matches the configuration."


def find_offline() -> Path | None:
    return _OFFLINE if _OFFLINE.exists() and shutil.which("terraform") else None


def need_offline() -> Path:
    return find_offline() or pytest.skip(
        "needs TERRAFORM_OFFLINE, a program that plans without credentials (CONTRIBUTING.md)"
    )


@functools.cache
def has_provider() -> bool:
    if find_offline() or not shutil.which("terraform"):
        return find_offline() is not None
    _DOWNLOADS.mkdir(exist_ok=True)
    # Terraform does not lock the folder of the downloaded providers.
    with (_DOWNLOADS / "lock").open("w") as lock, tempfile.TemporaryDirectory() as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.copy(REPOSITORY / "infra" / "terraform" / "versions.tf", folder)
        try:
            Root(Path(folder)).run("init", "-backend=false")
        except AssertionError:
            return False
    return True


@functools.cache
def serve_provider(folder: Path) -> dict[str, str]:
    """Serve the provider of `terraform-offline` in the folder until the end of this process.

    Return the variables that make Terraform use it. `terraform-offline` runs a program in the place
    of Terraform, which prints its variables and waits until its input ends.
    """
    program = folder / "offline" / "terraform"
    write_program(program, "env | grep -E '^(TF|CHECKPOINT)_'; echo; exec cat")
    process = subprocess.Popen(
        [need_offline()],
        cwd=folder,
        env={**os.environ, "PATH": put_in_path(program.parent)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.communicate)
    assert process.stdout
    lines = itertools.takewhile(str.strip, process.stdout)
    variables = dict(line.rstrip("\n").split("=", 1) for line in lines)
    assert "TF_REATTACH_PROVIDERS" in variables, "terraform-offline has failed"
    return variables


def put_in_path(folder: Path) -> str:
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def write_program(file: Path, text: str) -> None:
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)


def _serve_states(folder: Path) -> AbstractContextManager[str]:
    class Handler(http_servers.Handler):
        @property
        def file(self) -> Path:
            return folder / f"{self.path[1:]}.tfstate"

        def do_GET(self) -> None:
            if self.file.exists():
                self.respond(200, self.file.read_bytes())
            else:
                self.respond(404)

        def do_POST(self) -> None:
            self.file.write_bytes(self.read_body())
            self.respond(200)

    return http_servers.serve(Handler)


@dataclass(frozen=True)
class Root:
    """A copy of `infra/terraform` or another root module, with the files that the module reads."""

    folder: Path
    variables: str = "environments/{}.tfvars"

    def run(self, *arguments: str, text: str = "", state: str = "terraform") -> str:
        """Run Terraform with `text` as its input, and return its output.

        The state is in the file `STATE.tfstate`. Raise AssertionError if Terraform fails.
        """
        command = ["terraform", arguments[0], "-no-color", *arguments[1:]]
        return self.run_program(command, text=text, state=state)

    def run_program(self, command: list[str], *, text: str = "", state: str = "terraform") -> str:
        environment = {**os.environ, **_ENVIRONMENT, "PATH": put_in_path(self._make_programs())}
        environment |= serve_provider(self.folder) if find_offline() else _CACHE
        # A provider may outlive Terraform, and would keep a pipe open. The output therefore goes to
        # files, and the process group is killed at the end.
        with contextlib.ExitStack() as files:
            stdin, output, errors = (
                files.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3)
            )
            states = files.enter_context(_serve_states(self.folder))
            environment["TF_HTTP_ADDRESS"] = f"{states}/{state}"
            stdin.write(text)
            stdin.seek(0)
            with subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=stdin,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            ) as process:
                try:
                    code = process.wait()
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
            output.seek(0)
            errors.seek(0)
            text = output.read()
            assert code == 0, f"{' '.join(command)}\n{text}\n{errors.read()}"
        return text

    def _make_programs(self) -> Path:
        """Return the folder of a fake gcloud and sleep, which only record their arguments."""
        programs = self.folder / "programs"
        for name in ("gcloud", "sleep"):
            write_program(programs / name, f'echo "$*" >> "{self.folder}/{name}.txt"')
        return programs

    def plan(self, environment: str, *options: str, name: str = "") -> Values:
        """Plan with an environment's variables and with `options`; save the plan under `name`."""
        need_offline()
        name = name or environment
        file = f"-var-file={self.variables.format(environment)}"
        self.run("plan", file, f"-out={name}.tfplan", *options, state=name)
        plan: Values = json.loads(self.run("show", "-json", f"{name}.tfplan"))
        return plan

    def deploy(self, environment: str, *options: str) -> Deployment:
        if not find_offline():
            file = self.variables.format(environment)
            self.forget_passwords()
            made = terraform_mocks.deploy(self.folder, self.run, [f"-var-file={file}", *options])
            return Deployment(*made, self.read_passwords())
        plan = self.plan(environment, *options)
        return self._apply(plan, environment, environment, make_state(plan), options)

    def change(self, base: Deployment, name: str, environment: str, *options: str) -> Deployment:
        """Apply `options` to the deployment `base`, and plan again.

        The result's `plan` is empty, because no plan is made before the apply.
        """
        if not find_offline():
            return self.deploy(environment, *options)
        rewritten = [f'-replace=terraform_data.password_file["{key}"]' for key in base.passwords]
        return self._apply({}, name, environment, base.state, options, *rewritten)

    def _apply(
        self,
        plan: Values,
        name: str,
        environment: str,
        state: Values,
        options: tuple[str, ...],
        *rewritten: str,
    ) -> Deployment:
        file = self.folder / f"{name}.tfstate"
        file.write_text(json.dumps(state))
        self.forget_passwords()
        offline = self._offline(environment)
        self.run("apply", "-auto-approve", *offline, *options, *rewritten, state=name)
        made, passwords = json.loads(file.read_text()), self.read_passwords()
        return Deployment(plan, made, self.find_changes(environment, name, *options), passwords)

    def forget_passwords(self) -> None:
        shutil.rmtree(self.folder / _PASSWORDS, ignore_errors=True)

    def read_passwords(self) -> dict[str, str]:
        files = (self.folder / _PASSWORDS).glob("*")
        return {file.name: file.read_text().strip() for file in files}

    def find_changes(self, environment: str, state: str, *options: str) -> str:
        plan = self.run("plan", *self._offline(environment), *options, state=state)
        return "" if _NO_CHANGES in plan else plan

    def _offline(self, environment: str) -> list[str]:
        """Return the options to plan or apply without a refresh.

        A refresh would change nothing, because the offline provider returns the stored state.
        """
        return [f"-var-file={self.variables.format(environment)}", "-refresh=false"]


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder without Terraform's downloads and the providers' lock file.

    The lock file has the checksums of the registry's providers. The offline provider has others.
    """
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".terraform*"))


def copy_bootstrap(folder: Path) -> Root:
    """Copy and initialise `infra/bootstrap`.

    The file `delivered.tfvars` has all environments, and GitHub Actions that deliver to them.
    """
    for name in ("bootstrap", "terraform"):
        copy_folder(REPOSITORY / "infra" / name, folder / name)
    root = Root(folder / "bootstrap", "{}.tfvars")
    text = (root.folder / "terraform.tfvars").read_text(encoding="utf-8")
    text = text.replace('["dev"] # also "staging", "prod"', '["dev", "staging", "prod"]')
    text, commented = re.subn(r"(?m)^# (\w+ += )", r"\1", text)
    assert commented == 2
    (root.folder / "delivered.tfvars").write_text(text, encoding="utf-8")
    (root.folder / "backend_override.tf").write_text(_BACKEND)
    root.run("init")
    return root


def copy_root(folder: Path) -> Root:
    copy_folder(REPOSITORY / "infra" / "terraform", folder / "infra" / "terraform")
    (folder / _FIELDS).parent.mkdir(parents=True)
    shutil.copy(REPOSITORY / _FIELDS, folder / _FIELDS)
    (folder / "docs").mkdir()
    shutil.copy(REPOSITORY / "docs" / "runbook.md", folder / "docs")  # the text of the alerts
    root = Root(folder / "infra" / "terraform")
    (root.folder / "backend_override.tf").write_text(_BACKEND)
    (root.folder / "passwords_test.tf").write_text(_WRITE_PASSWORDS)
    root.run("init")
    return root
