"""The pages for a school's data-protection officer and purchasing say what the system keeps."""

import re
from collections import Counter
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
# The sections of HECVAT 4.1.5, with the number of their questions.
SECTIONS = {
    "GNRL": 9, "COMP": 5, "REQU": 8, "DOCU": 7, "ITAC": 18, "THRD": 5, "CONS": 9, "APPL": 14,
    "AAAI": 18, "CHNG": 16, "DATA": 23, "DCTR": 16, "FIDP": 11, "PPPR": 15, "HFIH": 4, "VULN": 6,
    "HIPA": 29, "PCID": 12, "OPEM": 10, "PRGN": 5, "PCOM": 4, "PDOC": 3, "PTHP": 2, "PCHG": 2,
    "PDAT": 8, "PRPO": 13, "INTL": 5, "DRPV": 15, "DPAI": 8, "AIQU": 2, "AIGN": 5, "AIPL": 5,
    "AISC": 5, "AIML": 8, "AILM": 7,
}  # fmt: skip


def test_each_number_of_days_is_in_the_file_that_keeps_it() -> None:
    text = (DOCS / "data-protection.md").read_text(encoding="utf-8")
    table = text.split("## How long")[1].split("\n## ")[0]
    rows = re.findall(r"^\| [^|]+ \| ([^|]*\d[^|]*) \| .*?\]\(([^)]+)\)", table, re.MULTILINE)
    assert len(rows) == 9
    for until, link in rows:
        file = (DOCS / link).read_text(encoding="utf-8")
        assert [number for number in re.findall(r"\d+", until) if number not in file] == [], link


def test_each_question_of_hecvat_has_one_answer() -> None:
    text = (DOCS / "hecvat.md").read_text(encoding="utf-8")
    answered: Counter[str] = Counter()
    for cell in re.findall(r"^\| ([A-Z]{4}-.+?) \|", text, re.MULTILINE):
        for part in cell.split(", "):
            (section, first), *_, (_, last) = re.findall(r"([A-Z]{4})-(\d\d)", part) * 2
            numbers = range(int(first), int(last) + 1)
            answered.update(f"{section}-{number:02}" for number in numbers)
    asked = [f"{name}-{at:02}" for name, count in SECTIONS.items() for at in range(1, count + 1)]
    assert answered == Counter(asked)
