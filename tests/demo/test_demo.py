"""`progress demo` on a real stack shows the whole review log, in charts of plain characters."""

import functools
import io
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from progress.adapters.postgres import database
from progress.adapters.postgres.statements import blocks
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
from progress.local import ports, readiness
from tests.support import anki_files, cli, folders
from tests.support.anki_files import Entry


@functools.cache
def total() -> int:
    """Return the number of the demo's events: those in the messages, one goal, one rest day."""
    return sum(len(message.events) for message in loading.messages()) + 2


def expected_counts() -> dict[str, int]:
    return {"events": total(), "pending": 0, "dead_letters": 0, "head": total()}


@dataclass(frozen=True)
class Stack:
    """A local stack that the tests use only through commands."""

    folder: Path
    port: int

    def run(self, *command: str) -> cli.Result:
        """Run a command that may fail."""
        environment = {"PROGRESS_DATA_DIR": str(self.folder), "NO_COLOR": "1", "COLUMNS": "80"}
        return cli.progress("", *command, **environment)

    def progress(self, *command: str) -> str:
        """Run the command, assert that the command succeeds, and return its output."""
        return cli.expect_success(self.run(*command))

    def demo(self) -> list[str]:
        return self.progress("demo", "--port", str(self.port)).splitlines()

    def await_delivery(self) -> None:
        """Wait until every push is acknowledged."""
        env = json.loads(self.progress("env", "--json"))
        connection = database.connect(env["database_url"])
        queue = blocks("transport/queue")["waiting"]
        readiness.wait(lambda: not connection.run(queue), "delivery", seconds=60)
        connection.close()

    def counts(self) -> dict[str, int]:
        status = json.loads(self.progress("status", "--json"))
        return {name: status[name] for name in ("events", "pending", "dead_letters", "head")}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with folders.create("demo") as folder:
        stack = Stack(folder, ports.reserve())
        yield stack
        stack.progress("down")


@pytest.fixture(scope="module")
def first(stack: Stack) -> list[str]:
    return stack.demo()


@pytest.fixture(scope="module")
def second(stack: Stack, first: list[str]) -> list[str]:
    return stack.demo()


def test_a_first_run_records_each_event_once(stack: Stack, first: list[str]) -> None:
    assert f"New: {total():,} of {total():,} events." in "\n".join(first)
    assert stack.counts() == expected_counts()


def test_the_demo_shows_the_known_facts_of_the_review_log(first: list[str]) -> None:
    shown = "\n".join(first)
    for fact in (
        "24 days in a row, but no answer yet today: the streak is at risk",
        "The longest run: 24 days",
        "64 sessions",
        "71 % of all answers right",
        "61 days with answers",
    ):
        assert fact in shown
    for level in ("A1", "A2", "B1", "B2", "C1", "C2"):
        assert re.search(rf"^  {level} .* known", shown, re.MULTILINE)


def test_the_demo_prints_plain_text_of_80_columns_if_there_is_no_terminal(first: list[str]) -> None:
    assert not any("\x1b" in line for line in first)
    wide = [line for line in first if len(line) > 80]
    assert wide == []


def test_the_demo_ends_with_the_next_steps_and_does_not_print_a_token(
    stack: Stack, first: list[str]
) -> None:
    start = next(n for n, line in enumerate(first) if line.startswith("Next"))
    end = "\n".join(first[start:])
    page = next(line for line in first[start + 1 :] if "http" in line)
    assert re.fullmatch(rf"http://127.0.0.1:{stack.port}/#sign-in=[\w-]{{32}}", page)
    assert f"http://127.0.0.1:{stack.port}/graphql" in end
    assert "eyJ" not in "\n".join(first)
    assert "progress down" in end


def test_the_record_is_shifted_so_that_it_ends_yesterday_and_its_last_weeks_are_compared(
    first: list[str],
) -> None:
    shown = " ".join(" ".join(first).split())
    assert re.search(r"All dates are shifted by [\d,]+ days", shown)
    assert "The last year" in shown
    assert len(re.findall(r"The week of .*?: [\d,]+ answers, \d+ % right", shown)) == 2


def test_a_second_run_does_not_add_events(
    stack: Stack, first: list[str], second: list[str]
) -> None:
    assert any("New: nothing" in line for line in second)
    start = next(n for n, line in enumerate(second) if line.startswith("Streak"))
    assert without_code(second[start:]) == without_code(first[-len(second[start:]) :])
    stack.await_delivery()
    assert stack.counts() == expected_counts()


def without_code(lines: list[str]) -> list[str]:
    """Return the lines without the sign-in code, which differs in each run."""
    return [line for line in lines if "#sign-in=" not in line]


@pytest.mark.exhaustive
def test_the_as_recorded_option_is_rejected_if_a_record_with_shifted_dates_is_loaded(
    stack: Stack, second: list[str]
) -> None:
    refused = stack.run("demo", "--as-recorded")
    assert refused.returncode == 1
    assert "progress down" in refused.stderr.splitlines()[-1]


def test_the_demo_says_that_the_running_stack_does_not_use_the_given_port(
    stack: Stack, second: list[str]
) -> None:
    shown = " ".join(stack.run("demo", "--as-recorded", "--port", "1").stdout.split())
    assert f"running already, on port {stack.port}; port 1 is not used" in shown


def test_the_import_command_does_not_publish_the_demo_s_events_again(
    stack: Stack, second: list[str]
) -> None:
    learner = loading.LEARNER
    file = word_lists.DATA / "anki_reviews.csv"
    options = ["--user", learner.user_id, "--zone", str(learner.timezone)]
    output = stack.progress("import", "anki", str(file), *options, "--day-start", "4")
    assert "0 events published: 0 answers to 0 cards in 0 sessions" in output
    assert "12,580 answers were recorded before and are left out." in output
    stack.await_delivery()
    assert stack.counts() == expected_counts()


@pytest.mark.exhaustive
def test_the_users_own_collection_is_shown(stack: Stack, second: list[str], tmp_path: Path) -> None:
    notes = dict(enumerate(("apple", "house", "water"), start=1))
    start_ms = (time.time_ns() // 10**9 - 3_600) * 1_000
    entries = [Entry(start_ms + card * 5_000, card) for card in notes]
    file = anki_files.make_collection(tmp_path / "own.anki2", notes, entries)
    shown = " ".join(stack.progress("demo", "--anki", str(file)).split())
    assert "Your record: 3 answers to 3 cards. 3 of 3 cards have a word" in shown
    assert "1 day in a row." in shown
    again = stack.progress("demo", "--anki", str(file))
    assert "New: nothing" in again
    report = json.loads(stack.progress("import", "anki", str(file), "--json"))
    counts = {"published": 0, "answers": 0, "cards": 0, "sessions": 0}
    assert report == counts | {"recorded_before": len(notes), "crammed": 0}


@pytest.mark.exhaustive
def test_a_generated_class_is_loaded_once_for_its_teacher(stack: Stack, second: list[str]) -> None:
    options = ("demo", "--class", "--learners", "2")
    shown = stack.progress(*options)
    assert "2 generated learners" in shown
    assert re.search(rf"^http://127.0.0.1:{stack.port}/#sign-in=[\w-]{{32}}$", shown, re.MULTILINE)
    assert "--role teacher --group class-1" in shown
    assert "New: nothing" in stack.progress(*options)
    refused = stack.run("demo", "--learners", "2")
    assert refused.returncode == 2


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


def test_a_missing_level_or_skill_has_words() -> None:
    share = Share(9, 0.5, 3, 3, 3, None, None, level="UNKNOWN", domain="UNKNOWN")
    item = Item("i", "word", "UNKNOWN", 9, 3, 1)
    drawn = (show.levels([share]), show.domains([share]), show.weakest(Weakest(1, [Edge(item)])))
    shown = "\n".join(line for chart in drawn for line in lines(chart))
    assert "no level" in shown
    assert "no skill" in shown
    assert "unknown" not in shown.lower()


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
        show.knowledge(record.knowledge, history().knowledge_curve),
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
    assert f"about {record.knowledge.expected:,.0f} of 1,205 answered items" in page
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
