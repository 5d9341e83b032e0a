"""The documents of the repository as web pages: the local stack's page links to the runbook."""

import itertools
import re

from progress import files

PATH = "/docs/"

_FOLDER = files.ROOT / "docs"
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>'
    '<meta name="viewport" content="width=device-width"><meta name="color-scheme" '
    'content="light dark"><style>body{{max-width:48rem;margin:auto;padding:1rem;font:1rem/1.5 '
    "sans-serif}}pre,table{{overflow-x:auto;display:block}}:target{{border-left:.25rem solid;"
    "padding-left:.5rem}}</style><main>{content}</main></html>"
)


def render(path: str) -> bytes | None:
    """Return the page of `/docs/NAME.md`, or None without such a document.

    The ids of headings are those on GitHub, so that links to sections work in both places.
    """
    name = path.removeprefix(PATH)
    file = _FOLDER / name
    if not re.fullmatch(r"[\w-]+\.md", name) or not file.is_file():
        return None
    from markdown_it import MarkdownIt  # takes 40 ms

    markdown = MarkdownIt().enable("table")
    tokens = markdown.parse(file.read_text(encoding="utf-8"))
    for token, title in itertools.pairwise(tokens):
        if token.type == "heading_open":
            token.attrSet("id", re.sub(r"[^\w -]", "", title.content.lower()).replace(" ", "-"))
    content = markdown.renderer.render(tokens, markdown.options, {})
    return _PAGE.format(name=name, content=content).encode()
