"""Generated learners differ, forget as FSRS-6 estimates, and are the same each time."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.pubsub import publisher
from progress.demo import classes
from progress.event_store import envelope
from progress.event_store.entries import Message, ParsedEvent
from progress.importers import forgetting
from tests.oracle import memory

LAST = date(2026, 6, 30)
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)

Envelope = dict[str, Any]


@pytest.fixture(scope="module")
def messages() -> list[publisher.Message]:
    return classes.messages(classes.SIZE, LAST, NOW)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 4)), min_size=1, max_size=20))
def test_the_memory_of_a_generated_learner_is_that_of_the_estimates(
    answers: list[tuple[int, int]],
) -> None:
    day, state, known = LAST, None, None
    for gap, grade in answers:
        day += timedelta(gap)
        state = forgetting.follow(state, day, grade)
        known = memory.remember_next(known, memory.Answer(day, grade))
        assert state.stability == pytest.approx(known.state.days, rel=1e-4)
        assert abs(state.interval_days - known.state.days) <= 0.5 or state.interval_days == 1
        assert state.difficulty == pytest.approx(known.state.difficulty / memory.UNIT, abs=1e-4)
        later = day + timedelta(1 + gap)
        assert forgetting.recall(state, later) == pytest.approx(
            memory.estimate(known, later), abs=1e-4
        )


@pytest.mark.exhaustive
def test_the_events_are_accepted_and_the_same_on_a_later_day(
    messages: list[publisher.Message],
) -> None:
    ids = set()
    for message in messages:
        read = envelope.decode(publisher.encode(message), Message())
        assert all(isinstance(entry, ParsedEvent) for entry in read)
        assert all(entry.occurred_at < NOW for entry in read if isinstance(entry, ParsedEvent))
        ids |= {event["event_id"] for event in message.events}
    assert len(ids) == sum(len(message.events) for message in messages)
    again = classes.messages(2, LAST, NOW + timedelta(days=40))
    assert {event["event_id"] for message in again for event in message.events} <= ids


def test_the_learners_differ_as_people_do(messages: list[publisher.Message]) -> None:
    events = [event for message in messages for event in message.events]
    accounts = [event["data"] for event in events if event["event_type"] == "UserCreated"]
    assert len(accounts) == classes.SIZE
    assert len({account["timezone"] for account in accounts}) >= 2
    assert len({account.get("display_name") for account in accounts}) > classes.SIZE / 2
    answers: dict[object, list[Envelope]] = {}
    for event in events:
        if event["event_type"] == "CardReviewed":
            answers.setdefault(event["metadata"]["user_id"], []).append(event)
    assert 0 < classes.SIZE - len(answers) < 5, "a few have not started"
    numbers = sorted(map(len, answers.values()))
    assert numbers[0] * 10 < numbers[-1]
    assert sum(numbers) < 60_000, "cheap to load"
    shares = [
        sum(event["data"]["rating"] > 1 for event in each) / len(each)
        for each in answers.values()
        if len(each) > 100
    ]
    assert max(shares) - min(shares) > 0.15
    newest = [max(str(event["occurred_at"]) for event in each) for each in answers.values()]
    studying = sum(at >= str(NOW - timedelta(days=7)) for at in newest)
    assert classes.SIZE / 3 < studying < classes.SIZE * 0.9
