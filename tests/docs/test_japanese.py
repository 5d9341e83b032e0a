"""The Japanese documents say what the English ones say, and use the words of the page."""

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from progress.query.http import static_page

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
_BOLD = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER = re.compile(rf"\d+(?:[.,]\d+)*|\b(?:{'|'.join(_WORDS)})\b", re.IGNORECASE)


def _read_sections(page: Path) -> list[str]:
    return re.split(r"^(?=#)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]


def _prose(section: str) -> str:
    """Return a section without its code. Descriptions in a code block are prose."""
    return _CODE.sub(lambda line: "".join(_DESCRIPTION.findall(line[0])), section)


def _constants(section: str, page: Path) -> dict[str, Any]:
    """Return what a translation of a section must keep: code, and in any order the rest.

    Two kinds of numbers are ignored: 1, because a language may express it without a number, and
    those in the page's texts, which are bold.
    """
    prose = _prose(section)
    text = _LINK.sub("", _NAME.sub("", _BOLD.sub("", prose)))
    words = _NUMBER.findall(text.lower())
    numbers = [str(_WORDS.index(word) + 2) if word in _WORDS else word for word in words]
    return {
        "level": section.split(maxsplit=1)[0],
        "code": [_DESCRIPTION.sub("", line) for line in _CODE.findall(section)],
        "names": Counter(" ".join(name.split()) for name in _NAME.findall(prose)),
        "links": Counter(_resolve(link, page) for link in _LINK.findall(prose)),
        "numbers": Counter(number for number in numbers if number != "1"),
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
def test_a_translation_keeps_headings_code_names_links_and_numbers(page: Path) -> None:
    sections = zip(_read_sections(ENGLISH[page]), _read_sections(page), strict=True)
    for english, japanese in sections:
        assert _constants(japanese, page) == _constants(english, ENGLISH[page]), japanese


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.name)
def test_each_document_links_to_its_counterpart(page: Path) -> None:
    for source, target in ((page, ENGLISH[page]), (ENGLISH[page], page)):
        link = os.path.relpath(target, source.parent)
        assert f"]({link})" in _read_sections(source)[0]


def _read_texts(language: str) -> dict[str, set[str]]:
    """Return each text of the page, with its keys."""
    texts: dict[str, set[str]] = {}

    def collect(key: str, node: str | dict[str, Any]) -> None:
        if isinstance(node, str):
            texts.setdefault(node, set()).add(key)
        else:
            for name, child in node.items():
                collect(f"{key}.{name}", child)

    collect("", json.loads((static_page.FOLDER / f"{language}.json").read_bytes()))
    return texts


def _read_labels(page: Path, language: str) -> list[dict[str, set[str]]]:
    """Return the bold texts of each section, with the keys of these texts of the page."""
    texts = _read_texts(language)
    found = [map(str.split, _BOLD.findall(section)) for section in _read_sections(page)]
    return [{label: texts.get(label, set()) for label in map(" ".join, own)} for own in found]


def test_the_guides_name_the_same_texts_of_the_page() -> None:
    pages = _read_labels(ENGLISH[GUIDE], "en"), _read_labels(GUIDE, "ja")
    for english, japanese in zip(*pages, strict=True):
        for labels, others in ((english, japanese), (japanese, english)):
            keys = set().union(*others.values())
            assert [label for label, own in labels.items() if not own & keys] == []


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
