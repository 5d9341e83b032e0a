"""Events that were recorded before their types were declared."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from progress.adapters.postgres.database import Connection
from progress.errors import SerializationError
from progress.event_store import events
from progress.projections import batch
from tests.support import definition_folds, model_rows, sample_events
from tests.support.event_logs import REJECTED
from tests.support.stage import append, undeclared

FIELDS = {
    "LearnerJoinedGroup": "group_id",
    "LearnerLeftGroup": "group_id",
    "GoalSet": "answers_per_day",
    "RestDayTaken": "date",
    "EventRetracted": "retracted_event_id",
    "ItemSetAside": "item_id",
    "ItemResumed": "item_id",
}
ACCEPTED = {
    "group_id": ("g", "x" * 200, '"\u00e9\\'),
    "answers_per_day": (0, 7, 10, 99, 100, 999, 1000),
    "retracted_event_id": ("x", "x" * 200, "\u00e9"),
    "item_id": ("i", "x" * 200),
    "date": ("2000-01-01", "2024-02-29", "2024-04-30", "2099-12-31"),
    "display_name": ("", "Ann", "\u5c71\u7530 '%_\\\"", "\N{FOX FACE}" * 100, None),
    "group_name": ("", "7b", "\u5c71\u7530 '%_\\\"", "\N{FOX FACE}" * 100, None),
    "kind": ("", "reading", "\u8aad\u307f '%_\\\"", "\N{FOX FACE}" * 50),
    "language": ("en", "zh-Hant-TW", "x" * 8 + "-1" * 13),
}
VALUES = {field: (*ACCEPTED[field], *REJECTED[field]) for field in ACCEPTED}


def is_accepted(event_type: str, data: dict[str, Any]) -> bool:
    try:
        events.check(events.EVENT_TYPES[event_type], data)
    except SerializationError:
        return False
    return True


def test_an_event_with_invalid_fields_adds_no_user_progress_row(connection: Connection) -> None:
    recorded = []
    for event_type, field in FIELDS.items():
        for n, value in enumerate(VALUES[field]):
            recorded.append((event_type, {"user_id": f"{event_type} {n}", field: value}))
    envelopes = [sample_events.envelope(*one, at=sample_events.BEGIN) for one in recorded]
    with undeclared():
        append(connection, envelopes)
    batch.run(connection)
    known = {user for user, _ in model_rows.read_rows(connection)["user_progress"]}
    assert known == {data["user_id"] for kind, data in recorded if is_accepted(kind, data)}
    assert sample_events.find_differences(connection) == []
    assert definition_folds.find_differences(connection) == []


@pytest.mark.parametrize("field", ["language", "kind"])
def test_a_language_or_kind_that_the_declaration_rejects_counts_as_null(
    connection: Connection, field: str
) -> None:
    published = [
        sample_events.envelope(kind, {"item_id": f"{kind} {n}", field: value}, at=at(n))
        for kind, (n, value) in product(("ItemPublished", "ItemUpdated"), enumerate(VALUES[field]))
    ]
    with undeclared():
        append(connection, published)
    batch.run(connection)
    found = {
        item: row[field] for (item, _), row in model_rows.read_rows(connection)["items"].items()
    }
    assert found == {
        e["data"]["item_id"]: e["data"][field] or None
        if is_accepted(e["event_type"], e["data"])
        else None
        for e in published
    }
    assert definition_folds.find_differences(connection) == []


def test_a_display_name_that_the_declaration_rejects_counts_as_omitted(
    connection: Connection,
) -> None:
    renamed = [
        (event_type, {"user_id": f"{event_type} {n}", "email": "", "display_name": value})
        for event_type, (n, value) in product(
            ("UserCreated", "UserPreferencesChanged"), enumerate(VALUES["display_name"])
        )
    ]
    former = [(kind, {**data, "display_name": "former"}) for kind, data in renamed]
    with undeclared():
        for n, recorded in enumerate((former, renamed)):
            append(connection, [sample_events.envelope(*one, at=at(n)) for one in recorded])
    batch.run(connection)
    names = {
        user: row["display_name"]
        for (user, _), row in model_rows.read_rows(connection)["display_names"].items()
    }
    assert names == {
        data["user_id"]: (data["display_name"] or None) if is_accepted(kind, data) else "former"
        for kind, data in renamed
    }
    assert sample_events.find_differences(connection) == []
    assert definition_folds.find_differences(connection) == []


def test_a_group_name_that_the_declaration_rejects_counts_as_omitted(
    connection: Connection,
) -> None:
    joins = [
        {"user_id": f"u{n}", "group_id": f"g{n}", "group_name": value}
        for n, value in enumerate(VALUES["group_name"])
    ]
    with undeclared():
        append(
            connection,
            [sample_events.envelope("LearnerJoinedGroup", data, at=at(0)) for data in joins],
        )
    batch.run(connection)
    rows = model_rows.read_rows(connection)
    assert len(rows["group_members"]) == len(joins)
    assert {group: row["group_name"] for (group, _), row in rows["group_names"].items()} == {
        data["group_id"]: data["group_name"]
        for data in joins
        if data["group_name"] and is_accepted("LearnerJoinedGroup", data)
    }
    assert sample_events.find_differences(connection) == []
    assert definition_folds.find_differences(connection) == []


def test_an_event_about_a_list_that_the_declaration_rejects_or_that_names_nobody_is_not_read(
    connection: Connection,
) -> None:
    good: dict[str, Any] = {
        "list_id": "l",
        "item_id": "i",
        "name": "N5",
        "headword": "Wort",
        "rank": 1,
    }
    texts = ("", 5, ["a"], "a\n", "\x7f", "x" * 201, None)
    values = {
        **dict.fromkeys(("list_id", "name", "scale", "headword", "kind"), texts),
        "item_id": (None,),
        **dict.fromkeys(("rank", "position"), (-1, 2**31, 5.5, "5", True, 10**40, None)),
    }
    told: list[tuple[str, dict[str, Any]]] = [
        (kind, {**good, field: value, **named})
        for kind in events.OF_LISTS
        for field, found in values.items()
        for value in found
        for named in ({"user_id": f"{kind} {field} {value!r:.20}"}, {})
    ]
    told += [(kind, {**sample_events.ASSIGNED}) for kind in events.ASSIGNMENTS]
    with undeclared(*events.OF_LISTS, *events.ASSIGNMENTS):
        append(connection, [sample_events.envelope(*one, at=at(0)) for one in told])
    batch.run(connection)
    rows = model_rows.read_rows(connection)
    accepted = {d["user_id"] for kind, d in told if "user_id" in d and is_accepted(kind, d)}
    assert {user for user, _ in rows["user_progress"]} == accepted
    assert {user for user, _ in rows["own_lists"]} == accepted
    assert [rows[table] for table in ("lists", "listed_items", "list_assignments")] == [{}] * 3
    assert definition_folds.find_differences(connection) == []


def at(number: int) -> datetime:
    return datetime(2024, 4, 1, tzinfo=UTC) + timedelta(minutes=number)
