"""The demo's charts show any learner's numbers as plain characters, within 80 columns."""

import io
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from progress.adapters.pubsub import publisher
from progress.demo import loading, show
from progress.demo.graphql_client import (
    Day,
    DueDay,
    Edge,
    History,
    Item,
    Overview,
    Share,
    Weakest,
    Week,
)
from progress.event_store import envelope
from progress.event_store.envelope import Message, ParsedEvent
from progress.importers import word_lists

YEAR = date(2024, 1, 1), date(2024, 12, 31)

counts = st.integers(0, 100_000)
days_of_2024 = st.dates(date(2024, 1, 1), date(2024, 12, 31))


def overview() -> Overview:
    """Return the demo learner's overview from a recorded response of the query function."""
    file = Path(__file__).parent / "answers" / "standing.json"
    return msgspec.json.decode(file.read_bytes(), type=Overview)


def history() -> History:
    file = Path(__file__).parent / "answers" / "history.json"
    return msgspec.json.decode(file.read_bytes(), type=History)


def lines(chart: Text) -> list[str]:
    """Print the chart on a terminal of 80 columns without colour; return the printed lines."""
    console = Console(file=io.StringIO(), width=80, no_color=True)
    console.print(chart)
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue().splitlines()
    assert len(printed) == len(chart.plain.splitlines()), "a line was broken"
    assert all(len(line) <= 80 for line in printed)
    return printed


def cells(answers: dict[date, int]) -> dict[date, str]:
    """Return the glyph of each day in the heatmap of 2024."""
    chart = lines(show.year([day(at, count) for at, count in answers.items()], *YEAR))
    rows = [line[6:].ljust(53) for line in chart[1:8]]
    return {
        at: rows[at.weekday()][(at - date(2024, 1, 1)).days // 7]
        for at in (date(2024, 1, 1) + timedelta(n) for n in range(366))
    }


def day(at: date, answers: int) -> Day:
    return Day(at, answers, answers, 1)


@given(st.dictionaries(days_of_2024, counts))
def test_the_heatmap_marks_exactly_the_active_days(answers: dict[date, int]) -> None:
    shown = {at for at, glyph in cells(answers).items() if glyph != "·"}
    assert shown == {at for at, count in answers.items() if count}


@given(st.dictionaries(days_of_2024, counts, min_size=2))
def test_days_with_more_answers_never_get_a_lighter_shade(answers: dict[date, int]) -> None:
    glyphs = cells(answers)
    shades = ["·░▒▓█".index(glyphs[at]) for at in sorted(answers, key=answers.__getitem__)]
    assert shades == sorted(shades)


def test_the_heatmap_shows_all_days_of_a_year_that_begins_on_a_sunday() -> None:
    first, last = date(2023, 1, 1), date(2023, 12, 31)
    chart = lines(show.year([day(first, 5), day(last, 5)], first, last))
    assert chart[7][6] != "·"
    assert chart[7].rstrip()[-1] != "·"


@given(st.lists(st.tuples(counts, st.floats(0, 1)), max_size=53))
def test_the_week_with_the_most_answers_has_the_highest_column(
    rows: list[tuple[int, float]],
) -> None:
    start = date(2024, 1, 1)
    weeks = [Week(start + timedelta(7 * n), *row) for n, row in enumerate(rows)]
    chart = lines(show.weeks(weeks))
    if highest := max((week.answers for week in weeks), default=0):
        assert f"{highest:,}" in chart[0]
        assert "█" in chart[0]


@given(*[st.integers(0, 9_999)] * 4)
def test_a_bar_draws_exactly_the_counts_above_zero(
    long: int, short: int, new: int, unmet: int
) -> None:
    studied = long + short + new
    share = Share(studied, 0.5, new, short, long, studied + unmet, 0.5, level="B1")
    [line] = lines(show.levels([share]))[1:]
    for count, glyph in ((long, "█"), (short, "▓"), (new, "▒")):
        assert (glyph in line) == (count > 0)
    assert f"{long + short:,} of" in line


@given(st.lists(counts, min_size=1, max_size=14))
def test_the_forecast_shows_the_number_of_items_due_today(items: list[int]) -> None:
    today = date(2026, 11, 20)
    forecast = [DueDay(today + timedelta(n), count) for n, count in enumerate(items)]
    text = "\n".join(lines(show.due(forecast, date(2024, 10, 6))))
    assert f"{items[0]:,} items due today" in text
    assert ("Most have waited since 2024" in text) == (items[0] > 0)


def test_the_charts_show_the_whole_overview() -> None:
    record = overview()
    assert record.user_progress
    drawn: Sequence[Text] = (
        show.streak(record.streak, record.user_progress),
        show.levels(record.level_stats),
        show.domains(record.domain_stats),
        show.weakest(record.weakest),
        show.due(record.due_forecast, record.streak.last_study_date),
    )
    page = "\n".join(line for chart in drawn for line in lines(chart))
    for fact in ("0 days in a row.", "24 days", "6 October 2024", "64 sessions", "71 %"):
        assert fact in page
    for share in record.level_stats:
        assert f"{share.catalogue_items:,}" in page
    for name in ("reading", "writing", "listening", "speaking"):
        assert name in page
    for edge in record.weakest.edges:
        assert edge.node.headword
        assert edge.node.headword in page


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.booleans())
def test_a_word_from_a_deck_of_others_is_drawn_as_plain_text(text: str, has_word: bool) -> None:
    item = Item("i" if has_word else text, text if has_word else None, "B1", 9, 3, 1)
    assert all(line.isprintable() for line in lines(show.weakest(Weakest(1, [Edge(item)]))))


def test_the_heatmap_of_the_demo_learner_marks_61_days() -> None:
    shown = lines(show.year(history().daily_stats, *YEAR))
    assert "61 days with answers" in shown[-1]
    assert sum(len(line[6:].replace("·", "").replace(" ", "")) for line in shown[1:8]) == 61


def test_every_card_gets_a_headword_and_every_headword_gets_an_item() -> None:
    words = word_lists.read()
    cards = [str(number) for number in range(1_205)]
    items = loading.deal(words, cards)
    assert sorted(items.values(), key=lambda w: (w.level, w.headword)) == words
    assert set(cards) < set(items)
    for message in loading.item_messages(items):
        read = envelope.decode(publisher.encode(message), Message())
        assert all(isinstance(entry, ParsedEvent) for entry in read)


def test_a_headword_with_several_levels_gets_the_lowest_level() -> None:
    levels = {word.headword: word.level for word in word_lists.read()}
    assert len(levels) == 8_657
    assert (levels["a"], levels["cloak"]) == ("A1", "C1")
