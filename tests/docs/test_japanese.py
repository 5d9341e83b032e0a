"""The Japanese documents have the headings, code, names and links of the English ones."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
README, GUIDE = ROOT / "README.ja.md", ROOT / "docs" / "ja" / "guide.md"
# The English counterpart of each Japanese document.
ENGLISH = {
    README: ROOT / "README.md",
    **{page: ROOT / "docs" / page.name for page in GUIDE.parent.iterdir()},
}

_CODE = re.compile(r"^    .*$", re.MULTILINE)
_DESCRIPTION = re.compile(r"(?<=\S) {2,}(\S.*)$")  # the second column of a list in a code block
_NAME = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def _read_sections(page: Path) -> list[str]:
    return re.split(r"^(?=#)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]


def _prose(section: str) -> str:
    """Return a section without its code. Descriptions in a code block are prose."""
    return _CODE.sub(lambda line: "".join(_DESCRIPTION.findall(line[0])), section)


def _constants(section: str, page: Path) -> dict[str, Any]:
    """Return what a translation of a section must keep: code, and in any order the rest."""
    prose = _prose(section)
    return {
        "level": section.split(maxsplit=1)[0],
        "code": [_DESCRIPTION.sub("", line) for line in _CODE.findall(section)],
        "names": Counter(" ".join(name.split()) for name in _NAME.findall(prose)),
        "links": Counter(_resolve(link, page) for link in _LINK.findall(prose)),
    }


def _resolve(link: str, page: Path) -> str:
    """Return the target of a link in `page`; documents in two languages are one target."""
    path, _, anchor = link.partition("#")
    if path.startswith("https:"):
        return link
    target = Path(os.path.normpath(page.parent / path)) if path else page
    target = ENGLISH.get(target, target)
    return str(target) if target in ENGLISH.values() else f"{target}#{anchor}"


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.name)
def test_a_translation_keeps_headings_code_names_and_links(page: Path) -> None:
    sections = zip(_read_sections(ENGLISH[page]), _read_sections(page), strict=True)
    for english, japanese in sections:
        assert _constants(japanese, page) == _constants(english, ENGLISH[page]), japanese


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.name)
def test_each_document_links_to_its_counterpart(page: Path) -> None:
    for source, target in ((page, ENGLISH[page]), (ENGLISH[page], page)):
        link = os.path.relpath(target, source.parent)
        assert f"]({link})" in _read_sections(source)[0]


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.name)
def test_a_line_break_does_not_split_a_japanese_sentence(page: Path) -> None:
    """A browser shows a line break as a space, which Japanese has only between sentences."""
    prose = _CODE.sub("", page.read_text(encoding="utf-8"))
    assert re.findall(r"[^\n]*[^\n。：|]\n(?=[^\n|-])", prose) == []


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.name)
def test_bold_text_is_rendered_bold(page: Path) -> None:
    """Markdown does not end bold text between a punctuation mark and a letter, as in `）**で`."""
    html = MarkdownIt().enable("table").render(page.read_text(encoding="utf-8"))
    assert [line for line in html.splitlines() if "**" in line] == []
