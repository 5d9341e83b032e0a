#!/usr/bin/env python3
"""Refuse subqueries with which PostgreSQL may compare each row, in the SQL files.

    .ci/check_subqueries.py [FOLDER]

PostgreSQL makes a join of `IN (SELECT …)` if it is a term of a WHERE that AND joins to the others,
and never of `NOT IN`. It hashes any other such subquery only while it fits into memory; above, it
compares each row with all of it. Allowed are lists, parts such as `{list_types}`, and tables of
a window or a batch, which are small.
"""

import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

_BLOCK = re.compile(r"^-- [a-z][a-z0-9_ ]* --$", re.MULTILINE)
_SKIPPED = re.compile(r"--[^\n]*|'(?:[^']|'')*'")
_WORD = re.compile(r"\{[^{}]*\}|\w+|\S")
_SUBQUERY = re.compile(r"(?:IN|ANY|SOME|ALL)[ (]*\((?:SELECT|WITH|TABLE|\{[^{} ]+ [^{}]*\})")
_SMALL = re.compile(r" FROM (?:WINDOW|BATCH|SNAPSHOT)_\w+ [^()]*\)")
_CLAUSES = (
    *("SELECT", "FROM", "JOIN", "ON", "WHERE", "HAVING", "GROUP", "ORDER", "LIMIT", "OFFSET"),
    *("UNION", "RETURNING", "SET", "IF", "RETURN", ";", "$"),
)
# Folders of files that DuckDB runs, which joins all subqueries; that are about roles, which are
# few; and of a former version.
_LEFT_OUT = ("analysis", "archive", "adapters", "earlier")


def main(folder: str = "sql") -> None:
    found = [
        f"{path}:{line}"
        for path in sorted(Path(folder).rglob("*.sql"))
        if path.parent.name not in _LEFT_OUT
        for line in find(path.read_text(encoding="utf-8"))
    ]
    if found:
        sys.exit("\n".join((*found, "Write a join, or an anti-join with NOT EXISTS.")))


def find(text: str) -> Iterator[int]:
    """Yield the lines of the subqueries that are no terms of a WHERE."""
    starts = [0, *(match.end() for match in _BLOCK.finditer(text)), len(text)]
    for start, end in pairwise(starts):
        block = _SKIPPED.sub(lambda match: " " * len(match[0]), text[start:end]).upper()
        matches = [*_WORD.finditer(block)]
        words = [match[0] for match in matches]
        partners = _pair(words)
        for n, word in enumerate(words):
            if word not in ("IN", "ANY", "SOME", "ALL") or words[n + 1 : n + 2] != ["("]:
                continue
            if words[n - 1] in ("UNION", "EXCEPT", "INTERSECT"):
                continue
            asked = " ".join(words[n : partners[n + 1] + 1]).replace("( ", "(")
            is_large = _SUBQUERY.match(asked) and not _SMALL.search(f"{asked})")
            if is_large and (word == "ALL" or not _is_term(words, partners, n)):
                yield text.count("\n", 0, start + matches[n].start()) + 1


def _pair(words: list[str]) -> dict[int, int]:
    """Return the place of each bracket's and each CASE's other end."""
    partners, opened = dict[int, int](), list[int]()
    for n, word in enumerate(words):
        if word in ("(", "CASE"):
            opened.append(n)
        elif opened and word == {"(": ")", "CASE": "END"}[words[opened[-1]]]:
            partners |= {opened[-1]: n, n: opened[-1]}
            opened.pop()
    return partners


def _is_term(words: list[str], partners: dict[int, int], place: int) -> bool:
    before, n = [], place - 1
    while n >= 0 and words[n] not in _CLAUSES and partners.get(n, 0) <= n:
        before.append(words[n])
        n = partners.get(n, n) - 1
    after, end = [], partners[place + 1] + 1
    while end < len(words) and words[end] not in _CLAUSES and partners.get(end, end) >= end:
        after.append(words[end])
        end = partners.get(end, end) + 1
    term = before[: before.index("AND")] if "AND" in before else before
    return (
        words[n : n + 1] == ["WHERE"]
        and words[max(n - 2, 0) : n] != ["FILTER", "("]
        and not {"OR", "NOT"} & {*term, *(word for word in before + after if word == "OR")}
        and after[:1] in ([], ["AND"])
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
