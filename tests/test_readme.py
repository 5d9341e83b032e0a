"""What the README says is so: its paths, its settings and its commands."""

import re
from pathlib import Path

import msgspec
import pytest
import typer.main

from progress import cli
from progress.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

_PATHS = set(re.findall(r"`((?:progress|functions|jobs|sql|tests|data|bench)/[\w./-]+)`", README))


@pytest.mark.parametrize("path", sorted(_PATHS))
def test_the_paths_are_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_settings_are_those_that_are_read() -> None:
    told = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", README))
    read = {field.name.upper() for field in msgspec.structs.fields(Settings)}
    assert told <= read
    # Cloud Run sets the first two; the third has no underscore to be known by.
    assert read - told <= {"CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT", "ENVIRONMENT"}


def test_the_commands_are_those_of_the_program() -> None:
    program = typer.main.get_command(cli.app)
    commands = set(getattr(program, "commands"))  # noqa: B009 - click's group, typed as a command
    section = README.split("## Commands")[1].split("\n## ")[0]
    told = {name.split()[0] for name in re.findall(r"`([a-z][a-z -]+)`", section)}
    assert told - {"progress"} <= commands
    assert commands - told <= {"demo"}


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 120
