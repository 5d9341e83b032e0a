"""The answers from an archive equal the oracle's, but omit rows about fewer than 20 learners."""

import dataclasses
import tempfile
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from progress.adapters.storage import storage
from progress.analysis import questions
from progress.analysis.questions import FEWEST_LEARNERS, Days, Question
from progress.errors import ProgressError
from tests import oracle
from tests.oracle import analyses
from tests.support import event_logs, written_archives
from tests.support.event_logs import Log

pytestmark = pytest.mark.timeout(600)  # DuckDB is slow on a busy machine

NOW = datetime(2030, 1, 1, tzinfo=UTC)
COUNTED = {  # for each question: the oracle's function, the key columns and the count columns
    questions.RETENTION: (analyses.retention, ("week", "maturity"), "learners asked recalled"),
    questions.ITEMS: (
        analyses.items,
        ("kind", "name"),
        "learners asked recalled answers correct_answers",
    ),
    questions.COHORTS: (analyses.cohorts, ("cohort", "week"), "learners active"),
}


def multiply(events: list[oracle.Event], copies: int) -> list[oracle.Event]:
    """Return `copies` copies of each learner's events, and the other events once.

    The event ids of a copy are in the same order as the original ids.
    """
    return [
        dataclasses.replace(
            event,
            event_id=UUID(int=event.event_id.int | copy << 64),
            user_id=event.user_id and f"{event.user_id}-{copy}",
        )
        for event in events
        for copy in range(copies if event.user_id else 1)
    ]


def ask(question: Question, events: list[oracle.Event], days: Days) -> list[dict[str, Any]]:
    """Return the rows that answer the question from an archive of these events."""
    with tempfile.TemporaryDirectory() as folder:
        archive = storage.open_storage(folder)
        written_archives.write(archive, events)
        rows = questions.ask(archive, question, days, lambda *_: None)
    return [{name: getattr(row, name) for name in row.__struct_fields__} for row in rows]


def find_days(events: list[oracle.Event]) -> st.SearchStrategy[date | None]:
    """Return a strategy for a day near an event, or None, which means no limit."""
    days = {event.occurred_at.date() + timedelta(n) for event in events for n in (-1, 0, 1)}
    return st.none() | st.sampled_from(sorted(days))


@settings(max_examples=max(12, settings().max_examples // 2))
@given(
    log=event_logs.logs(size=40),
    question=st.sampled_from(list(COUNTED)),
    copies=st.sampled_from((20, 20, 19, 10)),
    data=st.data(),
)
def test_the_rows_equal_the_oracle_s_rows_that_count_at_least_20_learners(
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
    expected = {
        cell: tuple(copies * count for count in found)
        for cell, found in compute(world, days).items()
        if copies * found[0] >= FEWEST_LEARNERS
    }
    rows = ask(question, multiply(events, copies), days)
    assert {
        tuple(str(row[name]) for name in names): tuple(row[name] for name in counts.split())
        for row in rows
    } == expected
    for row in rows:
        part, whole = ("active", "learners") if "active" in row else ("recalled", "asked")
        rate = row["active_rate" if "active" in row else "retention_rate"]
        assert rate == row[part] / row[whole]


def test_an_event_that_the_folds_set_aside_as_poisoned_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(questions, "FEWEST_LEARNERS", 1)
    begin = datetime(2024, 3, 4, tzinfo=UTC)
    facts: list[tuple[str, dict[str, Any]]] = [
        ("ReviewProcessed", {"item_id": "i", "new_interval": 3, "easiness_factor": 2.5}),
        ("CorrectAnswerGiven", {"session_id": "s", "item_id": "i", "response_time_ms": "soon"}),
        ("ReviewProcessed", {"item_id": "i", "new_interval": "soon", "easiness_factor": 2.5}),
        ("CorrectAnswerGiven", {"session_id": "s", "item_id": "i", "response_time_ms": 5}),
    ]
    events = [
        oracle.Event(UUID(int=n), kind, data, begin + timedelta(n), begin, "u")
        for n, (kind, data) in enumerate(facts)
    ]
    (row,) = ask(questions.RETENTION, events, Days())
    assert (row["asked"], row["recalled"]) == (1, 1)


def test_the_error_says_that_the_archive_changed_while_it_was_read(tmp_path: Any) -> None:
    archive = storage.open_storage(str(tmp_path))
    at = datetime(2024, 3, 4, tzinfo=UTC)
    done = {"session_id": "s", "score": 80, "duration_seconds": 60}
    events = [
        oracle.Event(UUID(int=n), "SessionCompleted", done, at, at, f"u{n}") for n in range(2)
    ]
    written_archives.write(archive, events)

    def replace(*_: object) -> None:
        """Publish another archive, without the files of the one that is read."""
        for file in list(archive.list_tree("ranges")):
            archive.purge(file.path)
        written_archives.write(archive, events, parts=1)

    with pytest.raises(ProgressError, match="changed while it was read: run the command again"):
        questions.ask(archive, questions.COHORTS, Days(), replace)
