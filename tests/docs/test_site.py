"""The navigation of the site lists each document once."""

from infra.site import build
from tests.docs.test_documents import PAGES, ROOT


def test_each_page_stands_in_the_navigation_once() -> None:
    paths = [page.path for page in build.list_pages()]
    linked = {path for path in build.list_linked(build.list_pages()) if path.endswith(".md")}
    assert sorted(paths) == sorted(linked | {str(page.relative_to(ROOT)) for page in PAGES})


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
