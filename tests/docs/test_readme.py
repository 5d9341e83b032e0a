"""What the README says is so: its paths, its settings' table and its commands."""

import re
from pathlib import Path

import msgspec
import pytest
import typer.main

from progress import cli
from progress.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs/settings.md").read_text(encoding="utf-8")

_ROOMS = "progress|functions|jobs|sql|tests|data|bench|infra|docs"
_PATHS = set(re.findall(rf"`((?:{_ROOMS})/[\w./-]+)`", README))

# Every document, with what it points to in the repository.
_LINKS = [
    (page, link)
    for page in sorted({ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("infra/**/*.md")})
    for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("path", sorted(_PATHS))
def test_the_paths_are_there(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(
    ("page", "link"), _LINKS, ids=lambda part: str(part).removeprefix(f"{ROOT}/")
)
def test_what_is_pointed_to_is_there(page: Path, link: str) -> None:
    assert (page.parent / link).exists()


def test_the_settings_are_those_that_are_read() -> None:
    told = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", README + SETTINGS))
    read = {field.name.upper() for field in msgspec.structs.fields(Settings)}
    assert told <= read
    # Cloud Run sets its own; the other has no underscore to be known by.
    names = ("JOB", "EXECUTION", "TASK_INDEX", "TASK_COUNT", "TASK_ATTEMPT")
    of_cloud_run = {f"CLOUD_RUN_{each}" for each in names}
    assert read - told <= {*of_cloud_run, "ENVIRONMENT"}


def test_the_commands_are_those_of_the_program() -> None:
    program = typer.main.get_command(cli.app)
    commands = set(getattr(program, "commands"))  # noqa: B009 - click's group, typed as a command
    section = README.split("## Commands")[1].split("\n## ")[0]
    told = {name.split()[0] for name in re.findall(r"`([a-z][a-z -]+)`", section)}
    assert told - {"progress"} <= commands
    assert commands - told <= {"demo"}


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 120
