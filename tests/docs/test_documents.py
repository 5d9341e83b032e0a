"""Documents name what exists: links, files, commands and settings; their lines are short."""

import re
import subprocess
from pathlib import Path

import msgspec
import pytest
import typer.main

from progress import cli
from progress.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    {
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("data/*.md"),
        *(page for page in ROOT.glob("infra/**/*.md") if ".terraform" not in page.parts),
    }
)

_FOLDERS = "progress|functions|jobs|sql|tests|data|bench|infra|docs|\\.github"
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _read(page: Path) -> str:
    """Return the text without its code blocks."""
    return _CODE.sub("", page.read_text(encoding="utf-8"))


def _name(value: object) -> str:
    return str(value).removeprefix(f"{ROOT}/")


_LINKS = [
    (page, link)
    for page in PAGES
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", _read(page))
]
_FILES = [
    (page, path)
    for page in PAGES
    for path in sorted(set(re.findall(rf"`((?:{_FOLDERS})/[\w./-]+)`", _read(page))))
]


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub generates for the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", _read(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "link"), _LINKS, ids=_name)
def test_a_link_points_to_an_existing_file_and_heading(page: Path, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    assert target.exists()
    if anchor:
        assert anchor in _anchors(target)


@pytest.mark.parametrize(("page", "path"), _FILES, ids=_name)
def test_each_file_named_in_a_document_exists(page: Path, path: str) -> None:
    assert (ROOT / path).exists(), f"{_name(page)} names {path}"


SUFFIXES = {".md", ".sql", ".tf", ".tfvars"}

# Lines that cannot be broken: table rows, and list items that hold only a reference (`path::name`).
_UNBREAKABLE = re.compile(r"\||  - (test )?`[^`]+`$")


def _files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = (Path(line) for line in listed.stdout.splitlines())
    return [str(path) for path in paths if path.suffix in SUFFIXES or path.name == "Dockerfile"]


@pytest.mark.parametrize("file", _files())
def test_lines_have_at_most_120_characters(file: str) -> None:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 120 and not _UNBREAKABLE.match(line)] == []


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


COST = Path(__file__).parents[2] / "docs" / "cost.md"


def test_gcloud_reads_the_log_exclusion_filter_as_one_value() -> None:
    """Unless a value names a separator, gcloud splits it at commas (`gcloud topic escaping`)."""
    (value,) = re.findall(r"--add-exclusion='([^']*)'", COST.read_text(encoding="utf-8"))
    ((mark, pairs),) = re.findall(r"\A\^(.+?)\^(.*)", value, re.DOTALL)
    assert [pair.partition("=")[0] for pair in pairs.split(mark)] == ["name", "filter"]
    assert pairs.endswith("sample(insertId, 0.99)")
