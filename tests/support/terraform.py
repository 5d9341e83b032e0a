"""Terraform as the tests run it: on a copy of the root, with its state beside it.

`terraform-offline`, where it is there, knows the true schema and needs neither registry nor
cloud: it plans and applies. Plain terraform, with the registry's provider, validates and mocks.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import tls_certificates

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ("dev", "staging", "prod")
# Options: Neon is left for Cloud SQL, and calls leave from one address.
MOVING = (
    "-var=migration_target=cloud_sql",
    "-var=fixed_egress_address=true",
    (
        "-var=functions={"
        'ingest={cpu="1",memory="512Mi",concurrency=100,min_instances=1,max_instances=2},'
        'project={cpu="2",memory="2Gi",concurrency=10,min_instances=1,max_instances=2},'
        'query={cpu="2",memory="1Gi",concurrency=1000,min_instances=1,max_instances=2}}'
    ),
)
GCLOUD = "gcloud.txt"  # what gcloud was told, in the root's folder

_OFFLINE = REPOSITORY.parent / "shared" / "tools" / "terraform-offline"
_READ = ("infra/terraform", "progress", "functions", "jobs", "sql")
# What archives hold stands in each of their plans and in each of the two hundred states that an
# apply writes; and Terraform compares each file of an archive with each other one.
_CODE = ("*.py", "*.sql", "*.js", "*.css", "*.html")
_LOCKED = "requirements.txt"
_LOCAL = 'terraform {\n  backend "local" {}\n}\n'
_SHOWN = "shown"  # a file for each secret: what an apply wrote and keeps nowhere
_SHOW = f"""
resource "terraform_data" "shown" {{
  for_each = local.password_secrets

  provisioner "local-exec" {{
    environment = {{ VALUE = local.password_values[each.key] }}
    command     = "mkdir -p {_SHOWN}; printenv VALUE > {_SHOWN}/${{each.key}}"
  }}
}}
"""

# It asks nothing; and its garbage is collected when there is more of it: a fifth less to do.
_QUIET = {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "GOGC": "400"}

Values = dict[str, Any]


def offline() -> Path | None:
    """The terraform that needs no cloud."""
    return _OFFLINE if _OFFLINE.exists() and shutil.which("terraform") else None


def program() -> Path | None:
    """The terraform that is there, if any."""
    found = shutil.which("terraform")
    return offline() or (Path(found) if found else None)


class Resources(Mapping[str, Values]):
    """What Terraform tells of each resource, by address; what it cannot know yet is left out.

    `passwords` are the secrets with a password, by id: no state has them.
    """

    def __init__(self, resources: list[Values], passwords: Mapping[str, str] | None = None) -> None:
        self._by_address = {each["address"]: each for each in resources}
        self.passwords = passwords or {}

    def __getitem__(self, address: str) -> Values:
        values: Values = self._by_address[address]["values"]
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_address)

    def __len__(self) -> int:
        return len(self._by_address)

    def of(self, kind: str, name: str | None = None) -> dict[str, Values]:
        """The resources of a type, by key where they have one, else by name; or only `name`'s.

        A module's `this` has the module's name, and its key unless it has its own.
        A key that several names of the type share is another's address.
        """
        found: dict[str, Values] = {}
        for address, each in self._by_address.items():
            called, module_key = _called(address, each["name"])
            if each["type"] == kind and each["mode"] == "managed" and name in {None, called}:
                key = str(each.get("index", module_key or called))
                found[address if key in found else key] = each["values"]
        return found


_MODULE = re.compile(r'module\.(\w+)(?:\["([^"]*)"\])?\.[^.]+\.this\b')


def _called(address: str, name: str) -> tuple[str, str | None]:
    """A resource's name, and the key of its module."""
    found = _MODULE.match(address)
    return (found[1], found[2]) if found else (name, None)


def listed(module: Values) -> list[Values]:
    """The resources of a plan's module and of all modules in it."""
    within = [each for child in module.get("child_modules", ()) for each in listed(child)]
    return [*module.get("resources", ()), *within]


@dataclass(frozen=True)
class Told:
    """One environment: the plan for an empty project, what is there after it, a second plan."""

    plan: Values
    state: Values
    again: str  # nothing where there is nothing to change
    passwords: dict[str, str]  # the secrets that hold one, by id

    @property
    def planned(self) -> Resources:
        return Resources(listed(self.plan["planned_values"]["root_module"]))

    @property
    def applied(self) -> Resources:
        there = [each for kind in self.state["resources"] for each in _instances(kind)]
        return Resources(there, self.passwords)

    @property
    def outputs(self) -> Values:
        return {name: each["value"] for name, each in self.state["outputs"].items()}


def attributes(state: Values, kind: str) -> Iterator[Values]:
    """What a state says of each resource of a type, to be changed in place."""
    for each in state["resources"]:
        if each["type"] == kind and each["mode"] == "managed":
            yield from (instance["attributes"] for instance in each["instances"])


def _instances(kind: Values) -> Iterator[Values]:
    """The resources of one name in a state, in the shape that a plan has them."""
    within = f"{kind['module']}." if "module" in kind else ""
    address = f"{within}{'data.' if kind['mode'] == 'data' else ''}{kind['type']}.{kind['name']}"
    for each in kind["instances"]:
        index = {"index": each["index_key"]} if "index_key" in each else {}
        at = f"[{json.dumps(each['index_key'])}]" if index else ""
        yield {**kind, **index, "address": address + at, "values": each["attributes"]}


@dataclass(frozen=True)
class Root:
    """A copy of `infra/terraform`, or of another root, and of all that it reads."""

    folder: Path
    variables: str = "environments/{}.tfvars"

    def run(self, *arguments: str, expected: int = 0) -> str:
        """What terraform printed; AssertionError, with its complaint, where it ended otherwise."""
        command = [str(program()), arguments[0], "-no-color", *arguments[1:]]
        path = f"{self._programs()}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, **_QUIET, "PATH": path}
        # Into files, and what it started ends with it: a provider that outlives it holds a pipe.
        with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as complained:
            with subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdout=told,
                stderr=complained,
                start_new_session=True,
            ) as process:
                try:
                    code = process.wait()
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
            told.seek(0)
            complained.seek(0)
            printed = told.read()
            assert code == expected, f"{' '.join(command)}\n{printed}\n{complained.read()}"
        return printed

    def _programs(self) -> Path:
        """Programs that stand before the machine's: a gcloud that writes down what it is told."""
        gcloud = self.folder / "programs" / "gcloud"
        if not gcloud.exists():
            gcloud.parent.mkdir()
            gcloud.write_text(f'#!/bin/sh\necho "$*" >> "{self.folder}/{GCLOUD}"\n')
            gcloud.chmod(0o755)
        return gcloud.parent

    def planned(self, environment: str, *options: str, name: str = "") -> Values:
        """The plan for an environment's variables, with further options; kept as `name`'s."""
        name = name or environment
        given = [f"-var-file={self.variables.format(environment)}", f"-state={name}.tfstate"]
        self.run("plan", *given, f"-out={name}.tfplan", *options)
        plan: Values = json.loads(self.run("show", "-json", f"{name}.tfplan"))
        return plan

    def told(self, environment: str, *options: str, name: str = "") -> Told:
        """Plan, apply and plan again, with the environment's variables and further options."""
        state = self.folder / f"{name or environment}.tfstate"
        plan = self.planned(environment, *options, name=name)
        given = [f"-var-file={self.variables.format(environment)}", f"-state={state.name}"]
        state.write_text(json.dumps(_named(plan)))
        shutil.rmtree(self.folder / _SHOWN, ignore_errors=True)
        self.run("apply", "-auto-approve", *given, *options)
        passwords = {
            each.name: each.read_text().strip() for each in (self.folder / _SHOWN).glob("*")
        }
        again = self.changes(environment, state.name, *options)
        return Told(plan, json.loads(state.read_text()), again, passwords)

    def changes(self, environment: str, state: str, *options: str) -> str:
        """What a plan says that is to be changed in that state, if anything."""
        given = [f"-var-file={self.variables.format(environment)}", f"-state={state}"]
        plan = self.run("plan", *given, *options)
        return "" if _NOTHING in plan else plan


_NOTHING = "No changes. Your infrastructure matches the configuration."


def _named(plan: Values) -> Values:
    """A state with what Google itself names; the stand-in would give all of them one name."""
    resources = [
        {
            **{key: each[key] for key in ("mode", "type", "name")},
            **_module(each["address"]),
            "provider": 'provider["registry.terraform.io/hashicorp/google"]',
            "instances": [
                {
                    **({"index_key": each["index"]} if "index" in each else {}),
                    "schema_version": 0,
                    "attributes": each["values"]
                    | _names(_project(plan, each["values"]), each["type"], each["values"]),
                }
            ],
        }
        for each in listed(plan["planned_values"]["root_module"])
        if _names(_project(plan, each["values"]), each["type"], each["values"])
    ]
    return {"version": 4, "serial": 1, "lineage": "tests", "outputs": {}, "resources": resources}


def _project(plan: Values, values: Values) -> str:
    """The project that a resource names, or the root's, if it has one."""
    roots = plan["variables"].get("project_id", {"value": ""})
    named: str = values.get("project") or roots["value"]
    return named


def _module(address: str) -> Values:
    """As a state tells which module a resource is in: nothing of the root's."""
    found = re.match(r"((?:module\.[^.]+\.)+)", address)
    return {"module": found[1].rstrip(".")} if found else {}


def _names(project: str, kind: str, values: Values) -> Values:
    match kind:
        case "google_service_account":
            email = f"{values['account_id']}@{project}.iam.gserviceaccount.com"
            name = f"projects/{project}/serviceAccounts/{email}"
            return {"email": email, "member": f"serviceAccount:{email}", "name": name, "id": name}
        case "google_secret_manager_secret":
            name = f"projects/{project}/secrets/{values['secret_id']}"
        case "google_iam_workload_identity_pool":
            pool = values["workload_identity_pool_id"]
            name = f"projects/{project}/locations/global/workloadIdentityPools/{pool}"
        case "google_project_iam_custom_role":
            name = f"projects/{project}/roles/{values['role_id']}"
        case "google_redis_instance":
            told = ("cert", "create_time", "expire_time", "serial_number", "sha1_fingerprint")
            certificates = [dict.fromkeys(told, tls_certificates.Authority().pem) for _ in range(2)]
            name = f"projects/{project}/locations/{values['region']}/instances/{values['name']}"
            reached = {"host": "10.16.0.3", "port": 6378, "auth_string": "its-own"}
            return {"id": name, **reached, "server_ca_certs": certificates}
        case _:
            return {}
    return {"name": name, "id": name}


def bootstrap(folder: Path) -> Root:
    """A copy of `infra/bootstrap`, as `copied` makes one of `infra/terraform`."""
    ignored = shutil.ignore_patterns(".terraform*")
    shutil.copytree(REPOSITORY / "infra" / "bootstrap", folder / "bootstrap", ignore=ignored)
    root = Root(folder / "bootstrap", "bootstrap.tfvars")
    (root.folder / "backend_override.tf").write_text(_LOCAL)
    root.run("init")
    return root


def copied(folder: Path, *, whole: bool = False) -> Root:
    """A copy that is initialised, with its state in a file; if `whole`, with all of the code."""
    for name in _READ:
        left = _CODE if name in {"progress", "sql"} and not whole else ()
        ignored = shutil.ignore_patterns(".terraform*", *left)
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    locked = (REPOSITORY / _LOCKED).read_text(encoding="utf-8")
    (folder / _LOCKED).write_text(locked if whole else locked[:100], encoding="utf-8")
    root = Root(folder / "infra" / "terraform")
    (root.folder / "backend_override.tf").write_text(_LOCAL)
    (root.folder / "shown.tf").write_text(_SHOW)
    root.run("init")
    return root


class Environments(Mapping[str, Told]):
    """Each environment, told once in a run of the tests, by whichever process is first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told: dict[str, Told] = {}

    def __getitem__(self, environment: str) -> Told:
        return self.variant(environment, environment)

    def variant(self, name: str, environment: str, *options: str) -> Told:
        """The environment with further options; `name` stands for them."""
        if name not in self._told:
            self._told[name] = self._once(name, environment, *options)
        return self._told[name]

    def __iter__(self) -> Iterator[str]:
        return iter(ENVIRONMENTS)

    def __len__(self) -> int:
        return len(ENVIRONMENTS)

    def root(self) -> Root:
        """The copy that all share."""
        with self._alone():
            return self._root()

    def planned_after(self, environment: str, change: Callable[[Values], None]) -> str:
        """What a plan would change, were the state this one: nothing, or its words."""
        state: Values = json.loads(json.dumps(self[environment].state))
        change(state)
        root = self.root()
        (root.folder / "changed.tfstate").write_text(json.dumps(state))
        with self._alone():
            return root.changes(environment, "changed.tfstate")

    def _root(self) -> Root:
        folder = self._folder / "repository"
        if (ready := self._folder / "ready").exists():
            return Root(folder / "infra" / "terraform")
        root = copied(folder)
        ready.touch()
        return root

    def _once(self, name: str, environment: str, *options: str) -> Told:
        kept = self._folder / f"{name}.json"
        with self._alone():
            if not kept.exists():
                told = self._root().told(environment, *options, name=name)
                kept.write_text(json.dumps([told.plan, told.state, told.again, told.passwords]))
        return Told(*json.loads(kept.read_text()))

    def _alone(self) -> "_Lock":
        return _Lock(self._folder / "lock")


class _Lock:
    """Held by one process at a time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w")

    def __enter__(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()
