"""The page for a school's data-protection officer says how long the system keeps what."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_each_number_of_days_is_in_the_file_that_keeps_it() -> None:
    text = (DOCS / "data-protection.md").read_text(encoding="utf-8")
    table = text.split("## How long")[1].split("\n## ")[0]
    rows = re.findall(r"^\| [^|]+ \| ([^|]*\d[^|]*) \| .*?\]\(([^)]+)\)", table, re.MULTILINE)
    assert len(rows) == 11
    for until, link in rows:
        file = (DOCS / link).read_text(encoding="utf-8")
        assert [number for number in re.findall(r"\d+", until) if number not in file] == [], link
