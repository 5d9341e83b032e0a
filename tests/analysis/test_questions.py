"""Each question returns the oracle's rows, but omits rows about fewer than 20 learners."""

import dataclasses
import functools
import json
import random
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.analysis import questions
from progress.analysis.questions import FEWEST_LEARNERS, Days, Question
from progress.errors import ProgressError
from progress.projections import batch
from tests import oracle
from tests.oracle import analyses
from tests.oracle.events import event_uuid
from tests.support import archives, cli, event_logs, model_rows, sample_events, written_archives
from tests.support.event_logs import Log

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MONDAY = datetime(2024, 3, 4, 12, tzinfo=UTC)
EVER = (date.min, date.max)
ITEMS = 24  # the number of generated items
Fact = tuple[str | None, str, dict[str, Any], datetime]  # learner, type, data, time
COUNTED: dict[
    Question, tuple[Callable[..., Any], tuple[str, ...], str]
] = {  # for each question: the oracle's function, the key columns and the count columns
    questions.RETENTION: (analyses.retention, ("week", "maturity"), "learners asked recalled"),
    **{
        question: (
            functools.partial(analyses.retention_by, str(question.by)),
            ("week", "maturity", "name"),
            "learners asked recalled",
        )
        for question in (questions.RETENTION_BY_LEVEL, questions.RETENTION_BY_DOMAIN)
    },
    questions.ITEMS: (
        analyses.items,
        ("kind", "name"),
        "learners asked recalled answers correct_answers",
    ),
    questions.COHORTS: (analyses.cohorts, ("cohort", "week"), "learners active"),
    questions.MEMORY: (analyses.memory, ("age_from", "stability_from"), "learners tests recalled"),
}
RATES = {  # for each question: the name of a rate, which is the quotient of two counts
    questions.RETENTION: ("retention_rate", "recalled", "asked"),
    questions.RETENTION_BY_LEVEL: ("retention_rate", "recalled", "asked"),
    questions.RETENTION_BY_DOMAIN: ("retention_rate", "recalled", "asked"),
    questions.ITEMS: ("retention_rate", "recalled", "asked"),
    questions.COHORTS: ("active_rate", "active", "learners"),
    questions.MEMORY: ("actual_recall", "recalled", "tests"),
}


def number_events(facts: Iterable[Fact]) -> list[oracle.Event]:
    return [
        oracle.Event(UUID(int=n), kind, data, at, at, user)
        for n, (user, kind, data, at) in enumerate(facts)
    ]


def multiply(events: list[oracle.Event], copies: int) -> list[oracle.Event]:
    """Return `copies` copies of each learner's events, and the other events once.

    The event ids of a copy are in the same order as the original ids. A copied retraction retracts
    the copy of the event.
    """
    return [
        dataclasses.replace(
            event,
            event_id=_copy_id(event.event_id, copy),
            user_id=event.user_id and f"{event.user_id}-{copy}",
            data=_copy_data(event, copy),
        )
        for event in events
        for copy in range(copies if event.user_id else 1)
    ]


def _copy_id(event_id: UUID, copy: int) -> UUID:
    return UUID(int=event_id.int | copy << 64)


def _copy_data(event: oracle.Event, copy: int) -> Mapping[str, Any]:
    retracted = event.data.get("retracted_event_id")
    if not isinstance(retracted, str):
        return event.data
    return {**event.data, "retracted_event_id": f"{_copy_id(event_uuid(retracted), copy)}"}


def ask(question: Question, events: list[oracle.Event], days: Days) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        archive = storage.open_storage(folder)
        written_archives.write(archive, events)
        rows = questions.ask(archive, question, days, lambda *_: None)
    return [{name: getattr(row, name) for name in row.__struct_fields__} for row in rows]


def find_days(events: list[oracle.Event]) -> st.SearchStrategy[date | None]:
    days = {event.occurred_at.date() + timedelta(n) for event in events for n in (-1, 0, 1)}
    return st.none() | st.sampled_from(sorted(days))


@settings(max_examples=max(6, settings().max_examples // 2))
@given(
    log=event_logs.logs(size=40),
    question=st.sampled_from(list(COUNTED)),
    copies=st.sampled_from((20, 20, 19, 10)),
    data=st.data(),
)
def test_each_question_gives_the_oracle_s_rows_about_at_least_20_learners(
    log: Log, question: Question, copies: int, data: st.DataObject
) -> None:
    events = written_archives.record(log.envelopes)
    if not events:
        return
    first, last = data.draw(find_days(events)), data.draw(find_days(events))
    days = Days(first or date.min, last or date.max)
    world = oracle.see(events, NOW)
    compute, names, counts = COUNTED[question]
    # The oracle reads one copy; its counts are multiplied, because all copies are equal.
    fewest = -(-FEWEST_LEARNERS // copies)
    expected = {
        cell: tuple(count and copies * count for count in found)
        for cell, found in compute(world, days, fewest).items()
    }
    rows = ask(question, multiply(events, copies), days)
    assert {
        tuple(str(row[name]) for name in names): tuple(row[name] for name in counts.split())
        for row in rows
    } == expected
    for row in rows:
        rate, part, whole = RATES[question]
        assert row[rate] == (None if row[part] is None else row[part] / row[whole])


@pytest.mark.exhaustive
@settings(max_examples=max(6, settings().max_examples // 2))
@given(answers=st.lists(st.tuples(st.integers(0, 8), st.sampled_from("ab"), st.booleans())))
def test_the_recalls_and_the_losses_are_the_oracle_s(answers: list[tuple[int, str, bool]]) -> None:
    """A learner answers on days 0, 1, 3, 7 … 255, another learner only the item "a"."""
    events = [
        given_answer(n, user, item, 2**place - 1, is_correct=is_correct)
        for n, (place, item, is_correct) in enumerate(answers)
        for user in ("ann", "bob")[: 1 + (item == "a")]
    ]
    if not events:
        return
    numbers = analyses.memory_numbers(oracle.see(events, NOW), EVER, fewest=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(questions, "FEWEST_LEARNERS", 2)
        rows = ask(questions.MEMORY, events, Days())
    assert [(str(row["age_from"]), str(row["stability_from"])) for row in rows] == sorted(
        numbers, key=lambda cell: ([name != "None" for name in cell[::-1]], [*map(to_days, cell)])
    )
    for row in rows:
        expected = numbers[str(row["age_from"]), str(row["stability_from"])]
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=2e-5)


def to_days(name: str) -> int:
    return -1 if name == "None" else int(name)


def given_answer(n: int, user: str, item: str, day: int, *, is_correct: bool) -> oracle.Event:
    kind = "CorrectAnswerGiven" if is_correct else "IncorrectAnswerGiven"
    data = {"session_id": "s", "item_id": item, "response_time_ms": 5}
    at = MONDAY + timedelta(day, seconds=n)
    number = n << 1 | (user == "bob")
    return oracle.Event(UUID(int=number), kind, data, at, at, user)


def test_the_sums_over_classes_count_no_hidden_class() -> None:
    """19 learners are tested after three days, 20 learners after ten days."""
    events = [
        given_answer(2 * n + place, f"u{n}", "i", day, is_correct=True)
        for n in range(39)
        for place, day in enumerate((0, 3 if n < 19 else 10))
    ]
    rows = ask(questions.MEMORY, events, Days())
    cells = [(None, None), (7, None), (None, 1), (7, 1)]
    assert [(row["age_from"], row["stability_from"]) for row in rows] == cells
    assert {(row["learners"], row["tests"]) for row in rows} == {(20, 20)}


def test_analyses_read_neither_display_names_nor_lists(tmp_path: Path) -> None:
    data = {"user_id": "ann", "email": "", "display_name": "Ann", "timezone": "Asia/Tokyo"}
    named = {"event_id": str(UUID(int=1)), "event_type": "UserCreated", "data": data}
    envelope = {**named, "occurred_at": MONDAY.isoformat()}
    word = {"user_id": "ann", "list_id": "l", "item_id": "i", "headword": "Wort"}
    listed = {**envelope, "event_id": str(UUID(int=2)), "event_type": "ItemListed", "data": word}
    recorded = written_archives.record([envelope, listed])
    written_archives.write(storage.open_storage(str(tmp_path)), recorded)
    with questions.open_duck() as (duck, _):
        selected = "f.timezone, f.display_name, l.event_data FROM facts f, log l"
        copy = f"CREATE TABLE seen AS SELECT {selected}"
        duck.read_until(MONDAY.date())
        duck.add([*tmp_path.rglob("*.parquet")], [], copy)
        ((timezone, name, text),) = duck.run("FROM seen")
    assert (timezone, name) == ("Asia/Tokyo", None)
    assert json.loads(text).keys() == {"user_id", "email", "timezone"}


@pytest.mark.first_in_gate
@pytest.mark.parametrize("seed", range(2))
def test_no_rows_reveal_a_group_of_1_to_19_learners_even_by_subtraction(seed: int) -> None:
    events = generate(random.Random(seed))
    few = range(1, FEWEST_LEARNERS)
    cohorts = ask(questions.COHORTS, events, Days())
    assert {row["active"] is None for row in cohorts} == {False, True}
    assert min(row["learners"] for row in cohorts) >= FEWEST_LEARNERS
    for row in cohorts:
        assert row["active"] not in few
        assert row["learners"] - (row["active"] or 0) not in few
    rows = ask(questions.ITEMS, events, Days())
    items = [row for row in rows if row["kind"] == "item"]
    assert 0 < len(items) < ITEMS
    assert min(row["learners"] for row in items) >= FEWEST_LEARNERS
    tests: dict[str, set[str]] = defaultdict(set)  # the learners of each item
    for event in events:
        if event.type == "CorrectAnswerGiven":
            tests[event.data["item_id"]].add(str(event.user_id))
    described = {
        event.data["item_id"]: {"level": event.data["cefr_level"], "domain": event.data["domains"]}
        for event in events
        if event.type == "ItemPublished"
    }
    sums = [row for row in rows if row["kind"] != "item"]
    assert {row["kind"] for row in sums} == {"level", "domain"}
    assert sum(row["asked"] for row in sums if row["kind"] == "level") > sum(
        item["asked"] for item in items
    )
    shown = {item["name"] for item in items}
    for row in sums:
        named = {
            item
            for item, place in described.items()
            if row["name"] in (place[row["kind"]] or ["UNKNOWN"])
        }
        hidden = set[str]().union(*(tests[item] for item in named - shown))
        rest = row["asked"] - sum(len(tests[item]) for item in named & shown)
        assert rest == (sum(len(tests[item]) for item in named - shown) if row["complete"] else 0)
        assert not rest or (len(hidden) >= FEWEST_LEARNERS and len(named - shown) > 1)


@pytest.mark.exhaustive
def test_a_level_has_no_row_if_all_tests_less_its_own_are_of_few_learners() -> None:
    levels = {"i0": "A1", "i1": "B2"}
    facts: list[Fact] = [
        (None, "ItemPublished", {"item_id": item, "cefr_level": level, "domains": []}, MONDAY)
        for item, level in levels.items()
    ]
    shown = {}
    for others in (19, 20):
        tested = [(f"u{user}", "i0") for user in range(30)]
        tested += [(f"u{user}", "i1") for user in range(others)]
        done: list[Fact] = [
            (user, kind, {"item_id": item, **data}, MONDAY + timedelta(day))
            for user, item in tested
            for kind, data, day in (
                ("ReviewProcessed", {"new_interval": 3, "easiness_factor": 2.5}, 0),
                ("CorrectAnswerGiven", {"session_id": user, "response_time_ms": 5}, 1),
            )
        ]
        rows = ask(questions.RETENTION_BY_LEVEL, number_events([*facts, *done]), Days())
        shown[others] = {row["name"]: row["asked"] for row in rows}
    assert shown == {19: {}, 20: {"A1": 30, "B2": 20}}


def generate(chance: random.Random) -> list[oracle.Event]:
    """Return the events of 60 learners: their tests on 24 items, and their sessions over six weeks.

    No learner is tested on the first item; all 60 are tested on the last item. The learners form
    two cohorts of 30. After a cohort's first week, 0 to 30 of its learners are active in each week.
    """
    facts: list[Fact] = []
    for item in range(ITEMS):
        domains, level = chance.choice(["", "R", "RW", "LS"]), chance.choice(["A1", "B2"])
        described = {"item_id": f"i{item}", "cefr_level": level, "domains": [*domains]}
        facts.append((None, "ItemPublished", described, MONDAY))
        for user in chance.sample(range(60), 60 * item // (ITEMS - 1)):
            review = {"item_id": f"i{item}", "new_interval": 3, "easiness_factor": 2.5}
            answer = {"session_id": f"s{user}", "item_id": f"i{item}", "response_time_ms": 5}
            facts.append((f"u{user}", "ReviewProcessed", review, MONDAY))
            facts.append((f"u{user}", "CorrectAnswerGiven", answer, MONDAY + timedelta(1)))
    for week in range(6):
        for cohort in range(min(week + 1, 2)):
            active = 30 if week == cohort else chance.choice([0, 5, 15, 25, 29, 30])
            for user in chance.sample(range(30 * cohort, 30 * cohort + 30), active):
                done = {"session_id": f"s{user}-{week}", "score": 80, "duration_seconds": 60}
                facts.append((f"u{user}", "SessionCompleted", done, MONDAY + timedelta(7 * week)))
    return number_events(facts)


def test_events_that_the_folds_skip_as_poisoned_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(questions, "FEWEST_LEARNERS", 1)
    facts: list[tuple[str, dict[str, Any]]] = [
        ("ReviewProcessed", {"item_id": "i", "new_interval": 3, "easiness_factor": 2.5}),
        ("IncorrectAnswerGiven", {"session_id": "s", "item_id": "i", "response_time_ms": "soon"}),
        ("ReviewProcessed", {"item_id": "i", "new_interval": "soon", "easiness_factor": 2.5}),
        ("CorrectAnswerGiven", {"session_id": "s", "item_id": "i", "response_time_ms": 5}),
    ]
    events = [("u", kind, data, MONDAY + timedelta(n)) for n, (kind, data) in enumerate(facts)]
    (row,) = ask(questions.RETENTION, number_events(events), Days())
    assert (row["asked"], row["recalled"]) == (1, 0)


def test_the_error_says_that_the_archive_changed_while_it_was_read(tmp_path: Any) -> None:
    archive = storage.open_storage(str(tmp_path))
    done = {"session_id": "s", "score": 80, "duration_seconds": 60}
    events = number_events((f"u{n}", "SessionCompleted", done, MONDAY) for n in range(2))
    written_archives.write(archive, events)

    def replace(*_: object) -> None:
        """Replace the archive during the read: purge its files, then publish other files."""
        for file in list(archive.list_tree("ranges")):
            archive.purge(file.path)
        written_archives.write(archive, events, parts=1)

    with pytest.raises(ProgressError, match="changed while it was being read: run the command"):
        questions.ask(archive, questions.COHORTS, Days(), replace)


def analyse(folder: Path, *words: str) -> str:
    answer = cli.progress("", "analyse", *words, PROGRESS_DATA_DIR=str(folder), TZ="Asia/Kathmandu")
    assert answer.stderr == ""
    return cli.expect_success(answer)


@pytest.mark.exhaustive
def test_an_archived_log_of_45_learners_is_analysed_without_a_database(
    connection: Connection, tmp_path: Path
) -> None:
    archived = storage.open_storage(str(tmp_path / "archive"))
    sample_events.record_lessons(connection, *(f"few-{n}" for n in range(19)), lessons=2)
    batch.run(connection)
    archives.run(connection, archived)
    assert analyse(tmp_path, "cohorts", "--json") == "[]\n"
    line = analyse(tmp_path, "retention", "--chart", str(tmp_path / "weeks.json"))
    assert line.startswith("Nothing to show: in the archive, no week has tests of 20 learners or ")
    assert "`progress archive --now`" in line
    assert not (tmp_path / "weeks.json").exists()

    sample_events.record_lessons(connection, *(f"many-{n}" for n in range(26)), lessons=9)
    batch.run(connection)
    archives.run(connection, archived)
    world = oracle.see(model_rows.read_events(connection), datetime(2030, 1, 1, tzinfo=UTC))
    rows: list[dict[str, Any]] = json.loads(analyse(tmp_path, "retention", "--json"))
    assert {
        (row["week"], row["maturity"]): (row["learners"], row["asked"], row["recalled"])
        for row in rows
    } == analyses.retention(world, EVER, fewest=20)
    lines = analyse(tmp_path, "items", "--csv").splitlines()
    assert len(lines) - 1 == len(json.loads(analyse(tmp_path, "items", "--json")))
    output = analyse(tmp_path, "items", "--chart", str(tmp_path / "items.json"))
    assert all(line.split(",")[1] in output for line in lines[1:])
    assert "retention_rate" in (tmp_path / "items.json").read_text(encoding="utf-8")
    assert "2024-04-01" in analyse(tmp_path, "cohorts", "--to", "2024-04-30")


def test_reversed_dates_two_formats_and_a_missing_archive_are_rejected(tmp_path: Path) -> None:
    folder = str(tmp_path)
    days = ("--from", "2024-05-02", "--to", "2024-05-01")
    for options in (days, ("--json", "--csv")):
        wrong = cli.progress("", "analyse", "items", *options, PROGRESS_DATA_DIR=folder)
        assert wrong.returncode == 2
    missing = cli.progress("", "analyse", "items", PROGRESS_DATA_DIR=folder)
    cli.expect_failure(missing, "no archive yet: run `progress archive --now`")
