"""No two events of the demo about one subject have one time, at which chance would decide."""

import itertools
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import msgspec

from progress.demo import classes, loading

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def subject_at(event: dict[str, Any]) -> tuple[Any, ...]:
    data = event.get("metadata", {}) | msgspec.to_builtins(event["data"])
    ids = (data.get(name) for name in ("user_id", "item_id", "list_id", "group_id"))
    return (event["occurred_at"], *ids)


def test_the_demo_makes_no_two_events_that_contradict_each_other() -> None:
    made = itertools.chain(loading.messages(), classes.messages(12, NOW.date(), NOW))
    events = {event["event_id"]: event for message in made for event in message.events}
    sessions = ("SessionStarted", "SessionCompleted")  # which have no state of a learner
    found = [subject_at(each) for each in events.values() if each["event_type"] not in sessions]
    assert len(found) > 10_000
    assert [subject for subject, count in Counter(found).items() if count > 1] == []
