"""The query fields of the contract, and the roles that may read the fields."""

from datetime import UTC, datetime
from typing import Any

from graphql import GraphQLField, get_named_type, is_required_argument

from progress.adapters.postgres import database
from progress.query.execution.compiled import QUERY
from progress.query.graphql.fields import FIELDS
from progress.query.graphql.schema import GRAPHQL
from tests.support import rows_by_hand
from tests.support.api import Api

DAYS = """query ($user: ID, $from: Date!, $to: Date!, $fill: Boolean) {
  dailyStats(userId: $user, from: $from, to: $to, zeroFill: $fill) { date answers accuracyRate }
}"""
GIVEN = {"Date": '"2024-03-01"', "DateTime": '"2024-03-01T00:00:00Z"', "ID": '"1"', "String": '"x"'}


def test_every_field_of_the_query_type_has_a_declaration() -> None:
    assert FIELDS.keys() == QUERY.fields.keys()


def learner_fields(operation: str = "query") -> dict[str, GraphQLField]:
    """Return the queries or the mutations about a learner by name."""
    root = GRAPHQL.query_type if operation == "query" else GRAPHQL.mutation_type
    assert root
    return {name: field for name, field in root.fields.items() if "userId" in field.args}


def question(name: str, user: str | None = None, operation: str = "query") -> str:
    """Return an operation with this field, about this learner, or about the caller."""
    field = learner_fields(operation)[name]
    values = {
        arg: "[]" if "[" in str(argument.type) else GIVEN[get_named_type(argument.type).name]
        for arg, argument in field.args.items()
        if is_required_argument(argument)
    }
    values["userId"] = f'"{user}"' if user else "null"
    arguments = ", ".join(f"{arg}: {value}" for arg, value in values.items())
    return f"{operation} {{ {name}({arguments}) {select_all(field)} }}"


def select_all(field: GraphQLField) -> str:
    """Return a selection of everything inside the field that needs no arguments."""
    inside = getattr(get_named_type(field.type), "fields", {}).items()
    parts = [f"{name} {select_all(each)}" for name, each in inside if not each.args]
    return f"{{ {' '.join(parts)} }}" if parts else ""


def test_learners_support_and_administrators_may_read_a_learner_s_data(
    query_api: Api, connection: database.Connection
) -> None:
    rows_by_hand.insert(connection, "user_progress", {"user_id": "bob"})
    callers = ((None, "learner"), ("ann", "learner"), ("bob", "support"), ("bob", "admin"))
    for name in learner_fields():
        for user, role in callers:
            assert "errors" not in query_api.post(question(name, user), roles=[role]), name


def test_a_response_with_a_forbidden_field_has_no_data(query_api: Api) -> None:
    answer = query_api.post('{ streak { current } userProgress(userId: "bob") { userId } }')
    assert answer["data"] is None


def test_a_learner_without_events_gets_nulls_and_zeros(
    query_api: Api, connection: database.Connection
) -> None:
    rows_by_hand.insert(connection, "catalogue_counts", {"kind": "domain", "name": "R", "items": 3})
    data = query_api.data(
        """{
          userProgress { userId }
          dailyStats(from: "2024-03-01", to: "2024-03-02", zeroFill: true) { date }
          weeklyStats(from: "2024-03-01", to: "2024-03-09", zeroFill: true) { start }
          monthlyStats(from: "2024-03-01", to: "2024-03-02") { start }
          itemStats { edges { cursor } pageInfo { hasNextPage endCursor } totalCount }
          domainStats { domain itemsStudied accuracyRate catalogueItems progressRate }
          levelStats { level }
          retention(from: "2024-03-01", to: "2024-03-02") { start }
          streak { current longest longestStart longestEnd lastStudyDate activeToday atRisk }
          dueForecast(days: 2) { items overdue }
          workload { due overdue secondsPerAnswer minutes }
          item(itemId: "i") { itemId }
          itemHistory(itemId: "i") { reviews { at } days { date } }
          events { edges { cursor } }
        }"""
    )
    assert data == {
        "dailyStats": [],
        "weeklyStats": [],
        "monthlyStats": [],
        "retention": [],
        "userProgress": None,
        "itemStats": {
            "edges": [],
            "pageInfo": {"hasNextPage": False, "endCursor": None},
            "totalCount": 0,
        },
        "domainStats": [
            {
                "domain": "R",
                "itemsStudied": 0,
                "accuracyRate": None,
                "catalogueItems": 3,
                "progressRate": 0.0,
            }
        ],
        "levelStats": [],
        "streak": {
            "current": 0,
            "longest": 0,
            "longestStart": None,
            "longestEnd": None,
            "lastStudyDate": None,
            "activeToday": False,
            "atRisk": False,
        },
        "dueForecast": [{"items": 0, "overdue": 0}, {"items": 0, "overdue": 0}],
        "workload": {"due": 0, "overdue": 0, "secondsPerAnswer": None, "minutes": None},
        "item": None,
        "itemHistory": {"reviews": [], "days": []},
        "events": {"edges": []},
    }


def test_an_archived_item_is_counted_neither_as_unlearned_nor_in_the_forecast(
    query_api: Api, connection: database.Connection
) -> None:
    rows_by_hand.insert(connection, "user_progress", {"user_id": "ann"})
    rows_by_hand.insert(
        connection,
        "items",
        {"item_id": "unlearned"},
        {"item_id": "met"},
        {"item_id": "archived, unlearned", "in_catalogue": False},
        {"item_id": "archived, met", "in_catalogue": False},
    )
    reviewed = {"user_id": "ann", "reviewed_at": datetime(2024, 3, 1, tzinfo=UTC)}
    for item in ("met", "archived, met", "never described"):
        rows_by_hand.insert(
            connection, "item_stats", {**reviewed, "item_id": item, "interval_days": 1}
        )
    data = query_api.data(
        """{
          userProgress { masteryStats { unlearned } }
          dueForecast(days: 2) { items }
          itemStats(filter: DUE) { totalCount }
          item(itemId: "archived, unlearned") { mastery }
        }"""
    )
    assert data == {
        "userProgress": {"masteryStats": {"unlearned": 1}},
        "dueForecast": [{"items": 2}, {"items": 0}],
        "itemStats": {"totalCount": 2},
        "item": {"mastery": "UNLEARNED"},
    }


def test_zero_fill_adds_each_day_without_events(
    query_api: Api, connection: database.Connection
) -> None:
    rows_by_hand.insert(connection, "user_progress", {"user_id": "ann"})
    row = {"user_id": "ann", "day": "2024-03-02", "answers": 3, "correct_answers": 1}
    rows_by_hand.insert(connection, "daily_stats", row)
    span = {"from": "2024-03-01", "to": "2024-03-03"}
    met = {"date": "2024-03-02", "answers": 3, "accuracyRate": 1 / 3}
    assert query_api.data(DAYS, **span)["dailyStats"] == [met]
    zeros: dict[str, Any] = {"answers": 0, "accuracyRate": None}
    assert query_api.data(DAYS, **span, fill=True)["dailyStats"] == [
        {"date": "2024-03-01", **zeros},
        met,
        {"date": "2024-03-03", **zeros},
    ]


def test_zero_fill_adds_each_missing_week_and_weeks_start_on_monday(
    query_api: Api, connection: database.Connection
) -> None:
    rows_by_hand.insert(connection, "user_progress", {"user_id": "ann"})
    rows_by_hand.insert(connection, "weekly_stats", {"user_id": "ann", "monday": "2024-03-04"})
    weeks = "{ weeklyStats(from: %s, to: %s, zeroFill: true) { start end } }"
    rows = query_api.data(weeks % ('"1999-12-28"', '"2000-01-17"'))["weeklyStats"]
    assert [week["start"] for week in rows] == ["2000-01-03", "2000-01-10", "2000-01-17"]
    assert rows[-1]["end"] == "2000-01-23"
    rows = query_api.data(weeks % ('"2024-03-05"', '"2024-03-10"'))["weeklyStats"]
    assert rows == []


def test_numbers_beyond_int_are_clamped(query_api: Api, connection: database.Connection) -> None:
    row = {"user_id": "ann", "day": "2024-03-02", "answers": 2**40, "correct_answers": 2**39}
    rows_by_hand.insert(connection, "daily_stats", row)
    (day,) = query_api.data(DAYS, **{"from": "2024-03-02", "to": "2024-03-02"})["dailyStats"]
    assert day == {"date": "2024-03-02", "answers": 2**31 - 1, "accuracyRate": 0.5}


def test_times_are_in_utc_with_microseconds(
    query_api: Api, connection: database.Connection
) -> None:
    at = datetime(2024, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
    rows_by_hand.insert(
        connection, "item_stats", {"user_id": "ann", "item_id": "i", "reviewed_at": at}
    )
    item = query_api.data('{ item(itemId: "i") { reviewedAt } }')["item"]
    assert item == {"reviewedAt": "2024-03-01T12:00:00.123456Z"}


def test_the_audit_trail_lists_recorded_events(
    query_api: Api, connection: database.Connection
) -> None:
    connection.run(rows_by_hand.blocks()["events"], user_id="ann", events=1)
    (edge,) = query_api.data(
        """{ events { edges { node {
          streamId streamVersion globalPosition eventType data correlationId causationId
          occurredAt recordedAt
        } } } }"""
    )["events"]["edges"]
    assert edge["node"] == {
        "streamId": "learner-ann",
        "streamVersion": 1,
        "globalPosition": "1",
        "eventType": "ReviewProcessed",
        "data": '{"number": 1}',
        "correlationId": "c1",
        "causationId": None,
        "occurredAt": "2024-02-29T23:00:00.123456Z",
        "recordedAt": "2024-03-01T00:00:01Z",
    }


def test_every_projection_reports_its_lag(query_api: Api, connection: database.Connection) -> None:
    query = "{ projectionStatus { name eventsBehind secondsBehind status } }"
    fresh = query_api.data(query)["projectionStatus"]
    assert [p["name"] for p in fresh] == [
        *("daily_stats", "goals", "hourly_stats", "item_stats"),
        *("learning_streaks", "rest_days", "retention_stats", "user_progress"),
        *("weekly_stats", "domain_stats", "level_stats"),
    ]
    assert {(p["eventsBehind"], p["secondsBehind"], p["status"]) for p in fresh} == {
        (0, 0.0, "NORMAL")
    }
    connection.run(rows_by_hand.blocks()["events"], user_id="ann", events=7)
    for projection in query_api.data(query)["projectionStatus"]:
        assert projection["eventsBehind"] == 7
        assert projection["secondsBehind"] > 600
        assert projection["status"] == "CRITICAL"
