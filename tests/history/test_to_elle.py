"""A history becomes appends to lists and reads of lists, as Elle expects them."""

from pathlib import Path
from typing import Any

import pytest

from bench.history import checker, to_elle
from tests.history.test_checker import Step, appended, asked, read, write

_LOG = [[place, f"{place}"] for place in range(1, 44)]


def translate(path: Path, what: str, *steps: Step) -> list[str]:
    """Return the type and the value of each line."""
    lines = to_elle.translate(checker.load(str(write(path / "h", *steps))), what)
    return [line.split(", ")[1][6:] + " " + line.split(":value ")[1][:-2] for line in lines]


def fill() -> list[Step]:
    """Appends of 43 events, and reads of all of them."""
    appends = [step for place, _ in _LOG for step in appended(1, f"{place}")]
    return [*appends, *read(9, _LOG[:10]), *read(9, _LOG, limit=500)]


def test_a_read_becomes_reads_of_lists_of_twenty_events(tmp_path: Path) -> None:
    *_, invoked, whole = translate(tmp_path, "log", *fill())
    lists = whole.removeprefix(":ok ")[1:-1].split("] [")
    assert invoked == whole.replace(":ok", ":invoke")
    assert lists[0] == '[:r "log 0" [' + " ".join(map(str, range(1, 21))) + "]"
    assert lists[2] == ':r "log 2" [41 42 43]]'


@pytest.mark.parametrize(
    ("begin", "limit", "lists"),
    [
        (21, 500, ["1", "2"]),
        (22, 500, ["2"]),  # the list that begins before the read is left out
        (41, 3, ["2"]),
        (41, 500, ["2"]),
        (1, 20, ["0"]),  # the read did not reach the second list
        (1, 21, ["0", "1"]),
    ],
)
def test_a_read_begins_with_a_whole_list(
    tmp_path: Path, begin: int, limit: int, lists: list[str]
) -> None:
    window = read(9, _LOG[begin - 1 :][:limit], begin, limit=limit)
    last = translate(tmp_path, "log", *fill(), *window)[-1]
    assert [part.split('"')[0] for part in last.split('"log ')[1:]] == lists


def test_the_end_of_the_log_is_an_empty_list(tmp_path: Path) -> None:
    twenty = [step for place, _ in _LOG[:20] for step in appended(1, f"{place}")]
    assert translate(tmp_path, "log", *twenty, *read(9, _LOG[:20], limit=500))[-1].endswith(
        '19 20]] [:r "log 1" []]]'
    )


def test_a_query_reads_the_first_answers_of_its_learner(tmp_path: Path) -> None:
    names = translate(tmp_path, "queries", *fill(), *asked(3, 2, 2))
    assert names[-1] == ':ok [[:r "ann 0" [1 2]]]'
    assert translate(tmp_path, "queries", *fill(), *asked(3, 40, 43))[-1].endswith(
        '39 40]] [:r "ann 2" []]]'
    )


def test_more_answers_than_were_sent_are_from_nobody(tmp_path: Path) -> None:
    assert translate(tmp_path, "queries", *appended(1, "a"), *asked(3, 2, 2))[-1].endswith(
        "[1 0]]]"
    )


def test_an_append_and_its_repetition_are_one_append(tmp_path: Path) -> None:
    again: Any = [(p, t, f, v | {"retry": True}) for p, t, f, v in appended(2, "1", "2")]
    steps = [*appended(1, "1", "2", kind="info"), *again, *read(9, _LOG[:2])]
    assert translate(tmp_path, "log", *steps) == [
        ':invoke [[:append "log 0" 1] [:append "log 0" 2]]',
        ':ok [[:append "log 0" 1] [:append "log 0" 2]]',
        ':invoke [[:r "log 0" [1 2]]]',
        ':ok [[:r "log 0" [1 2]]]',
    ]


def test_an_event_that_no_read_has_seen_belongs_to_the_last_list(tmp_path: Path) -> None:
    lost = translate(tmp_path, "log", *fill(), *appended(1, "lost"))[-1]
    assert lost == ':ok [[:append "log 2" 44]]'


def test_what_is_translated(tmp_path: Path) -> None:
    steps = [*appended(1, "1"), *read(9, _LOG[:1]), *asked(3, 1, 1), *asked(4, 1, 1, cached=True)]
    for what, lines in (("log", 4), ("queries", 4), ("all", 8)):
        assert len(translate(tmp_path, what, *steps)) == lines
    whole = translate(tmp_path, "all", *steps)[0]
    assert whole == ':invoke [[:append "log 0" 1] [:append "ann 0" 1]]'
