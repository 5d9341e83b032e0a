"""The benchmarks' ratios and exit codes."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from bench import __main__, server
from bench.lines import Line, Rounds
from bench.server import Server


def test_each_round_has_a_ratio_and_the_result_is_the_median_of_these_ratios() -> None:
    rounds = Rounds()
    # The values differ between the rounds, as if the machine's speed had changed.
    for ours, theirs in ((10.0, 5.0), (100.0, 50.0), (3.0, 1.0)):
        rounds.add("ours", ours)
        rounds.add("theirs", theirs)
    assert rounds.ratio("ours", "theirs") == 2.0
    assert rounds.median("ours") == 10.0


def test_the_exit_code_is_1_if_a_bar_is_missed_and_the_missed_row_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def yield_line(value: float) -> Callable[[Server], Iterator[Line]]:
        return lambda _server: iter([Line("speed", "ours", "theirs", value, 2.0)])

    monkeypatch.setattr(__main__, "ROWS", {"slow": yield_line(1.9), "fast": yield_line(2.0)})
    monkeypatch.setattr(server, "run", contextlib.nullcontext)  # these rows need no server
    assert __main__.main(["fast"]) == 0
    assert "MISSED" not in capsys.readouterr().out
    assert __main__.main(["fast", "slow"]) == 1
    missed = [one for one in capsys.readouterr().out.splitlines() if one.startswith("MISSED")]
    assert missed == ["MISSED  slow: speed: 1.90 × (≥ 2.00 ×); ours; theirs"]
