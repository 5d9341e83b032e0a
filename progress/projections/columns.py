"""What columns and rows mean: once, for analysts, the query API and a learner's export.

`sql/read_models/columns.txt` has the columns that several of them have. A column of one table has a
comment beside it, in the block `table` of its model. A block `rows NAME` or `export NAME` may begin
with a comment `English | Japanese`: the text of the exported file and of the model's field.
"""

import functools
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from progress import files
from progress.adapters.postgres import statements

_COMMENTED = re.compile(r"^    ([a-z]\w*) .*-- (.+)$", re.MULTILINE)


class Meaning(NamedTuple):
    """The texts about a column; the Japanese one is empty if no export has the column."""

    english: str
    japanese: str


def read_texts(file: Path) -> dict[str, str]:
    """Return the texts by name, from lines such as `name: text`."""
    texts: dict[str, str] = {}
    name = ""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            texts[name] += " " + line.strip()
        elif line and not line.startswith("#"):
            name, _, texts[name] = line.partition(": ")
    return texts


@functools.cache
def read_shared() -> Mapping[str, Meaning]:
    texts = read_texts(files.SQL / "read_models" / "columns.txt")
    return {name: _parse(text) for name, text in texts.items()}


def find(name: str) -> Meaning | None:
    """Return what a column means, or a model's rows; None if no text tells it."""
    return read_shared().get(name) or _read_own().get(name)


@functools.cache
def _read_own() -> Mapping[str, Meaning]:
    models = sorted(file.stem for file in (files.SQL / "read_models").glob("*.sql"))
    own = [found for model in models for found in find_own(model).items()]
    rows = {model: text for model in models for text in find_rows(model).values()}
    only = {name: text for name, text in own if all(text == t for n, t in own if n == name)}
    return {**rows, **only}


def find_own(model: str) -> dict[str, Meaning]:
    """Return the comments beside the columns of a model's table."""
    table = statements.blocks(f"read_models/{model}").get("table", "")
    return {name: _parse(text) for name, text in _COMMENTED.findall(table)}


def find_rows(model: str) -> dict[str, Meaning]:
    """Return what is a row of the model's blocks `rows NAME` and `export NAME` that tell it."""
    found = {}
    for block, text in statements.blocks(f"read_models/{model}").items():
        lines = itertools.takewhile(lambda line: line.startswith("-- "), text.splitlines())
        meaning = _parse(" ".join(line.removeprefix("-- ") for line in lines))
        if block.startswith(("rows ", "export ")) and meaning.japanese:
            found[block] = meaning
    return found


def _parse(text: str) -> Meaning:
    english, _, japanese = text.partition(" | ")
    return Meaning(english, japanese)
