"""What columns mean: once, for analysts, the query API and a learner's export.

`sql/read_models/columns.txt` has the columns that several of them have. A column of one table has a
comment beside it, in the block `table` of its model.
"""

import functools
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
    parts = {name: text.partition(" | ") for name, text in texts.items()}
    return {name: Meaning(english, japanese) for name, (english, _, japanese) in parts.items()}


def find_own(model: str) -> dict[str, str]:
    """Return the comments beside the columns of a model's table."""
    return dict(_COMMENTED.findall(statements.blocks(f"read_models/{model}")["table"]))
