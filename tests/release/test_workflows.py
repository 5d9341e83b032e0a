"""The workflows are valid, pin their actions, have few permissions, and name existing files."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.workflows import (
    BIN,
    FILES,
    FOLDER,
    ROOT,
    SIGNS_IN,
    each_file,
    jobs,
    ran,
    read,
    steps,
    texts,
)


def zizmor(what: Path) -> "subprocess.CompletedProcess[str]":
    config = ROOT / ".github/zizmor.yml"
    return ran(BIN / "zizmor", "--offline", "--config", config, "--no-progress", what)


def test_zizmor_accepts_the_workflows() -> None:
    done = zizmor(FOLDER)
    assert done.returncode == 0, done.stdout


def test_zizmor_detects_template_injection(tmp_path: Path) -> None:
    spoilt = (FOLDER / "checks.yaml").read_text()
    spoilt = spoilt.replace("run: make check", "run: echo ${{ github.event.pull_request.title }}")
    file = tmp_path / "checks.yaml"
    file.write_text(spoilt)
    assert "template-injection" in zizmor(file).stdout


def test_each_workflow_matches_the_schema() -> None:
    schema = ("--builtin-schema", "vendor.github-workflows")
    done = ran(BIN / "check-jsonschema", *schema, *FILES)
    assert done.returncode == 0, done.stdout


def test_only_the_documented_workflows_exist() -> None:
    assert {file.stem for file in FILES} == {
        *("beam", "checks", "deliver", "release", "rollback", "plan", "trial"),
    }


@each_file
def test_each_action_is_pinned_by_its_digest_and_names_its_version(file: Path) -> None:
    for line in file.read_text().splitlines():
        if used := re.search(r"uses: (?!\./)(.*)", line):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used[1]), line


def test_each_action_is_used_in_only_one_version() -> None:
    used = {use for file in FILES for use in re.findall(r"uses: ([^.].*)", file.read_text())}
    assert len({use.partition("@")[0] for use in used}) == len(used)


@each_file
def test_jobs_have_only_the_permissions_that_they_need(file: Path) -> None:
    assert read(file)["permissions"] == {}
    for name, job in jobs(file).items():
        signs_in = job.get("uses", "").endswith("/release.yaml") or any(
            step.get("uses", "").startswith(SIGNS_IN) for step in job.get("steps", ())
        )
        least = {"contents": "read"} | ({"id-token": "write"} if signs_in else {})
        assert job["permissions"] == least, name


def test_pull_requests_have_no_access_to_the_cloud() -> None:
    by_request = [file for file in FILES if "pull_request" in read(file)["on"]]
    assert {file.stem for file in by_request} == {"beam", "checks"}
    text = "".join(file.read_text() for file in by_request)
    assert not re.search(r"secrets\.|vars\.|environment:|id-token|google-github-actions", text)
    assert "pull_request_target" not in "".join(file.read_text() for file in FILES)


@each_file
def test_jobs_have_a_timeout_and_do_not_leave_credentials_in_the_checkout(file: Path) -> None:
    for job in jobs(file).values():
        assert "uses" in job or job["timeout-minutes"] <= 360
        for step in job.get("steps", ()):
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False


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


def test_every_terraform_call_names_an_environment() -> None:
    lines = [
        line
        for file in FILES
        for step, _, _ in steps(file)
        for line in step.get("run", "").splitlines()
        if re.search(r"\bterraform (-chdir=\S+ )?(plan|apply)\b", line)
    ]
    assert len(lines) == 4
    assert [line for line in lines if "-var-file=" not in line] == []


@each_file
def test_steps_have_the_variables_that_they_read(file: Path) -> None:
    for step, job, workflow in steps(file):
        variables = {*workflow.get("env", {}), *job.get("env", {}), *step.get("env", {})}
        read_ = set(re.findall(r"\$\{?([A-Z][A-Z_]*)", step.get("run", "")))
        assert {
            variable for variable in read_ if not variable.startswith("GITHUB_")
        } <= variables, step
        assert step.get("env", {}).keys() <= read_ | {"SMOKE_TOKEN", "SMOKE_KEY"}, step


def test_every_lock_file_except_that_of_checkov_is_audited_for_vulnerabilities() -> None:
    (step,) = [
        candidate
        for candidate, _, _ in steps(FOLDER / "checks.yaml")
        if "pip-audit" in str(candidate)
    ]
    audited = set(
        re.findall(r"-r (\S*requirements\S*\.txt)", step["run"].partition("pip-audit")[2])
    )
    tracked = ran("git", "-C", str(ROOT), "ls-files", "*requirements*.txt").stdout.split()
    # checkov reads only this repository and has no cloud access, so its lock file is not audited.
    assert audited == {*tracked} - {"infra/checkov/requirements.txt"}
    assert "--ignore-vuln" not in step["run"]
    for name in audited:
        for package in re.split(r"\n(?=\S)", (ROOT / name).read_text()):
            assert package.startswith(("#", "    #")) or "--hash=sha256:" in package, package


def test_the_scripts_accept_the_arguments_of_the_workflows() -> None:
    for file in FILES:
        for step, _, _ in steps(file):
            match = re.search(r"python3 (\S+\.py)( \w+)?", step.get("run", ""))
            if match:
                result = ran(sys.executable, match[1], *(match[2] or "").split(), "--help")
                assert result.returncode == 0
                for flag in re.findall(r"(--[a-z-]+)", step["run"]):
                    assert flag in result.stdout, (file, flag)
