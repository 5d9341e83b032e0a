"""Altair draws the rows of each question; who has not installed it learns how."""

import json
import sys
from datetime import date
from pathlib import Path

import msgspec
import pytest

from progress.analysis import charts, questions
from progress.analysis.questions import (
    AnalysedMemory,
    Cohort,
    Item,
    PlaceRetention,
    Question,
    Retention,
)
from progress.cli import analyse
from progress.errors import ProgressError

MONDAY = date(2026, 3, 2)
PLACE = PlaceRetention(MONDAY, "YOUNG", 20, 50, 40, 0.8, name="A1")
ROWS: dict[Question, msgspec.Struct] = {
    questions.RETENTION: Retention(MONDAY, "YOUNG", 20, 50, 40, 0.8),
    questions.RETENTION_BY_LEVEL: PLACE,
    questions.RETENTION_BY_DOMAIN: PLACE,
    questions.ITEMS: Item(
        "item", "i1", "=oblige()", "B2", "RW", 20, 50, 40, 0.8, 60, 50, complete=True
    ),
    questions.COHORTS: Cohort(MONDAY, 1, 1_200, None, None),
    questions.MEMORY: AnalysedMemory(7, None, 20, 50, 40, 0.8, 0.84, 0.49, 0.5, 0.1, 0.2),
}


@pytest.mark.parametrize("question", ROWS, ids=lambda question: f"{question.name} {question.by}")
def test_a_chart_shows_fields_of_the_rows(question: Question, tmp_path: Path) -> None:
    file, row = tmp_path / "chart.json", ROWS[question]
    charts.write(file, question, [row])
    chart = json.loads(file.read_text(encoding="utf-8"))
    assert [*chart["datasets"].values()] == [[msgspec.to_builtins(row)]]
    drawn = json.dumps(chart.get("spec", chart)["encoding"])
    assert any(f'"{field}"' in drawn for field in row.__struct_fields__)


def test_a_missing_package_is_named_with_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [])
    for package, suffix in (("altair", "json"), ("vl_convert", "svg")):
        monkeypatch.delitem(sys.modules, package, raising=False)
        with pytest.raises(ProgressError, match=r"pip install 'learner-progress\[charts\]'"):
            charts.write(tmp_path / f"chart.{suffix}", questions.ITEMS, [ROWS[questions.ITEMS]])


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProgressError, match=r"found chart\.pdf"):
        charts.write(tmp_path / "chart.pdf", questions.ITEMS, [ROWS[questions.ITEMS]])


def test_a_table_has_rounded_rates_and_no_text_for_null() -> None:
    assert analyse.format_cells(ROWS[questions.COHORTS]) == ["2026-03-02", "1", "1,200", "", ""]
    assert "0.490" in analyse.format_cells(ROWS[questions.MEMORY])


@pytest.mark.parametrize("question", ROWS, ids=lambda question: f"{question.name} {question.by}")
def test_a_table_cuts_no_text(question: Question, capsys: pytest.CaptureFixture[str]) -> None:
    analyse.print_table(question, [ROWS[question]])
    output = capsys.readouterr().out
    assert "…" not in output
    assert all(cell in output for cell in analyse.format_cells(ROWS[question]))


def test_csv_has_the_fields_names_and_no_formula(capsys: pytest.CaptureFixture[str]) -> None:
    analyse.print_csv(questions.ITEMS, [ROWS[questions.ITEMS]])
    names, row = capsys.readouterr().out.splitlines()
    assert names.startswith("kind,name,headword,level,domains,learners,")
    assert row == "item,i1,'=oblige(),B2,RW,20,50,40,0.8,60,50,True"
