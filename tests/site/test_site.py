"""The built site: what it loads, what it shows of each page, llms.txt, its search."""

import re
import subprocess
from collections import Counter
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from markdown_it import MarkdownIt
from playwright.sync_api import expect

from infra.site import build
from tests.conftest import skip_without
from tests.support import browser, http_servers

pytestmark = pytest.mark.exhaustive  # it needs `make site`
PYTHON = build.ROOT / ".venv-site" / "bin" / "python"  # installed by make site
PAGES = build.list_pages()


class Document(HTMLParser):
    """The addresses that a page loads."""

    def __init__(self, html: str):
        super().__init__()
        self.loaded = set[str]()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "a":
            self.loaded |= {value or "" for name, value in attrs if name in ("href", "src")}


@pytest.fixture(scope="module")
def html(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site. The build fails if the Markdown of a page has a dead link."""
    if not PYTHON.exists():
        skip_without(request, "zensical")
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([PYTHON, build.HERE / "build.py", folder], check=True, timeout=100)
    return folder / build.HTML


def test_each_page_is_there_and_loads_nothing_from_elsewhere(html: Path) -> None:
    documents = {file: Document(file.read_text()) for file in html.rglob("*.html")}
    assert {html / page.html_path for page in PAGES} | {html / "404.html"} == documents.keys()
    loaded = {link for document in documents.values() for link in document.loaded}
    assert [link for link in loaded if urlsplit(link).netloc] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_a_page_has_the_lists_tables_and_code_that_github_shows(
    html: Path, page: build.Page
) -> None:
    """Python-Markdown needs deeper indents in lists than GitHub, for example."""
    text = (html / page.html_path).read_text()
    article = re.findall(r"(?s)<article.*?</article>", text)[0]
    shown = re.sub(r"(?s)<nav.*?</nav>", "", article)
    assert f'<html lang="{"ja" if page.section == build.JAPANESE else "en"}"' in text
    assert _count(shown) == _count(MarkdownIt().enable("table").render(page.text))


def _count(html: str) -> Counter[str]:
    return Counter(re.findall(r"<(h[1-6]|ol|li|table|tr|pre|code|strong)[ >]", html))


def test_llms_txt_lists_the_markdown_of_each_page(html: Path) -> None:
    listed = re.findall(r"^- \[.+?\]\((\S+)\): \S", (html / "llms.txt").read_text(), re.MULTILINE)
    assert listed == [page.path for page in PAGES]
    assert all((html / path).read_text() == (build.ROOT / path).read_text() for path in listed)


@pytest.mark.parametrize(
    ("words", "heading"), [("typed client", "A typed client in five minutes"), ("単語", "先生")]
)
def test_the_search_finds_english_and_japanese_words_without_a_network(
    request: pytest.FixtureRequest, html: Path, words: str, heading: str
) -> None:
    if not browser.PROGRAM:
        skip_without(request, "chromium")

    class Files(http_servers.Handler, SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(html))

    with http_servers.serve(Files) as address, browser.browser() as chromium:
        page = chromium.new_page()
        page.goto(address)
        page.keyboard.press("/")
        page.get_by_role("combobox", name="Search").fill(words)
        expect(page.get_by_role("option").filter(has_text=heading).first).to_be_visible()
