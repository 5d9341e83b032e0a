"""The workflows of .github: their syntax, rights, variables and releases."""

import importlib.metadata
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import exit_status
import package
import pytest
import yaml

from progress import __version__
from tests.conftest import skip_without
from tests.support import gcloud_syntax, programs

ROOT = Path(__file__).resolve().parents[2]


FOLDER = ROOT / ".github/workflows"


FILES = sorted(FOLDER.glob("*.yaml"))


BIN = Path(sys.executable).parent


SIGNS_IN = "google-github-actions/auth"


# The jobs of publish.yaml that sign what they make, with their other rights.
SIGNING = {
    "package": {"attestations": "write"},
    "image": {"attestations": "write", "packages": "write"},
    "npm": {},
}


Node = dict[str, Any]


each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def read(file: Path) -> Node:
    """Return the workflow; restore its key `on`, which YAML parses as true."""
    workflow: dict[Any, Any] = yaml.safe_load(file.read_text())
    return {"on": workflow.pop(True), **workflow}


def jobs(file: Path) -> dict[str, Node]:
    jobs_by_name: dict[str, Node] = read(file)["jobs"]
    return jobs_by_name


def steps(file: Path) -> Iterator[tuple[Node, Node, Node]]:
    workflow = read(file)
    for job in workflow["jobs"].values():
        for step in job.get("steps", ()):
            yield step, job, workflow


def texts(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        node = [*node.values()]
    if isinstance(node, list):
        for child in node:
            yield from texts(child)
    elif isinstance(node, str):
        yield node


def run_step(folder: Path, step: Node, program: str, script: str, **environment: str) -> Any:
    """Run a step of a workflow with a fake program; GITHUB_OUTPUT is the file `output`."""
    (folder / program).write_text(f"#!/bin/bash\n{script}")
    (folder / program).chmod(0o755)
    environment |= {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "GITHUB_OUTPUT": str(folder / "output"),
    }
    return programs.try_run(["bash", "-e", "-c", step["run"]], environment, folder=folder)


def test_zizmor_accepts_the_workflows() -> None:
    options = ("--offline", "--config", ROOT / ".github/zizmor.yml", "--no-progress")
    programs.run([BIN / "zizmor", *options, FOLDER])


def test_each_workflow_matches_the_schema() -> None:
    schema = ("--builtin-schema", "vendor.github-workflows")
    programs.run([BIN / "check-jsonschema", *schema, *FILES])


@each_file
def test_jobs_have_only_the_permissions_that_they_need(file: Path) -> None:
    assert read(file)["permissions"] == {}
    for name, job in jobs(file).items():
        signs_in = job.get("uses", "").endswith(("/release.yaml", "/plan.yaml")) or any(
            step.get("uses", "").startswith(SIGNS_IN) for step in job.get("steps", ())
        )
        least = {"contents": "read"} | ({"id-token": "write"} if signs_in else {})
        if file.stem == "publish" and name in SIGNING:
            least = {**SIGNING[name], "contents": "read", "id-token": "write"}
        if file.stem == "publish" and name == "release":
            least = {"contents": "write"}
        if name == "approvals":  # reads the rules of the environments
            least = {"actions": "read"}
        assert job["permissions"] == least, name


def test_pull_requests_have_no_access_to_the_cloud() -> None:
    by_request = [file for file in FILES if "pull_request" in read(file)["on"]]
    assert {file.stem for file in by_request} == {"checks", "containers"}
    text = "".join(file.read_text() for file in by_request)
    assert not re.search(r"secrets\.|vars\.|environment:|id-token|google-github-actions", text)
    assert "pull_request_target" not in "".join(file.read_text() for file in FILES)


def test_a_called_workflow_inherits_the_secrets_that_it_reads() -> None:
    """By default a called workflow gets no secrets, not even those of the job's environment."""
    for file in FILES:
        for name, job in jobs(file).items():
            if called := job.get("uses"):
                reads = "secrets." in (ROOT / called).read_text()
                assert job.get("secrets") == ("inherit" if reads else None), name


def test_the_checks_workflow_requires_the_programs_of_the_ci_script() -> None:
    (wanted,) = re.findall(r"^required=\((.*)\)", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    required = re.findall(r"--require ([\w-]+)", (FOLDER / "checks.yaml").read_text())
    assert {*wanted.split()} <= {*required}


def test_once_a_week_the_tests_run_with_the_clock_a_year_ahead_on_a_sunday(tmp_path: Path) -> None:
    (step,) = [
        step
        for step, _, _ in steps(FOLDER / "checks.yaml")
        if step.get("if") == "github.event_name == 'schedule'"
    ]
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    done = run_step(tmp_path, step, "make", "date +%s")
    ahead = timedelta(seconds=int(done.stdout) - time.time())
    assert abs(ahead - timedelta(days=365)) < timedelta(minutes=5)
    (start,) = read(FOLDER / "checks.yaml")["on"]["schedule"]
    assert start["cron"].endswith(" * * 6")


@each_file
def test_workflows_name_existing_files_tools_and_make_targets(file: Path) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for step, _, _ in steps(file):
        folder = ROOT / step.get("working-directory", ".")
        assert folder.is_dir()
        for line in step.get("run", "").splitlines():
            for path in re.findall(
                r"(?<![\w/.])((?:\.github|infra|tests|environments)/[^\s\"']+)", line
            ):
                for name in ("dev", "staging", "prod"):
                    assert list(folder.glob(path.replace("$NAME", name))), path
            for tool in re.findall(r"\.venv/bin/(\S+)", line):
                assert (BIN / tool).exists(), tool
            assert set(re.findall(r"\bmake (\w+)", line)) <= set(targets)
    for text in texts(read(file)):
        if text.startswith("./"):
            assert (ROOT / text).is_file()


@each_file
def test_steps_have_the_variables_that_they_read(file: Path) -> None:
    for step, job, workflow in steps(file):
        variables = {*workflow.get("env", {}), *job.get("env", {}), *step.get("env", {})}
        read_ = set(re.findall(r"\$\{?([A-Z][A-Z_]*)", step.get("run", "")))
        assert {name for name in read_ if not name.startswith("GITHUB_")} <= variables, step
        of_programs = {"SMOKE_TOKEN", "SMOKE_KEY", "GH_TOKEN", "GITHUB_TOKEN"}
        assert step.get("env", {}).keys() <= read_ | of_programs, step


def test_every_lock_file_except_that_of_checkov_is_audited_for_vulnerabilities() -> None:
    (step,) = [
        candidate
        for candidate, _, _ in steps(FOLDER / "checks.yaml")
        if "pip-audit" in str(candidate)
    ]
    audited = set(
        re.findall(r"-r (\S*requirements\S*\.txt)", step["run"].partition("pip-audit")[2])
    )
    tracked = programs.run(["git", "-C", ROOT, "ls-files", "*requirements*.txt"]).split()
    # checkov reads only this repository and has no cloud access, so its lock file is not audited.
    assert audited == {*tracked} - {"infra/checkov/requirements.txt"}
    assert "--ignore-vuln" not in step["run"]
    for name in audited:
        for entry in re.split(r"\n(?=\S)", (ROOT / name).read_text()):
            assert entry.startswith(("#", "    #")) or "--hash=sha256:" in entry, entry


@pytest.mark.exhaustive
def test_the_scripts_accept_the_arguments_of_the_workflows() -> None:
    for file in FILES:
        for step, _, _ in steps(file):
            match = re.search(r"python3 (\S+\.py)( \w+)?", step.get("run", ""))
            if match:
                command = [sys.executable, ROOT / match[1], *(match[2] or "").split(), "--help"]
                text = programs.run(command)
                for flag in re.findall(r"(--[a-z-]+)", step["run"]):
                    assert flag in text, (file, flag)


def test_workflows_use_only_the_service_accounts_that_bootstrap_allows() -> None:
    text = (ROOT / "infra/bootstrap/federation.tf").read_text(encoding="utf-8")
    lines = re.findall(r'"([\w-]+)" += (\["[^]]*"\])', text)
    allowed = {
        (account, file) for account, files in lines for file in re.findall(r'"(.+?)"', files)
    }
    allowed |= set(re.findall(r'"images ([\w-]+) ([\w.]+)"', text))
    signed_in = {
        (step["with"]["service_account"].partition("@")[0], file.name)
        for file in FILES
        for step, _, _ in steps(file)
        if step.get("uses", "").startswith(SIGNS_IN)
    }
    assert signed_in == allowed


# Production has reviewers, dev has none, and staging does not exist.
_GH = """case "$2" in
*/production) echo '{}';;
*/dev) ;;
*) echo '{"message": "Not Found"}'; exit 1;;
esac
"""


@pytest.mark.parametrize(("name", "code"), [("production", 0), ("dev", 1), ("staging", 1)])
def test_a_delivery_stops_before_an_environment_without_reviewers(
    tmp_path: Path, name: str, code: int
) -> None:
    (step,) = jobs(FOLDER / "deliver.yaml")["approvals"]["steps"]
    assert step["if"] == "vars.RELEASE_WITHOUT_APPROVAL != 'true'"
    (place,) = re.findall(r"\$\{STAGING:\+(\w+)\}", step["run"])
    replaced = {"run": step["run"].replace(f":+{place}", f":+{name}")}
    values = {"GITHUB_REPOSITORY": "ours/progress", "STAGING": "true"}
    done = run_step(tmp_path, replaced, "gh", _GH, **values)
    assert done.returncode == code
    assert (f"::error::Nobody would approve a release to {name} " in done.stdout) == bool(code)


def deliver(environments: Iterable[str], failed: str | None = None) -> dict[str, str]:
    """Return the result of each job of a delivery, as the conditions of deliver.yaml give it.

    As at GitHub, a condition without a status function means `success()` besides, and a status
    function looks at all jobs before this one.
    """
    results: dict[str, str] = {}
    before: dict[str, set[str]] = {}
    for name, job in jobs(FOLDER / "deliver.yaml").items():  # in the order of their needs
        needs = {*([job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", ()))}
        before[name] = needs.union(*(before[need] for need in needs))
        earlier = {results[other] for other in before[name]}
        text = job.get("if", "success()").strip("${} ")
        if not re.search(r"\b(success|failure|cancelled|always)\(\)", text):
            text = f"success() && ({text})"
        text = re.sub(r"contains\(fromJSON\(vars\.ENVIRONMENTS \|\| '\[\]'\), ", "listed(", text)
        text = re.sub(r"needs\.([\w-]+)\.result", r"results['\1']", text)
        assert {*re.findall(r"results\['([\w-]+)'\]", text)} <= needs
        for sign, word in (("&&", " and "), ("||", " or "), ("!", " not ")):
            text = text.replace(sign, word)
        names = {
            "success": partial(set.issubset, earlier, {"success"}),
            "failure": partial(set.__contains__, earlier, "failure"),
            "cancelled": bool,
            "listed": {"images", *environments}.__contains__,
            "results": results,
        }
        runs = eval(text.strip(), {"__builtins__": {}}, names)  # noqa: S307 - this file's own text
        results[name] = ("failure" if name == failed else "success") if runs else "skipped"
    return results


_DELIVERED = ("dev", "staging", "production")


@pytest.mark.parametrize("failed", [None, "checks", "build", "approvals", *_DELIVERED])
@pytest.mark.parametrize(
    "chosen", [s for n in (1, 2, 3) for s in itertools.combinations(_DELIVERED, n)], ids="-".join
)
def test_a_delivery_reaches_each_environment_that_exists_until_something_fails(
    chosen: tuple[str, ...], failed: str | None
) -> None:
    order = ["checks", "build"]
    for name in chosen:
        order += [] if name == "dev" or "approvals" in order else ["approvals"]
        order += ["production-plan", name] if name == "production" else [name]
    if failed in order:
        order = order[: order.index(failed) + 1]
    results = deliver(chosen, failed)
    assert [name for name in results if results[name] != "skipped"] == order


def test_a_delivery_builds_one_image_and_releases_its_digest(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (step,) = [s for s in jobs(FOLDER / "deliver.yaml")["build"]["steps"] if s.get("id") == "build"]
    fake = "printf '%s\\n' \"$@\" > asked; echo sha256:abc"
    values = {"REGION": "europe-west1", "PROJECT_ID": "ours", "GITHUB_SHA": "c0ffee"}
    assert run_step(tmp_path, step, "gcloud", fake, **values).returncode == 0
    name = "europe-west1-docker.pkg.dev/ours/progress/progress"
    assert (tmp_path / "output").read_text() == f"image={name}@sha256:abc\n"
    asked = (tmp_path / "asked").read_text().splitlines()
    assert f"--substitutions=_REGION=europe-west1,_IMAGE={name}:c0ffee" in asked
    sdk = gcloud_syntax.find_sdk() or skip_without(request, "gcloud")
    assert gcloud_syntax.find_rejected(sdk, tmp_path, [asked]) == []


@pytest.mark.parametrize(
    ("event", "changes", "expected"),
    [("push", True, 0), ("push", False, 0), ("schedule", True, 2), ("schedule", False, 0)],
)
def test_a_plan_is_in_the_summary_and_fails_only_if_it_is_a_check_for_drift(
    tmp_path: Path, event: str, changes: bool, expected: int
) -> None:
    (step,) = [step for step, _, _ in steps(FOLDER / "plan.yaml") if step.get("name") == "Plan"]
    assert step["env"]["DRIFT"] == "${{ github.event_name != 'push' || '' }}"
    fake = (
        '[ "$1" = plan ] || exit 0\necho "Plan: a change"\n'
        f'[[ "$*" == *" -detailed-exitcode "* ]] && exit {2 * changes}\nexit 0\n'
    )
    summary = tmp_path / "summary"
    drift = "" if event == "push" else "true"
    values = {"NAME": "prod", "SMOKE_KEY": "", "GITHUB_STEP_SUMMARY": str(summary)}
    done = run_step(tmp_path, step, "terraform", fake, DRIFT=drift, **values)
    assert (done.returncode, done.stdout) == (expected, "Plan: a change\n")
    assert summary.read_text() == "### prod\n```\nPlan: a change\n```\n"


def test_the_workflows_use_the_environments_that_terraform_trusts() -> None:
    text = (ROOT / "infra/bootstrap/federation.tf").read_text(encoding="utf-8")
    (names,) = re.findall(r"github_environments = \{(.*)\}", text)
    files = (ROOT / "infra/terraform/environments").glob("*.tfvars")
    assert dict(re.findall(r'(\w+) = "(\w+)"', names)) == {
        **{file.stem: file.stem for file in files},
        "prod": "production",
        "images": "images",
    }
    for stem in ("rollback", "plan"):
        choice = read(FOLDER / f"{stem}.yaml")["on"]["workflow_dispatch"]["inputs"]["environment"]
        assert choice["options"] == ["dev", "staging", "production"]


def test_workflows_that_sign_in_are_triggered_only_by_events_that_terraform_allows() -> None:
    federation = (ROOT / "infra/bootstrap/federation.tf").read_text()
    (events,) = re.findall(r"assertion\.event_name in \[(.*?)\]", federation)
    signing_in = [file for file in FILES if "id-token: write" in file.read_text()]
    started = {event for file in signing_in for event in read(file)["on"]} - {"workflow_call"}
    assert started == set(re.findall(r"\w+", events))


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the steps of publish.yaml have made the files of this version."""
    folder = tmp_path_factory.mktemp("published")
    (folder / ".venv").symlink_to(BIN.parent)
    (folder / "infra").symlink_to(ROOT / "infra")
    for job in ("package", "release"):
        done = run_steps(folder, job, f"v{__version__}")
        assert done.returncode == 0, done.stderr
    return folder


def run_steps(folder: Path, job: str, tag: str) -> Any:
    """Run the commands of a job of publish.yaml that make or publish the wheel."""
    found = [step.get("run", "make ") for step in jobs(FOLDER / "publish.yaml")[job]["steps"]]
    (command,) = [command for command in found if not re.match(r"make |npm |\S+ \.ci/", command)]
    environment = {
        "GITHUB_REF_NAME": tag,
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_REPOSITORY": "ours/progress",
        "IMAGE": "ghcr.io/ours/progress@sha256:0",
        "GH_TOKEN": "",
    }
    fake = "printf '%s\\n' \"$@\" > asked\n"
    return run_step(folder, {"run": command}, "gh", fake, **environment)


@pytest.mark.exhaustive
def test_a_release_has_the_wheel_the_bill_of_materials_and_the_notes(packaged: Path) -> None:
    asked = (packaged / "asked").read_text(encoding="utf-8").splitlines()
    wheel = f"dist/learner_progress-{__version__}-py3-none-any.whl"
    assert asked[2] == asked[asked.index("--title") + 1] == f"v{__version__}"
    assert asked[-3:] == [wheel, "dist/*.tgz", "dist/bill.cdx.json"]  # no client is packed here
    notes = (packaged / asked[asked.index("--notes-file") + 1]).read_text(encoding="utf-8")
    assert notes.endswith("\nThe image: `ghcr.io/ours/progress@sha256:0`\n")
    links = re.findall(r"\]\((.*?)\)", notes)
    for link in links:
        address = f"https://github.example/ours/progress/blob/v{__version__}/"
        assert link.startswith(address)
        assert (ROOT / link.removeprefix(address).partition("#")[0]).is_file()
    (newest, *_) = re.findall(r"^## (\d\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest == __version__


def test_notes_are_a_section_of_the_changelog_whose_lines_github_would_break() -> None:
    changes = "# Changelog\n\n## Unreleased\n\n- z\n\n## 1.1.0 (2026-01-02)\n\n**New**:\n\n"
    changes += (
        "- one\n  line ([a](docs/a.md#b))\n- [b](https://b.example)\n\nEnd\nhere.\n\n## 1.0.0\n"
    )
    assert package.make_notes(changes, "1.1.0", "https://x/blob/v1.1.0") == (
        "**New**:\n\n- one line ([a](https://x/blob/v1.1.0/docs/a.md#b))\n"
        "- [b](https://b.example)\n\nEnd here.\n"
    )
    for version in ("1.0.0", "1.1", "2.0.0"):
        with pytest.raises(exit_status.Failed, match=f"a section {version} with text"):
            package.make_notes(changes, version, "")


def test_the_bill_of_materials_lists_the_packages_that_the_image_installs(packaged: Path) -> None:
    bill = json.loads((packaged / "dist/bill.cdx.json").read_text(encoding="utf-8"))
    listed = {part["name"] for part in bill["components"]}
    required = importlib.metadata.requires("learner-progress") or []
    names = {re.split(r"[\[;= ]", line)[0] for line in required if "extra ==" not in line}
    assert names <= listed
    assert {part["purl"] for part in bill["components"]} == {
        f"pkg:pypi/{part['name']}@{part['version']}" for part in bill["components"]
    }
    assert bill["metadata"]["component"]["version"] == __version__
    assert bill["serialNumber"].startswith("urn:uuid:")  # actions/attest requires it


@pytest.mark.exhaustive
def test_a_tag_of_another_version_is_not_published(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(BIN.parent)
    (tmp_path / "infra").symlink_to(ROOT / "infra")
    done = run_steps(tmp_path, "package", "v0.0.1")
    assert (done.returncode, done.stderr) == (
        1,
        f"package: found the tag v0.0.1, but progress/__init__.py has the version {__version__}\n",
    )
