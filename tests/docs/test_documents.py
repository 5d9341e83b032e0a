"""Documents name what exists: links, commands, settings and public names."""

import functools
import json
import pkgutil
import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

import msgspec
import typer.main

from progress import cli
from progress.archive import catalogue
from progress.settings import Settings
from tests.support import programs, settings_page

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    {
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("data/*.md"),
        *ROOT.glob("examples/*.md"),
        *(page for page in ROOT.glob("infra/**/*.md") if ".terraform" not in page.parts),
    }
)

_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _read(page: Path) -> str:
    return _CODE.sub("", page.read_text(encoding="utf-8"))


@functools.cache
def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub generates for the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", _read(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_a_link_points_to_an_existing_file_and_heading_and_each_page_is_linked() -> None:
    pattern = r"\]\((?!https?:)([^)\s]+)\)"
    links = [(page, link) for page in PAGES for link in re.findall(pattern, _read(page))]
    linked = set[Path]()
    for page, link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), (page, link)
        assert not anchor or anchor in _anchors(target), (page, link)
        linked |= {target.resolve()} if target != page else set()
    assert set(PAGES) - linked == set()


def test_each_module_that_a_document_runs_exists() -> None:
    pattern = r"python3? -m ((?:bench|progress|tests)(?:\.\w+)*)"
    run = {name for page in PAGES for name in re.findall(pattern, page.read_text("utf-8"))}
    assert "tests.support.page_walks" in run
    assert [name for name in sorted(run) if not find_spec(name)] == []


def test_the_glossary_has_the_words_and_rules_of_the_page() -> None:
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    listed = text.split("## On the page")[1].split("## In the system")[0].split("\n- ")[1:]
    shown = json.loads((ROOT / "progress/query/page/en.json").read_text("utf-8"))["glossary"]
    assert {" ".join(entry.split()) for entry in listed} == {
        f"**{word}**: {shown['rules'][name]}" for name, word in shown["words"].items()
    }


README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_products_of_google_are_named_where_they_run_and_redis_as_what_it_is() -> None:
    mains = [file.read_text("utf-8") for file in (ROOT / "functions").glob("*/main.py")]
    assert mains
    assert not [text for text in mains if "Cloud Functions" in text]
    for name in ("README.md", "README.ja.md"):
        before_the_picture = (ROOT / name).read_text("utf-8").split("\n![")[0]
        assert re.search(r"batch_aggregates`.*Cloud Scheduler", before_the_picture)
    packages = (ROOT / "requirements.txt").read_text("utf-8")
    (use,) = re.findall(r"^#   redis +(.+)$", packages, re.MULTILINE)
    picture = (ROOT / "docs/architecture.svg").read_text("utf-8")
    (told,) = re.findall(r"[^,.]+ in Redis|WebSocket, from Redis", picture)
    assert (use, told.strip()) == ("the cache, and limits", "keeps answers and limits in Redis")


SETTINGS = (ROOT / "docs/settings.md").read_text(encoding="utf-8")


def test_the_documented_settings_are_those_of_the_code() -> None:
    renewed = settings_page.renew(SETTINGS)
    assert renewed == SETTINGS, "run python -m tests.support.settings_page"
    names = {field.name.upper() for field in msgspec.structs.fields(Settings)}
    assert {*re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", README + SETTINGS)} <= names


def list_commands() -> set[str]:
    program = typer.main.get_command(cli.build_app())
    # The program is a group of commands, but its declared type has no attribute `commands`.
    return set(getattr(program, "commands"))  # noqa: B009


def test_the_documented_commands_exist_in_the_program() -> None:
    commands = list_commands()
    section = README.split("## Commands")[1].split("\n## ")[0]
    documented = {name.split()[0] for name in re.findall(r"`([a-z][a-z -]+)`", section)}
    assert documented - {"progress"} <= commands
    assert commands - documented <= {"demo"}


COST = ROOT / "docs" / "cost.md"


def test_gcloud_reads_the_log_exclusion_filter_as_one_value() -> None:
    """Unless a value names a separator, gcloud splits it at commas (`gcloud topic escaping`)."""
    (value,) = re.findall(r"--add-exclusion='([^']*)'", COST.read_text(encoding="utf-8"))
    ((mark, pairs),) = re.findall(r"\A\^(.+?)\^(.*)", value, re.DOTALL)
    assert [pair.partition("=")[0] for pair in pairs.split(mark)] == ["name", "filter"]
    assert pairs.endswith("sample(insertId, 0.99)")


def test_what_gcloud_does_to_an_environment_names_its_project() -> None:
    """Only infra/recovery/cloud.sh, which the runbook begins with, sets a project for gcloud."""
    pages = {page for page in PAGES if page.name != "runbook.md"}
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages).replace("\\\n", " ")
    calls = re.findall(r"`(gcloud[^`]+)`|^ +(gcloud .+)", text, re.MULTILINE)
    kinds = r"gcloud\s(builds submit|compute|logging|run services (update|delete))\b"
    found = [call for both in calls for call in both if re.match(kinds, call)]
    assert len(found) > 7
    assert [call for call in found if "--project=" not in call] == []


_PUBLIC_SECTION = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("## What is public")[1]
# Each kind of public names, with the text of its item in the list.
PUBLIC = dict(re.findall(r"^- \*\*(.+?)\*\*: ((?:.+\n)+?)(?=- |\n)", _PUBLIC_SECTION, re.MULTILINE))


def read_names(kind: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", PUBLIC[kind].split(", with ")[0].split(". [")[0]))


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
    assert read_names("Archive files") == {catalogue.FOLDER}
    for path in re.findall(r"`((?:tests|schemas)/[^`]+)`", _PUBLIC_SECTION):
        assert (ROOT / path).exists(), path


def test_the_license_is_the_one_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license"] == "Apache-2.0"
    assert project["license-files"] == ["LICENSE"]
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_every_file_with_another_license_is_listed() -> None:
    """Licences and data of others are in the folders that THIRD_PARTY.md names."""
    listed = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    command = ["git", "ls-files", "data/*.csv", "*LICENSE*", "*.min.*"]
    names = programs.run(command, folder=ROOT).split()
    folders = {str(Path(name).parent) for name in names} - {"."}
    assert folders == {"data", "progress/query/graphiql"}
    for folder in folders:
        assert f"`{folder}/" in listed
    for name in names:
        if name.endswith(".csv"):
            assert f"`{name}`" in listed
