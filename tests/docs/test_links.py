"""In all documents, the links, anchors and named files exist."""

import re
from pathlib import Path

import pytest

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
