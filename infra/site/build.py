"""Build the site of the documents: python infra/site/build.py FOLDER writes it to FOLDER/html.

The documents link to each other, to programs and to pictures by paths. The site is made of a copy
of them all in the same folders, so that the same paths lead to the same files.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONFIGURATION = "zensical.toml"
SOURCE, HTML, JAPANESE = "documents", "html", "日本語"  # as in the configuration

PROJECT = tomllib.loads((HERE / CONFIGURATION).read_text(encoding="utf-8"))["project"]
_LINK = re.compile(r"\]\((?!https?:|#)([^)\s#]+)")


class Page(NamedTuple):
    """A page of the navigation: its section, its title there, and its path in the repository."""

    section: str
    title: str
    path: str

    @property
    def text(self) -> str:
        return (ROOT / self.path).read_text(encoding="utf-8")

    @property
    def html_path(self) -> Path:
        path = Path(self.path)
        return path.with_name("index.html" if path.name == "README.md" else f"{path.stem}.html")


def list_pages() -> list[Page]:
    """Return the pages in the order of the navigation; the start page is in no section."""
    sections = [next(iter(entry.items())) for entry in PROJECT["nav"]]
    return [
        Page("" if isinstance(value, str) else name, *pair)
        for name, value in sections
        for entry in ([{name: value}] if isinstance(value, str) else value)
        for pair in entry.items()
    ]


def list_linked(pages: list[Page]) -> set[str]:
    """Return the paths of the files that the pages link to."""
    return {
        str((ROOT / page.path).parent.joinpath(link).resolve().relative_to(ROOT))
        for page in pages
        for link in _LINK.findall(page.text)
    }


def summarize(pages: list[Page]) -> str:
    """Return llms.txt: each page's title, the address of its Markdown, and its first sentence."""
    lines, section = [f"# {PROJECT['site_name']}", "", f"> {PROJECT['site_description']}", ""], ""
    for page in pages:
        if page.section != section:
            section = page.section
            lines += ["", f"## {section}", ""]
        lines.append(f"- [{page.title}]({page.path}): {_find_first_sentence(page.text)}")
    return "\n".join(lines) + "\n"


def _find_first_sentence(text: str) -> str:
    paragraphs = re.split(r"\n{2,}", text)
    first = next(
        paragraph
        for paragraph in paragraphs
        if re.match(r"(?![#|!<\s-]|```)", paragraph)
        and not re.fullmatch(r"\[.*\]\(.*\)", paragraph)
    )
    plain = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", " ".join(first.split()))
    return re.split(r"(?<=[.。])(?=\s|$|[ぁ-ん一-龠ァ-ヶ])", plain)[0]


def copy(path: str, folder: Path) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / path, folder / path)


def build(folder: Path) -> None:
    """Build the site; fail if a link of a page leads nowhere.

    The Markdown of each page is beside its HTML, for the readers of llms.txt.
    """
    pages = list_pages()
    shutil.rmtree(folder, ignore_errors=True)
    for path in {page.path for page in pages} | list_linked(pages):
        copy(path, folder / SOURCE)
    shutil.copy(HERE / CONFIGURATION, folder)
    zensical = Path(sys.executable).with_name("zensical")
    subprocess.run([zensical, "build", "--strict"], cwd=folder, check=True)
    for page in pages:
        copy(page.path, folder / HTML)
        if page.section == JAPANESE:
            file = folder / HTML / page.html_path
            html = file.read_text(encoding="utf-8").replace('lang="en"', 'lang="ja"', 1)
            file.write_text(html, encoding="utf-8")
    (folder / HTML / "llms.txt").write_text(summarize(pages), encoding="utf-8")


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve())
