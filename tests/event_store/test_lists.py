"""Whose an event about a list is, and what is kept of whom an assignment names."""

import json
from typing import Any
from uuid import uuid4

import pytest

from progress.adapters.postgres.database import Connection
from progress.errors import SerializationError
from progress.event_store import events
from progress.event_store.log import PostgresEventStore
from tests.event_store.test_erased import AT, append, bundle, forbid, letters, started
from tests.support import envelopes, model_rows, sample_events

ASSIGNED = {"list_id": "l", "group_id": "g", "due_on": "2024-05-01"}
DATA: dict[str, dict[str, Any]] = {
    "ListPublished": {"list_id": "l", "name": "N5"},
    "ListArchived": {"list_id": "l"},
    "ItemListed": {"list_id": "l", "item_id": "i"},
    "ItemUnlisted": {"list_id": "l", "item_id": "i"},
    "ListAssigned": ASSIGNED,
    "ListUnassigned": {"list_id": "l", "group_id": "g"},
}


def event(kind: str, user: Any = None, **data: Any) -> dict[str, Any]:
    named = {} if user is None else {"user_id": user}
    return sample_events.envelope(kind, {**DATA[kind], "session_id": "s", **named, **data}, at=AT)


def streams(connection: Connection) -> list[str]:
    rows = model_rows.read_table(connection, "event_store.events")
    return [row["stream_id"] for row in rows if row["event_type"] in DATA]


@pytest.mark.parametrize("kind", events.OF_LISTS)
def test_a_list_is_of_whom_its_event_names_or_of_the_catalogue(
    connection: Connection, kind: str
) -> None:
    """A session says nothing, whether it is known or not, and nothing is pending."""
    of_metadata = event(kind) | {"metadata": {"user_id": "bob"}}
    told = [event(kind, "bob"), of_metadata, event(kind), event(kind, session_id="unknown")]
    append(connection, started("ann", "s"))
    assert append(connection, *told) == {"appended": 4}
    for one in told:
        alone = one | {"event_id": f"again {one['event_id']}"}
        assert append(connection, alone) == {"appended": 1}
    assert append(connection, event(kind), attributes={"user_id": "bob"}) == {"appended": 1}
    assert streams(connection) == ["learner-bob", "learner-bob", "list-l", "list-l"] * 2 + [
        "learner-bob"
    ]


@pytest.mark.parametrize("kind", events.OF_LISTS)
@pytest.mark.parametrize("is_first_named", [True, False])
def test_an_event_about_a_list_with_and_without_a_learner_is_a_conflict(
    connection: Connection, kind: str, *, is_first_named: bool
) -> None:
    nobody, other = event(kind), event(kind)
    ann = nobody | {"metadata": {"user_id": "ann"}}
    first, second = (ann, nobody) if is_first_named else (nobody, ann)
    assert append(connection, first, other) == {"appended": 2}
    assert append(connection, first) == {"redelivered": 1}
    assert append(connection, first, other) == {"redelivered": 2}
    assert append(connection, second, message_id="second") == {"conflict": 1}
    assert append(connection, second, other, message_id="third") == {
        "conflict": 1, "redelivered": 1
    }  # fmt: skip


def test_no_list_of_the_catalogue_has_the_id_of_an_own_list(connection: Connection) -> None:
    for kind in DATA:
        assert append(connection, event(kind, list_id="own:l")) == {"invalid": 1}
    assert "does not begin with own: - at $.data.list_id" in letters(connection)[0]["reason"]
    for kind in events.OF_LISTS:
        assert append(connection, event(kind, "ann", list_id="own:l")) == {"appended": 1}
    assert append(connection, event("ListAssigned", list_id="Own:l")) == {"appended": 1}


def test_publishers_say_nothing_about_what_is_in_a_list_of_a_task(connection: Connection) -> None:
    """What was recorded before counts, and is a redelivery when it comes again."""
    task = {kind: event(kind, list_id="progress-task-1") for kind in DATA}
    for kind, told in task.items():
        refused = kind in ("ListPublished", "ItemListed")
        assert append(connection, told) == {"invalid" if refused else "appended": 1}, kind
    assert "a list without progress-task- - at $.data.list_id" in letters(connection)[0]["reason"]
    for kind in events.OF_LISTS:
        own = event(kind, "ann", list_id="progress-task-1")
        assert append(connection, own, message_id=kind) == {"appended": 1}
    event_id, data = str(uuid4()), {"list_id": "progress-task-2", "name": "N5"}
    again = sample_events.envelope("ListPublished", data, at=AT) | {"event_id": event_id}
    earlier = again | {"index": 0, "metadata": {}, "stream_id": "list-progress-task-2"}
    connection.run("SELECT event_store.append(:b)", b=json.dumps({"events": [earlier]}))
    assert append(connection, again, message_id="again") == {"redelivered": 1}


def reshape(event: dict[str, Any], form: str) -> dict[str, Any]:
    if form == "tagged":
        rest = {name: value for name, value in event.items() if name != "event_type"}
        return rest | {"data": {**event["data"], "type": event["event_type"]}}
    return event if form == "envelope" else envelopes.reshape(event, form)


@pytest.mark.parametrize("form", ["envelope", "recorded", "flat", "cloud", "tagged"])
@pytest.mark.parametrize(
    "named",
    ["ann", *(pytest.param(it, marks=pytest.mark.exhaustive) for it in (5, {"ann": 1}, ""))],
)
def test_whom_an_assignment_names_is_dropped(
    connection: Connection, form: str, named: object
) -> None:
    """Also from a letter, whatever is wrong with it, and from what is large."""
    forbid(connection, "ann")
    sent = {"attributes": {"user_id": "ann"}}
    for kind in events.ASSIGNMENTS:
        good = reshape(event(kind, named) | {"metadata": {"user_id": named}}, form)
        id_, time = ("id", "time") if form == "cloud" else ("event_id", "occurred_at")
        assert append(connection, good, message_id=f"good {kind}", **sent) == {"appended": 1}
        late, old = ({id_: str(uuid4()), time: f"{y}-01-01T00:00:00Z"} for y in (2199, 1999))
        large, again = {"more": "x" * (1 << 20)}, {time: "2024-01-01T00:00:00Z"}
        for n, fault in enumerate((late, old, large, again)):
            append(connection, good | fault, message_id=f"{n} {kind}", **sent)
        entry = json.dumps(good | old).replace("user", "\\u0075ser")
        last = json.dumps({"user_id": None, "type": kind})
        twice = f'{entry[:-1]}, "data": {{"user_id": "ann"}}, "data": {last}}}'
        for n, part in enumerate((entry, twice)):
            append(connection, bundle(part), message_id=f"bundle {n} {kind}", **sent)
    found = [one for one in letters(connection) if one["payload"] != "0"]
    assert len(found) == 2 * 6
    for one in found:
        assert (one["owners"], "user" in one["payload"]) == (["nobody"], False), one["reason"]
        assert "user_id" not in (one["attributes"] or {}), one["reason"]
    assert streams(connection) == ["group-g"] * 2
    rows = model_rows.read_table(connection, "event_store.events")
    assert "user_id" not in str([row for row in rows if row["event_type"] in events.ASSIGNMENTS])


def test_a_program_appends_to_the_streams_of_lists_and_groups(connection: Connection) -> None:
    store = PostgresEventStore(connection)
    for stream, one in (
        ("list-l", event("ItemListed")),
        ("learner-ann", event("ItemListed", "ann")),
        ("group-g", event("ListAssigned", "ann")),
    ):
        assert store.append_events(stream, [one]).stream_version == 1
    for stream in ("learner-ann", "list-other", "group-l", "other-ItemListed"):
        with pytest.raises(SerializationError, match="found one of list-l; the streams are"):
            store.append_events(stream, [event("ItemListed")])
