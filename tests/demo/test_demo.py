"""`progress demo` on a real stack loads the whole review log, and prints its numbers."""

import csv
import functools
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from progress.adapters.pubsub import publisher
from progress.demo import loading
from progress.event_store import envelope
from progress.event_store.entries import Message, ParsedEvent
from progress.importers import word_lists
from progress.serve import readiness
from tests.support import anki_files, local_stack
from tests.support.anki_files import Entry
from tests.support.local_stack import Stack

SIGN_IN = r"[\w-]+\.[\w-]+\.[\w-]+"  # a token


@functools.cache
def total() -> int:
    """Return the number of the demo's events: with a goal, a rest day, a task and today's session.

    The learner joins the group whose task is a list of 40 items. The session has a start, an end,
    and an answer to each of 210 cards.
    """
    return sum(len(message.events) for message in loading.messages()) + 2 + 3 + 40 + 2 + 210


def expected_counts() -> dict[str, int]:
    return {"events": total(), "pending": 0, "dead_letters": 0, "head": total()}


def load(stack: Stack, port: int) -> list[str]:
    return stack.progress("demo", "--port", str(port)).splitlines()


def counts(stack: Stack) -> dict[str, int]:
    status = json.loads(stack.progress("status", "--json"))
    return {name: status[name] for name in expected_counts()}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    # The day begins at four.
    readiness.wait(lambda: time.time() % 3_600 < 3_540, "the hour", seconds=90)
    with local_stack.create(NO_COLOR="1", COLUMNS="80") as made:
        yield made


@pytest.fixture(scope="module")
def first(stack: Stack) -> list[str]:
    return load(stack, stack.port)


@pytest.fixture(scope="module")
def second(stack: Stack, first: list[str]) -> list[str]:
    return load(stack, 1)


def test_a_first_run_records_each_event_once(stack: Stack, first: list[str]) -> None:
    assert f"New: {total():,} of {total():,} events." in "\n".join(first)
    assert counts(stack) == expected_counts()


def test_nothing_of_the_demo_counts_wrongly(stack: Stack, first: list[str]) -> None:
    assert stack.find_mistakes() == []


def test_the_demo_shows_the_known_facts_of_the_review_log(first: list[str]) -> None:
    shown = "\n".join(first)
    for fact in (
        "25 days in a row.",
        "The longest run: 25 days",
        "65 sessions",
        "71 % of all answers right",
        "12,790 answers on 62 days.",
        "of 1,205 answered words",
    ):
        assert fact in shown
    for level in ("A1", "A2", "B1", "B2", "C1", "C2"):
        assert re.search(rf"^  {level}: [\d,]+ of [\d,]+ words known", shown, re.MULTILINE)


def test_the_demo_prints_plain_text_of_80_columns_if_there_is_no_terminal(first: list[str]) -> None:
    assert not any("\x1b" in line for line in first)
    wide = [line for line in first if len(line) > 80 and "#sign-in=" not in line]
    assert wide == []


def test_the_demo_ends_with_the_next_steps_and_prints_only_a_token_to_sign_in(
    stack: Stack, first: list[str]
) -> None:
    start = next(n for n, line in enumerate(first) if line.startswith("Next"))
    end = "\n".join(first[start:])
    page = next(line for line in first[start + 1 :] if "http" in line)
    assert re.fullmatch(rf"http://127.0.0.1:{stack.port}/#sign-in={SIGN_IN}", page)
    assert f"http://127.0.0.1:{stack.port}/graphql" in end
    assert "eyJ" not in "\n".join(first).replace(page, "")
    assert "progress down" in end


def test_the_record_is_shifted_so_that_it_ends_yesterday_and_today_has_a_session(
    first: list[str],
) -> None:
    shown = " ".join(" ".join(first).split())
    assert re.search(r"All dates are shifted by [\d,]+ days", shown)
    today = datetime.now(ZoneInfo(str(loading.LEARNER.timezone))) - timedelta(hours=4)
    assert f"The year to {today.day} {today:%B %Y}:" in shown


def test_a_second_run_does_not_add_events(
    stack: Stack, first: list[str], second: list[str]
) -> None:
    assert any("New: nothing" in line for line in second)
    start = next(n for n, line in enumerate(second) if "in a row" in line)
    assert without_token(second[start:]) == without_token(first[-len(second[start:]) :])
    assert counts(stack) == expected_counts()


def without_token(lines: list[str]) -> list[str]:
    """Return the lines without the sign-in token, which differs in each run."""
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
    shown = " ".join(" ".join(second).split())
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
    assert counts(stack) == expected_counts()


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
    report = json.loads(stack.progress("import", "anki", str(file), "--catalogue", "--json"))
    done = {"published": 0, "answers": 0, "cards": 0, "sessions": 0}
    left_out = ["crammed", "set_aside", "moved", "unmoved", "manual", "repeated"]
    left_out += ["lists", "listed", "unlisted", "faulty"]
    outcomes = ["appended", "redelivered", "pending", "erased", "unknown_types"]
    found = {"learners": 1, "recorded_before": len(notes), "fields": {}, "dead_letters": []}
    assert report == done | dict.fromkeys([*left_out, *outcomes], 0) | found


@pytest.mark.exhaustive
def test_a_generated_class_is_loaded_once_for_its_teacher(stack: Stack, second: list[str]) -> None:
    options = ("demo", "--class", "--learners", "2")
    shown = stack.progress(*options)
    assert "2 generated learners" in shown
    assert re.search(rf"^http://127.0.0.1:{stack.port}/#sign-in={SIGN_IN}$", shown, re.MULTILINE)
    assert "--role teacher --group class-1" in shown
    assert "New: nothing" in stack.progress(*options)
    refused = stack.run("demo", "--learners", "2")
    assert refused.returncode == 2


def test_every_card_gets_a_headword_and_every_headword_gets_an_item() -> None:
    words = word_lists.read()
    cards = [str(number) for number in range(1_205)]
    items = loading.deal(words, cards)
    assert sorted(items.values(), key=lambda w: (w.level, w.headword)) == words
    assert set(cards) < set(items)
    for message in loading.item_messages(items):
        read = envelope.decode(publisher.encode(message), Message())
        assert all(isinstance(entry, ParsedEvent) for entry in read)


def test_the_levels_and_the_topics_of_the_word_lists_are_lists_of_the_catalogue() -> None:
    items = loading.deal(word_lists.read(), ["card"])
    made = [event for message in loading.list_messages(items) for event in message.events]
    assert all("user_id" not in event["data"] for event in made)
    published = {e["data"]["list_id"]: e["data"] for e in made if "name" in e["data"]}
    listed = Counter(e["data"]["list_id"] for e in made if "item_id" in e["data"])
    levels = Counter(f"CEFR-J: {word.level}" for word in items.values())
    assert {id_: n for id_, n in listed.items() if "CEFR-J" in id_} == levels
    assert [published[id_]["rank"] for id_ in sorted(levels)] == [1, 2, 3, 4, 5, 6]
    with (word_lists.DATA / word_lists.WORD_LISTS[0]).open(encoding="utf-8", newline="") as text:
        rows = {(row["CoreInventory 1"], row["headword"].strip()) for row in csv.DictReader(text)}
    topics = Counter(f"Core Inventory: {topic}" for topic, _ in rows if topic)
    assert listed == levels | topics


def test_a_headword_with_several_levels_gets_the_lowest_level() -> None:
    levels = {word.headword: word.level for word in word_lists.read()}
    assert len(levels) == 8_657
    assert (levels["a"], levels["cloak"]) == ("A1", "C1")
