"""The navigation of the site lists each document once."""

import json

from infra.site import build
from tests.docs.test_documents import PAGES, ROOT


def test_each_page_stands_in_the_navigation_once() -> None:
    paths = [page.path for page in build.list_pages()]
    linked = {path for path in build.list_linked(build.list_pages()) if path.endswith(".md")}
    assert sorted(paths) == sorted(linked | {str(page.relative_to(ROOT)) for page in PAGES})


def test_the_glossary_has_the_words_and_rules_of_the_page() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    listed = text.split("## On the page")[1].split("## In the system")[0].split("\n- ")[1:]
    shown = json.loads((ROOT / "progress/query/page/en.json").read_text("utf-8"))["glossary"]
    assert {" ".join(entry.split()) for entry in listed} == {
        f"**{word}**: {shown['rules'][name]}" for name, word in shown["words"].items()
    }


def test_the_sections_are_those_of_diataxis_and_japanese() -> None:
    sections = list(dict.fromkeys(page.section for page in build.list_pages()))
    assert sections == [
        "",
        "Tutorials",
        "How-to guides",
        "Reference",
        "Explanation",
        build.JAPANESE,
    ]
