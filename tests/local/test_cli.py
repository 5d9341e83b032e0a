"""The command `progress`: tokens, imported modules, one-line errors, wrong usage."""

import json
import subprocess
import sys
from pathlib import Path

import jwt
import pytest
from typer.testing import CliRunner

from progress import cli, settings
from tests.local.test_stack import Stack, stack
from tests.support import cli as support_cli
from tests.support import sample_events

__all__ = ["stack"]


def test_the_token_command_prints_only_a_token_for_the_user(stack: Stack) -> None:
    answer = stack.run("token", "--user", "learner-1", "--role", "admin")
    claims = jwt.decode(answer.stdout.strip(), options={"verify_signature": False})
    assert (claims["sub"], claims["roles"]) == ("learner-1", ["admin"])
    teacher = ("token", "--user", "t", "--role", "teacher", "--group", "g1", "--group", "g2")
    claims = jwt.decode(stack.run(*teacher).stdout.strip(), options={"verify_signature": False})
    assert (claims["roles"], claims["groups"]) == (["teacher"], ["g1", "g2"])


def test_the_commands_start_without_importing_the_api() -> None:
    """The API's modules, PyJWT and asyncpg would more than double the start-up time."""
    script = "import sys; from progress import cli; cli.build_app(); print(*sys.modules)"
    output = subprocess.check_output([sys.executable, "-c", script], text=True)
    names = {name.partition(".")[0] for name in output.split()}
    assert {"typer", "pg8000"} <= names
    assert not {"strawberry", "graphql", "jwt", "asyncpg", "valkey", "grpc", "flask"} & names


@pytest.mark.exhaustive
@pytest.mark.parametrize(("module", "commands"), cli.MODULES.items())
def test_a_command_imports_its_own_module_and_at_most_two_others(
    module: str, commands: tuple[str, ...]
) -> None:
    script = (
        "import sys; from progress import cli; import typer.main\n"
        f"program = typer.main.get_command(cli.build_app({commands[0]!r}))\n"
        "print(*program.commands)\n"
        "print(*(name for name in cli.MODULES if f'progress.cli.{name}' in sys.modules))"
    )
    output = subprocess.check_output([sys.executable, "-c", script], text=True).splitlines()
    own, imported = (line.split() for line in output)
    assert own == [*commands]
    assert module in imported
    assert len(imported) <= 3


def test_an_unreachable_database_or_a_full_output_device_gives_a_one_line_error(
    stack: Stack,
) -> None:
    for away in ("postgresql://u:secret@127.0.0.1:1/d", "postgresql:///d?host=/nowhere"):
        failed = support_cli.progress(away, "status", PROGRESS_DATA_DIR=str(stack.folder))
        support_cli.expect_failure(failed, "no connection to ", "check that the service is running")
    if Path("/dev/full").exists():
        environment = settings.child_env(PROGRESS_DATA_DIR=str(stack.folder))
        full = [sys.executable, "-m", "progress.cli", "token", "--user", "u"]
        with Path("/dev/full").open("w") as disk:
            ran = subprocess.run(
                full, env=environment, stdout=disk, stderr=subprocess.PIPE, text=True, check=False
            )
        assert (ran.returncode, ran.stderr.count("\n")) == (1, 1), ran.stderr


def test_an_interrupt_during_the_imports_ends_the_command_without_a_traceback() -> None:
    script = """
import sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
from progress.__main__ import main
main()
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


def test_the_version_and_the_shell_completion_are_available() -> None:
    version = CliRunner().invoke(cli.build_app(), ["--version"])
    assert (version.exit_code, version.output) == (0, "progress 0.1.0\n")
    assert "--install-completion" in CliRunner().invoke(cli.build_app(), ["--help"]).output


@pytest.mark.parametrize(
    "arguments",
    [
        *[("nothing",), ("publish",), ("up", "--port", "0"), ("token",), ("events", "--x")],
        *[("token", "--user", ""), ("token", "--user", "u", "--role", "king")],
        *[("token", "--user", "u", *role, "--group", "g") for role in ((), ("--role", "admin"))],
        ("token", "--user", "u", "--role", "teacher", *("--group", "g") * 51),
        *[("events", "--since", since) for since in ("soon", "999999d", "9" * 30 + "s")],
        *[("demo", "--anki", "f", "--as-recorded")],
        *[("demo", "--user", "u"), ("import",)],
        *[("import", "anki", "f", "--language", "e"), ("import", "anki", "f", "--user", "")],
    ],
)
def test_wrong_usage_gives_exit_code_2(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(cli.build_app(), arguments).exit_code == 2


def test_the_events_command_suggests_the_declared_type_that_is_similar_to_an_unknown_type() -> None:
    arguments = ["events", "--json", "--type", "Sessionstarted"]
    unreachable = {"DATABASE_URL": "postgresql:///d?host=/nowhere"}
    answer = CliRunner().invoke(cli.build_app(), arguments, env=unreachable)
    assert "(did you mean SessionStarted?)" in answer.output


def test_publish_uses_google_cloud_if_the_settings_name_a_project_and_no_emulator(
    tmp_path: Path,
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps(sample_events.user_deleted("ann")), encoding="utf-8")
    answer = support_cli.progress(
        "",
        "publish",
        str(file),
        PUBSUB_PROJECT_ID="a-project",
        GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "none.json"),
    )
    assert answer.returncode == 1
    assert "Pub/Sub at Google Cloud does not accept messages: no credentials" in answer.stderr
