"""docs/requirements.md has each row of the brief once, and names what exists."""

import functools
import re
from collections import Counter

from tests.mutants import requirement_rows
from tests.mutants.requirement_rows import LAST, PAGE, ROOT

ROWS = requirement_rows.read_rows()


def test_each_row_of_the_brief_is_listed_once() -> None:
    assert [row.number for row in ROWS] == list(range(1, LAST + 1))


def test_a_row_names_code_and_a_test_and_a_difference_names_its_reason() -> None:
    for row in ROWS:
        assert row.code, row
        assert row.tests, row
        assert all(re.match(r"tests/[\w/]+\.py::test_", test) for test in row.tests), row
        assert "(decisions.md#" in row.text or row.status != "different", row


def test_the_table_has_the_numbers_of_the_rows_by_status() -> None:
    table = re.findall(
        r"^\| \[.+?\] ?\(.+?\) \| (\d+)–(\d+) \| (\d+) \| (.+?) \| (.+?) \|$",
        PAGE.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    for first, last, *counts in table:
        part = [row for row in ROWS if int(first) <= row.number <= int(last)]
        lists = {
            status: ", ".join(str(row.number) for row in part if row.status == status) or "–"
            for status in ("different", "open")
        }
        done = sum(row.status == "done" for row in part)
        assert counts == [str(done), lists["different"], lists["open"]]
    assert [int(first) for first, *_ in table] == [
        1,
        *(int(last) + 1 for _, last, *_ in table[:-1]),
    ]
    total = Counter(row.status for row in ROWS)
    summary = f"| **all** | {LAST} | {total['done']} | {total['different']} | {total['open']} |"
    assert summary in PAGE.read_text(encoding="utf-8")


def test_each_reference_exists() -> None:
    references = {reference for row in ROWS for reference in (*row.code, *row.tests)}
    assert [reference for reference in sorted(references) if not _exists(reference)] == []


def _exists(reference: str) -> bool:
    path, _, name = reference.partition("::")
    text = _read(path)
    return text is not None and bool(re.search(_pattern(path, name), text, re.MULTILINE))


@functools.cache
def _read(path: str) -> str | None:
    file = ROOT / path
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _pattern(path: str, name: str) -> str:
    """Return a regular expression that finds the definition of `name` in the file at `path`."""
    kind, _, rest = name.partition(".")
    if name.startswith("test_"):
        return rf"^(async )?def {re.escape(name)}\("
    if name.startswith(("def ", "class ")):
        return rf"^ *(async )?{re.escape(name)}[(:]"
    if path.endswith(".md"):
        return rf"^#+ {re.escape(name)}$"
    if path.endswith(".tf") and kind == "variable":
        return rf'^variable "{re.escape(rest)}"'
    if path.endswith(".tf") and kind.startswith("google_"):
        return rf'^resource "{kind}" "{re.escape(rest)}"'
    return re.escape(name)


def test_the_drawn_rows_have_a_mutant_whose_test_the_row_names() -> None:
    tests = {row.number: row.tests for row in ROWS}
    mutants = requirement_rows.load_mutants()
    assert {*requirement_rows.draw(ROWS)} <= {mutant.row for mutant in mutants}
    assert [m.row for m in mutants if m.test not in tests[m.row]] == []


def test_the_files_contain_the_text_of_each_mutant() -> None:
    for mutant in requirement_rows.load_mutants():
        assert mutant.by in mutant.edit(ROOT)
