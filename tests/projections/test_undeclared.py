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
from tests.support.sample_events import BEGIN, Envelope
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


def test_a_text_that_the_declaration_rejects_counts_as_null_or_as_omitted(
    connection: Connection,
) -> None:
    published = [
        (kind, {"item_id": f"{kind} {field} {n}", field: value})
        for kind, field in product(("ItemPublished", "ItemUpdated"), ("language", "kind"))
        for n, value in enumerate(VALUES[field])
    ]
    renamed = [
        (event_type, {"user_id": f"{event_type} {n}", "email": "", "display_name": value})
        for event_type, (n, value) in product(
            ("UserCreated", "UserPreferencesChanged"), enumerate(VALUES["display_name"])
        )
    ]
    former = [(kind, {**data, "display_name": "former"}) for kind, data in renamed]
    joined = [
        ("LearnerJoinedGroup", {"user_id": f"u{n}", "group_id": f"g{n}", "group_name": value})
        for n, value in enumerate(VALUES["group_name"])
    ]
    with undeclared():
        for n, recorded in enumerate((published, former, renamed, joined)):
            append(connection, [sample_events.envelope(*one, at=at(n)) for one in recorded])
    batch.run(connection)
    rows = model_rows.read_rows(connection)
    for field in ("language", "kind"):
        sent = {data["item_id"]: (kind, data) for kind, data in published if field in data}
        assert {item: row[field] for (item, _), row in rows["items"].items() if item in sent} == {
            item: data[field] or None if is_accepted(kind, data) else None
            for item, (kind, data) in sent.items()
        }
    assert {user: row["display_name"] for (user, _), row in rows["display_names"].items()} == {
        data["user_id"]: (data["display_name"] or None) if is_accepted(kind, data) else "former"
        for kind, data in renamed
    }
    assert len(rows["group_members"]) == len(joined)
    assert {group: row["group_name"] for (group, _), row in rows["group_names"].items()} == {
        data["group_id"]: data["group_name"]
        for kind, data in joined
        if data["group_name"] and is_accepted(kind, data)
    }
    assert sample_events.find_differences(connection) == []
    assert definition_folds.find_differences(connection) == []


def test_an_event_about_a_list_that_the_declaration_rejects_or_that_names_nobody_is_not_read(
    connection: Connection,
) -> None:
    good = {"list_id": "l", "item_id": "i", "name": "N5", "headword": "Wort", "rank": 1}
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


DUE = "2024-05-01T04:00:00.000000Z"


def card(number: int, item: str = "i", **data: Any) -> Envelope:
    """Return ann's review of an item, `number` days after BEGIN."""
    sent = {"user_id": "ann", "item_id": item, "rating": 3, "interval_days": 7, **data}
    return sample_events.envelope("CardReviewed", sent, at=BEGIN + timedelta(days=number))


BAD_CARDS: dict[str, tuple[Any, ...]] = {
    "due": ("2024-05-01T04:00:00Z", "2024-05-01", 5, DUE + "\n"),
    "rating": (0, 5, 2.5, "3", None, True),
    "interval_days": (-1, 2**32, "7", True),
    "duration_ms": (-1, 10**12 + 1, "7"),
}


@pytest.mark.every_postgres
def test_a_card_that_was_recorded_before_its_declaration_counts_if_it_is_accepted(
    connection: Connection,
) -> None:
    start = {"session_id": "s", "user_id": "ann"}
    append(connection, [sample_events.envelope("SessionStarted", start, at=BEGIN)])
    good = [
        card(0, "a"),
        card(1, "b", due=DUE, interval_days=None, duration_ms=900),
        card(2, "c", user_id=None, session_id="s"),
    ]
    bad = [
        card(0, f"{field} {n}", **{field: value})
        for field, values in BAD_CARDS.items()
        for n, value in enumerate(values)
    ]
    bad += [card(0, "neither", interval_days=None), card(0, "nobody", user_id=None)]
    # SQL decides most valid times without the pattern of the declaration.
    days = product(("0000", "2023", "2024"), range(14), (0, 1, 9, 10, 11, 19, 20, *range(28, 33)))
    dues = [f"{year}-{month:02}-{day:02}T04:00:00.000000Z" for year, month, day in days]
    hours = ("04:60", "24:00", "23:59", "4:000", "-4:00")
    seconds = ("59.999999", "60.000000", "00.00000", "00.0000000", "0.0000000", "00.00000a")
    dues += [f"2024-05-01T{hour}:{second}Z" for hour, second in product(hours, seconds)]
    accepted = {due for due in dues if is_accepted("CardReviewed", card(0, due=due)["data"])}
    with undeclared("CardReviewed"):
        append(connection, good + bad + [card(0, due, due=due) for due in dues])
    batch.run(connection)
    items = {item for _, item in model_rows.read_model(connection, "item_stats")}
    assert items == {"a", "b", "c"} | accepted
    assert not connection.run("SELECT FROM event_store.poison_marks")
    assert sample_events.find_differences(connection) == []
    assert definition_folds.find_differences(connection) == []


def test_without_a_time_the_item_is_due_after_the_interval_as_sent(connection: Connection) -> None:
    sent = {
        "a": (0.9, 0, 77_760_000_000),
        "b": (1e-11, 0, 0),
        "c": (2.7 + 1e-11, 2, 233_280_000_000),
        "d": (36_499.999_999_999_99, 36_499, 3_153_599_999_999_999),
    }
    append(connection, [card(0, item, interval_days=days) for item, (days, *_) in sent.items()])
    batch.run(connection)
    rows = model_rows.read_model(connection, "item_stats")
    assert {item: (row["interval_days"], row["due_at"]) for (_, item), row in rows.items()} == {
        item: (shown, BEGIN + timedelta(microseconds=due)) for item, (_, shown, due) in sent.items()
    }
    assert sample_events.find_differences(connection) == []
    assert definition_folds.find_differences(connection) == []


@pytest.mark.parametrize(("due", "conflicts"), [("2024-05-01T06:00:00+02:00", 0), ("soon", 1)])
def test_a_card_that_was_recorded_before_its_declaration_is_redelivered(
    connection: Connection, due: str, conflicts: int
) -> None:
    with undeclared("CardReviewed"):
        append(connection, [first := card(0, due=due)])
    append(connection, [{**first, "data": {**first["data"], "due": DUE}}])
    assert len(connection.run("SELECT FROM event_store.dead_letters")) == conflicts
    assert len(model_rows.read_events(connection)) == 1
