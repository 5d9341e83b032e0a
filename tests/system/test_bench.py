"""What the benchmarks make of their measurements."""

from collections.abc import Iterator

import pytest

from bench import __main__, page, report
from bench.lines import RowSkipped, Line, Rounds
from bench.server import Server
from progress.query.execution import documents


def test_a_ratio_is_taken_within_each_round() -> None:
    rounds = Rounds()
    for ours, theirs in ((10.0, 5.0), (100.0, 50.0), (3.0, 1.0)):  # a machine of many moods
        rounds.add("ours", ours)
        rounds.add("theirs", theirs)
    assert rounds.ratio("ours", "theirs") == 2.0
    assert rounds.median("ours") == 10.0


@pytest.mark.parametrize(
    ("value", "at_most", "verdict"),
    [(2.0, False, "yes"), (1.0, False, "short by 100 %"), (2.5, True, "short by 25 %")],
)
def test_a_line_says_by_how_much_it_falls_short(value: float, at_most: bool, verdict: str) -> None:
    assert Line("what", "ours", "theirs", value, 2.0, at_most=at_most).verdict == verdict


def test_the_table_as_markdown_has_a_row_for_each_line() -> None:
    line = Line("append", "70 k events/s", "COPY 140 k events/s", 0.5, 0.4)
    assert (
        "| append | 70 k events/s | COPY 140 k events/s | 0.50 × | ≥ 0.40 × | yes |"
        in report.markdown([line]).splitlines()
    )


def test_a_name_of_no_row_is_refused() -> None:
    assert __main__.main(["nothing"]) == 2


def test_a_row_that_cannot_be_measured_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unmeasured(_server: Server) -> Iterator[Line]:
        yield from ()
        raise RowSkipped("there is no node")

    monkeypatch.setitem(__main__.ROWS, "miss", unmeasured)
    assert __main__.main(["miss"]) == 0
    assert "miss: left out: there is no node" in capsys.readouterr().out


def test_what_the_page_asks_is_found_in_its_script() -> None:
    document = documents.read(page.document(), introspection=False)
    assert document.errors == []
    assert document.is_query("Page")
