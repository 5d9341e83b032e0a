"""The list of docs/settings.md, from the declarations of the settings and their texts.

    python -m tests.support.settings_page

writes it again. What stands before the list and after it is written by hand.
"""

import ast
import inspect
import textwrap
from pathlib import Path
from typing import Any, get_args

import msgspec

from progress.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"

_FIRST, _AFTER = "\n- `", "\n\n## "
_WIDTH = 120  # characters per line


def renew(page: str) -> str:
    """Return the page with the list that the declarations give."""
    before, _, rest = page.partition(_FIRST)
    _, heading, after = rest.partition(_AFTER)
    return f"{before}\n{_list()}{heading}{after}"


def _list() -> str:
    (declared,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(declared, ast.ClassDef)
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    entries, names = list[str](), list[str]()
    for line in declared.body[1:]:  # the first is the docstring of the class
        if isinstance(line, ast.AnnAssign):
            names.append(ast.unparse(line.target))
        elif isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant):
            text = " ".join(str(line.value.value).split())
            named = ", ".join(_name(fields[name]) for name in names)
            entries.append(_wrap(f"- {named}: {text[0].lower()}{text[1:]}"))
            names.clear()
    assert not names, f"{names} have no text"
    return "\n".join(entries)


def _name(field: msgspec.structs.FieldInfo) -> str:
    """Return a setting's name with its default and its bounds, such as `NAME` (7, from 1 to 9)."""
    types: list[Any] = [field.type, *get_args(field.type)]
    metas = [meta for one in types for meta in getattr(one, "__metadata__", ())]
    known = [f"{field.default:,}" if isinstance(field.default, int) else str(field.default or "")]
    known += [f"from {meta.ge} to {meta.le}" for meta in metas if meta.le is not None]
    notes = ", ".join(filter(None, known))
    return f"`{field.name.upper()}`" + (f" ({notes})" if notes else "")


def _wrap(text: str) -> str:
    return textwrap.fill(
        text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


if __name__ == "__main__":
    PAGE.write_text(renew(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
