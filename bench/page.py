"""The page's first query, read from its script."""

import functools
import re

from progress.files import ROOT

_SCRIPT = ROOT / "progress" / "query" / "page" / "query.js"
_CONSTANT = re.compile(r"^(?:export )?const (\w+) = (['`])(.*?)\2;", re.MULTILINE | re.DOTALL)
_INSERTED = re.compile(r"\$\{(\w+)\}")


@functools.cache
def document() -> str:
    constants = {n: text for n, _, text in _CONSTANT.findall(_SCRIPT.read_text(encoding="utf-8"))}
    return _INSERTED.sub(lambda match: constants[match[1]], constants["QUERY"])
