"""CONTRIBUTING.md lists what is public, completely; the other files for contributors exist."""

import pkgutil
import re
import subprocess
import tomllib
from pathlib import Path

import msgspec
import pytest
import typer.main
import yaml

from progress import cli
from progress.archive import manifests
from progress.event_store import events
from progress.settings import Settings

ROOT = Path(__file__).parents[2]
_RECIPES, _SECTION = (
    (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## What is public")
)
# Each kind of public names, with the text of its item in the list.
PUBLIC = dict(re.findall(r"^- \*\*(.+?)\*\*: ((?:.+\n)+?)(?=- |\n)", _SECTION, re.MULTILINE))


def read_names(kind: str) -> set[str]:
    """Return the names in an item's first sentence; what follows describes them."""
    return set(re.findall(r"`([^`]+)`", PUBLIC[kind].split(", with ")[0].split(". [")[0]))


def test_the_public_events_are_the_declared_ones() -> None:
    assert read_names("Events") == events.CATALOGUE.keys()


def test_the_public_environment_variables_are_the_settings() -> None:
    names = {field.name.upper() for field in msgspec.structs.fields(Settings)}
    private = {name for name in names if name.startswith("CLOUD_RUN_")} | {
        name for name in names if name.endswith("_EMULATOR_HOST")
    }
    assert read_names("Environment variables") == names - private | {"PUBSUB_EMULATOR_HOST"}


def test_the_public_commands_are_those_of_the_program() -> None:
    program = typer.main.get_command(cli.build_app())
    # The program is a group of commands, but its declared type has no attribute `commands`.
    assert read_names("Commands") == set(getattr(program, "commands"))  # noqa: B009


def test_the_public_files_exist() -> None:
    assert set(PUBLIC) == {
        "GraphQL",
        "Events",
        "Environment variables",
        "Commands",
        "Views",
        "Archive files",
        "Python",
    }
    assert all(pkgutil.resolve_name(name) for name in read_names("Python"))
    assert read_names("Archive files") == {manifests.NAME, manifests.FOLDER}
    for path in re.findall(r"`((?:tests|schemas)/[^`]+)`", _SECTION):
        assert (ROOT / path).exists(), path


def test_the_license_is_the_one_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license"] == "Apache-2.0"
    assert project["license-files"] == ["LICENSE"]
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text


def test_every_file_with_another_license_is_listed() -> None:
    """Licences and data of others are in the folders that THIRD_PARTY.md names."""
    listed = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    names = subprocess.run(
        ["git", "ls-files", "data/*.csv", "*LICENSE*", "*.min.*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    folders = {str(Path(name).parent) for name in names} - {"."}
    assert folders == {"data", "progress/query/graphiql", "tests/event_store/asyncapi"}
    for folder in folders:
        assert f"`{folder}/" in listed
    for name in names:
        if name.endswith(".csv"):
            assert f"`{name}`" in listed


OPTIONAL = ("progress/query/page", "progress/demo", "bench/soak/queries.py")
NOT_LISTED = ("tests", "docs", "schemas", "CHANGELOG.md", "README.md", *OPTIONAL)


@pytest.mark.parametrize(
    ("recipe", "names", "elsewhere"),
    [
        # The read model of the example, which another recipe adds, mentions the event.
        ("Add an event type", r"\bGoalSet\b|\"answers_per_day\"", "sql/read_models"),
        ("Add a field to a read model", r"\brest_?today\b", "CONTRIBUTING.md"),
        ("Add a read model", r"\bhourly(_?stats|\.csv)\b", "CONTRIBUTING.md"),
    ],
)
def test_a_recipe_lists_the_files_that_name_its_example(
    recipe: str, names: str, elsewhere: str
) -> None:
    section = re.split(r"^##", _RECIPES.split(f"### {recipe}\n")[1], flags=re.MULTILINE)[0]
    listed = re.findall(r"^\d+\. `([^`]+)`", section, re.MULTILINE)
    excluded = [f":!{path}" for path in (*NOT_LISTED, elsewhere)]
    command = ["git", "grep", "-liP", names, "--", ".", *excluded]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert sorted(listed) == found.stdout.split()


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.md")))
def test_an_issue_template_has_a_name_and_a_description(path: Path) -> None:
    _, head, body = path.read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(head).keys() == {"name", "about"}
    assert body.strip()
