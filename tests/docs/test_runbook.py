"""The runbook names existing commands and options, and its scripts work."""

import re
import runpy
import shlex
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main

from progress import cli
from tests.conftest import skip_without
from tests.support import cloud_scheduler, runbooks
from tests.support.runbooks import ROOT, Shell

COMMANDS = runbooks.commands()
INGEST = "learning-events-ingest-sub"
_OUTPUT = "output of execution ours\nlast line of ours\n"


def of(program: str) -> list[str]:
    found = [line for line in COMMANDS if line.startswith(f"{program} ")]
    assert found
    return found


def test_each_progress_command_in_the_runbook_exists_with_its_options() -> None:
    program: Any = typer.main.get_command(cli.build_app())
    values = {"NUMBER": "7", "OPERATION": "00000000-0000-0000-0000-000000000000"}
    for line in {*of("progress"), *re.findall(r"`(progress [^`]+)`", runbooks.TEXT)}:
        command, (_, *words) = program, shlex.split(line)
        while isinstance(command, click.Group) or hasattr(command, "commands"):
            if command.name == "archive" and not words:  # `archive` also runs without a subcommand
                break
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        try:
            command.make_context("progress", [values.get(word, word) for word in words])
        except Exception as error:
            raise AssertionError(line) from error


def script_commands() -> list[str]:
    text = "".join(script.read_text() for script in sorted((ROOT / "infra/recovery").iterdir()))
    return re.findall(r"\bgcloud [^\n|]+", text.replace("\\\n", " "))


def test_each_gcloud_command_in_the_runbook_exists_with_its_options(
    request: pytest.FixtureRequest,
) -> None:
    """The tree of gcloud's commands is that of gcloud's completion data."""
    program = shutil.which("gcloud") or skip_without(request, "gcloud")
    folder = Path(program).resolve().parent.parent / "data/cli"
    found = runpy.run_path(str(folder / "gcloud_completions.py"))
    tree: dict[str, Any] = found["STATIC_COMPLETION_CLI_TREE"]
    general = {*tree["flags"], "--format", "--filter", "--project"}
    for line in {*of("gcloud"), *script_commands()}:
        at, text = tree, re.sub(r"'[^']*'|\"[^\"]*\"", "x", line)
        _, *words = re.findall(r"--[\w-]+|[\w-]+", text)
        while words and words[0] in at["commands"]:
            at = at["commands"][words.pop(0)]
        assert not at["commands"], f"{line}: incomplete command"
        flags = {word for word in words if word.startswith("--")}
        known = {*at["flags"], *general}
        assert {flag if flag in known else f"--{flag[5:]}" for flag in flags} <= known, (
            line
        )  # or --no-…


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """The operator's shell, in which fakes replace Google Cloud."""
    with cloud_scheduler.serve() as (address, _):
        environment = {"CLOUD_SCHEDULER_EMULATOR_HOST": address, "PROJECT": "p"}
        made = Shell(tmp_path / "clone", [], environment)
        made.subscribe(INGEST, "user-events-ingest-sub", "progress-projection-sub")
        yield made


def test_resumed_pushes_have_the_endpoints_from_before_the_hold(shell: Shell) -> None:
    before = shell.gcloud["subscriptions"]
    for _ in range(2):  # the second hold keeps the saved endpoints
        shell.type("infra/recovery/pushes hold")
        assert {subscription[1] for subscription in shell.gcloud["subscriptions"]} == {""}
    # The endpoints are saved for project p; project q has no saved endpoints.
    elsewhere = shell.run("infra/recovery/pushes hold", PROJECT="q")
    assert elsewhere.returncode == 1
    assert "q has no active push subscription" in elsewhere.stderr
    shell.type("infra/recovery/pushes resume")
    assert shell.gcloud["subscriptions"] == before
    assert shell.run("infra/recovery/pushes resume").returncode != 0  # no pushes are held
    assert shell.run("infra/recovery/pushes").returncode == 2


def list_seeks(shell: Shell) -> list[list[str]]:
    return [words[3:] for words in shell.gcloud["told"] if "seek" in words]


def test_replay_seeks_the_subscriptions_of_ingest(shell: Shell) -> None:
    shell.type("infra/recovery/replay 2026-11-20T01:00:00Z")
    assert list_seeks(shell) == [
        [INGEST, "--time=2026-11-20T01:00:00Z"],
        ["user-events-ingest-sub", "--time=2026-11-20T01:00:00Z"],
    ]
    for wrong in ("", "yesterday", "2026-11-20T01:00:00Z 2026-11-20T01:00:00Z"):
        assert shell.run(f"infra/recovery/replay {wrong}").returncode == 2


def test_replay_keeps_undelivered_messages_that_are_older_than_the_given_time(shell: Shell) -> None:
    waits = datetime(2026, 11, 19, 22, tzinfo=UTC)
    shell.waits, shell.old = {INGEST: waits.timestamp()}, ["user-events-ingest-sub"]
    shell.subscribe(INGEST, "user-events-ingest-sub")
    shell.type(f"infra/recovery/replay {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    (_, first), (_, second) = list_seeks(shell)
    assert first == "--time=2026-11-19T21:50:00Z"
    back = datetime.fromisoformat(second.removeprefix("--time="))
    assert back < datetime.now(UTC) - timedelta(days=7)


@pytest.mark.parametrize("script", ["pushes hold", "pushes resume", "replay 2026-11-20T01:00:00Z"])
def test_no_script_uses_the_default_project_of_gcloud(shell: Shell, script: str) -> None:
    done = shell.run(f"unset PROJECT; infra/recovery/{script}")
    assert done.returncode == 1
    assert "infra/recovery/cloud.sh" in done.stderr
    wrong = shell.run(". infra/recovery/cloud.sh production; code=$?; env; exit $code")
    assert wrong.returncode == 1
    assert "dev.tfvars prod.tfvars staging.tfvars" in wrong.stderr
    assert "PROJECT=" not in wrong.stdout
    assert not shell.gcloud["told"]


def test_a_command_runs_in_the_release_job_and_prints_its_output(shell: Shell) -> None:
    begin = ". infra/recovery/cloud.sh prod; sleep() { :; }"
    output = shell.type(f"{begin}; progress dead-letters discard --all --reason 'of no, use'")
    # The job's log also has lines of another execution (a release). These lines are not printed.
    assert output == _OUTPUT
    (executed,) = (words for words in shell.gcloud["told"] if words[2:3] == ["execute"])
    assert executed[2:5] == ["execute", "progress-release", "--async"]
    assert executed[5] == "--args=^|^dead-letters|discard|--all|--reason|of no, use"
    # With the default of 80 columns, tables would be wrapped.
    assert executed[6] == "--update-env-vars=COLUMNS=200"
    failed = shell.run(f"{begin}; progress check", GCLOUD_JOB_FAILS="1")
    assert failed.returncode == 1
    assert failed.stdout == _OUTPUT


def test_a_rebuild_from_the_archive_and_a_dump_run_in_jobs_of_their_own(shell: Shell) -> None:
    """`progress doctor` advises a dump, in the job `release`, which may only read the bucket."""
    begin = ". infra/recovery/cloud.sh prod; sleep() { :; }; progress rebuild --from-archive"
    assert shell.type(f"{begin} --workers 4") == _OUTPUT
    failed = shell.run(f"{begin} --workers=2", GCLOUD_JOB_FAILS="1")
    assert failed.returncode == 1
    dump = ". infra/recovery/cloud.sh dev; sleep() { :; }; progress dump"
    assert shell.type(dump) == _OUTPUT
    executed = [words[3:] for words in shell.gcloud["told"] if words[2:3] == ["execute"]]
    assert [words[:3] for words in executed] == [
        ["progress-rebuild", "--async", "--args=^|^rebuild|--from-archive|--workers|4"],
        ["progress-rebuild", "--async", "--args=^|^rebuild|--from-archive|--workers=2"],
        ["progress-backup", "--async", "--args=^|^dump"],
    ]


def test_a_rebuild_by_beam_runs_in_the_clone_because_the_image_has_no_beam(shell: Shell) -> None:
    command = 'progress rebuild --from-archive --engine beam -- --project="$PROJECT"'
    done = shell.run(f". infra/recovery/cloud.sh prod; {command}")
    assert "or set DATABASE_URL" in done.stderr
    assert not shell.gcloud["told"]


def test_a_schedule_is_paused_in_the_project_of_the_environment(shell: Shell) -> None:
    begin = ". infra/recovery/cloud.sh prod; PROJECT=p"
    assert "is paused." in shell.type(f"{begin}; progress schedule pause progress-batch")
    assert "PAUSED" in shell.type(f"{begin}; progress schedule list")
    assert not [words for words in shell.gcloud["told"] if words[:2] == ["run", "jobs"]]
    output = shell.type(
        ". infra/recovery/cloud.sh prod; echo $PROJECT $REGION $CLOUDSDK_CORE_PROJECT"
    )
    named = re.findall(
        r'^project_id *= *"(.+)"',
        (ROOT / "infra/terraform/environments/prod.tfvars").read_text(),
        re.MULTILINE,
    )
    assert output.split() == [*named, "europe-west1", *named]
