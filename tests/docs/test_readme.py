"""README.md and docs/settings.md name the commands and settings of the code, and no others."""

import re
from pathlib import Path

import msgspec
import typer.main

from progress import cli
from progress.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs/settings.md").read_text(encoding="utf-8")


def test_the_documented_settings_exist_in_the_code() -> None:
    documented = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", README + SETTINGS))
    read = {field.name.upper() for field in msgspec.structs.fields(Settings)}
    assert documented <= read
    # Cloud Run's own variables need no documentation. ENVIRONMENT is documented, but the pattern
    # finds only names with an underscore.
    names = ("JOB", "EXECUTION", "TASK_INDEX", "TASK_COUNT", "TASK_ATTEMPT")
    of_cloud_run = {f"CLOUD_RUN_{name}" for name in names}
    assert read - documented <= {*of_cloud_run, "ENVIRONMENT"}


def test_the_documented_commands_exist_in_the_program() -> None:
    program = typer.main.get_command(cli.build_app())
    # The program is a group of commands, but its declared type has no attribute `commands`.
    commands = set(getattr(program, "commands"))  # noqa: B009
    section = README.split("## Commands")[1].split("\n## ")[0]
    documented = {name.split()[0] for name in re.findall(r"`([a-z][a-z -]+)`", section)}
    assert documented - {"progress"} <= commands
    assert commands - documented <= {"demo"}


def test_the_pages_that_a_newcomer_reads_first_are_short() -> None:
    assert len(README.splitlines()) < 140
    architecture = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert len(architecture.splitlines()) <= 150
