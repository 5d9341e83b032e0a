"""The comparisons with other event stores and with bare upserts run, and have every row."""

import html
import re
from pathlib import Path

import pytest

from bench import server, upserts
from bench.compare import __main__, report, rows
from bench.compare.rows import Sizes

_SMALL = Sizes(append_rounds=1, rounds=1, batches=1, singles=2, sessions=1, streams=1, reads=1)


@pytest.mark.exhaustive
def test_the_comparison_measures_every_system_in_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = __main__.main(_SMALL)
    table = (report.OUT / "table.md").read_text(encoding="utf-8")
    systems = list(rows.find_systems(print))
    head, _, *measured = [line.strip("| ").split(" | ") for line in table.splitlines()]
    assert head[: 1 + len(systems)] == ["what", *systems]
    assert len(measured) == 8
    for what, *values in measured:
        for value in values:
            assert re.fullmatch(r"\d[\d.]* (k )?(events/s|reads/s|×)", value), (what, value)
    printed = capsys.readouterr().out
    assert table in printed
    assert code == ("MISSED" in printed)  # so few rounds may miss a bar
    chart = html.unescape((report.OUT / "chart.svg").read_text(encoding="utf-8"))
    assert all(what in chart.replace("\xa0", " ") for what, *_ in measured)
    assert "@font-face" not in chart  # it loads nothing


@pytest.mark.exhaustive
def test_the_folds_are_compared_with_upserts_of_the_rows_that_they_write() -> None:
    with server.run() as postgres:
        (line,) = upserts.compare_with_folds(postgres, learners=20, rounds=1)
    assert line.at_most
    assert line.value > 0
