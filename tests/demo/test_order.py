"""No two events of the demo about one subject have one time, at which chance would decide."""

import itertools
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import msgspec

from progress.demo import classes, loading

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
# What has one state of a learner, an item or a list. A session's answers have none.
STATES = {
    "GoalSet": "goal",
    "UserCreated": "preferences",
    "UserPreferencesChanged": "preferences",
    "ReviewProcessed": "interval",
    "CardReviewed": "interval",
    "ItemSetAside": "aside",
    "ItemResumed": "aside",
    "ItemPublished": "catalogue",
    "ItemUpdated": "catalogue",
    "ItemArchived": "catalogue",
    "ListPublished": "list",
    "ListArchived": "list",
    "ItemListed": "member",
    "ItemUnlisted": "member",
    "ListAssigned": "task",
    "ListUnassigned": "task",
    "LearnerJoinedGroup": "group",
    "LearnerLeftGroup": "group",
}


def state_of(event: dict[str, Any]) -> tuple[Any, ...]:
    data = event.get("metadata", {}) | msgspec.to_builtins(event["data"])
    ids = (data.get(name) for name in ("user_id", "item_id", "list_id", "group_id"))
    return (STATES[event["event_type"]], event["occurred_at"], *ids)


def test_the_demo_makes_no_two_events_that_contradict_each_other() -> None:
    made = itertools.chain(loading.messages(), classes.messages(12, NOW.date(), NOW))
    events = {event["event_id"]: event for message in made for event in message.events}
    states = [state_of(each) for each in events.values() if each["event_type"] in STATES]
    assert len(states) > 10_000
    assert [state for state, count in Counter(states).items() if count > 1] == []
