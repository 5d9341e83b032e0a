"""Error messages for invalid arguments, internal errors and an unreachable database."""

import msgspec
import pytest

from progress.adapters.postgres import database
from tests.support import api, rows_by_hand
from tests.support.api import Api

RANGE = '{ dailyStats(from: "%s", to: "%s") { date } }'


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (RANGE % ("2024-03-02", "2024-03-01"), "from: expected a day not later than `to`"),
        (RANGE % ("2022-03-01", "2024-03-02"), "at most 731 days - found 733"),
        (RANGE % ("9999-12-20", "9999-12-31"), "expected the years 2 to 9998"),
        (RANGE % ("0001-01-01", "0001-01-02"), "expected the years 2 to 9998"),
        ('{ weeklyStats(from: "9999-12-20", to: "9999-12-31") { end } }', "years 2 to 9998"),
        ('{ monthlyStats(from: "9999-12-20", to: "9999-12-31") { end } }', "years 2 to 9998"),
        (RANGE % ("2024-02-30", "2024-03-01"), "expected a day as in 2024-03-29"),
        (RANGE % ("20240301", "2024-03-01"), "expected a day as in 2024-03-29"),
        (RANGE % ("2024-W09-5", "2024-03-01"), "expected a day as in 2024-03-29"),
        ("{ itemStats(first: 0) { totalCount } }", "first: expected an integer from 1 to 200"),
        ("{ itemStats(first: 201) { totalCount } }", "- found 201"),
        ("{ events(first: -1) { edges { cursor } } }", "first: expected"),
        ("{ dueForecast(days: 367) { items } }", "days: expected an integer from 1 to 366"),
        ("{ dueForecast(days: 0) { items } }", "days: expected"),
        ('{ itemStats(after: "x") { totalCount } }', "after: expected an endCursor"),
        ('{ itemStats(after: "größe") { totalCount } }', "after: expected an endCursor"),
        ('{ itemStats(after: "W10") { totalCount } }', "after: expected an endCursor"),
        ('{ events(after: "WzBd") { edges { cursor } } }', "after: expected an endCursor"),
        ('{ itemStats(after: "WyJEVUUiLDEuNSwiaSJd") { totalCount } }', "ordered by RECENT"),
        ('{ item(itemId: "") { itemId } }', "itemId: expected 1 to 200 characters"),
        ('{ item(itemId: "a\\u0000") { itemId } }', "none of them U+0000"),
        ('{ streak(userId: "") { current } }', "userId: expected"),
        ('{ events(types: ["a\\u0000"]) { edges { cursor } } }', "types: expected"),
        ("{ events(types: [%s]) { edges { cursor } } }" % ('"t" ' * 51), "at most 50 types"),
        ("{ itemStats(filter: SOME) { totalCount } }", "SOME"),
        ("{ nothing }", "Cannot query field"),
        ("{ streak { current }", "Syntax Error"),
        ("query A { streak { current } } query B { streak { current } }", "operation name"),
    ],
)
def test_the_error_names_an_invalid_argument_and_the_reason(
    offline_api: Api, query: str, says: str
) -> None:
    code, message = offline_api.error(query)
    assert code == "BAD_USER_INPUT"
    assert says in message


def test_the_longest_range_and_the_largest_page_are_allowed(
    query_api: Api, connection: database.Connection
) -> None:
    query_api.data(RANGE % ("2022-03-01", "2024-02-29"))
    query_api.data("{ itemStats(first: 200) { totalCount } dueForecast(days: 366) { items } }")
    everything = '{ weeklyStats(from: "%s", to: "%s", zeroFill: true) { end } }'
    rows_by_hand.insert(connection, "user_progress", {"user_id": "ann"})
    assert len(query_api.data(everything % ("9997-01-01", "9998-12-31"))["weeklyStats"]) == 104
    assert len(query_api.data(everything % ("0002-01-01", "0003-12-31"))["weeklyStats"]) == 104


def test_an_internal_error_is_masked_and_logged(
    query_api: Api, connection: database.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    connection.run(rows_by_hand.blocks()["break"])
    headers = api.headers(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    query = b'{"query": "{ dailyStats(from: \\"2024-03-01\\", to: \\"2024-03-01\\") { date } }"}'
    (fault,) = api.read(query_api.request("POST", "/graphql", query, headers))["errors"]
    trace = "0af7651916cd43dd8448eb211c80319c"
    assert fault["message"] == f"an internal error, logged as {trace}"
    assert fault["extensions"] == {"code": "INTERNAL", "traceId": trace}
    logged = capsys.readouterr().out
    assert trace in logged
    assert "items_learned" in logged


def test_queries_are_unavailable_if_the_database_is_unreachable() -> None:
    with api.serve(api.NOWHERE) as query_api:
        code, message = query_api.error("{ streak { current } }")
        assert code == "UNAVAILABLE"
        assert "secret" not in message
        assert query_api.request("GET", "/health").status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "{ streak { current } }",
        '{ item(itemId: "i") { itemId } }',
        "{ __typename events { edges { cursor } } }",
        'mutation { runBatch(idempotencyKey: "k") { id } }',
    ],
    ids=["compiled", "nullable", "with a constant", "mutation"],
)
def test_a_response_without_data_has_status_503_and_a_retry_after_header(query: str) -> None:
    body = msgspec.json.encode({"query": query})
    with api.serve(api.NOWHERE) as query_api:
        for _ in range(5):  # the circuit breaker opens after the third request
            headers = api.headers(roles="admin")
            response = query_api.request("POST", "/graphql", body, headers)
            assert (response.status_code, response.headers["retry-after"]) == (503, "2")
            (error,) = api.read(response)["errors"]
            assert error["extensions"] == {"code": "UNAVAILABLE"}


def test_a_response_with_data_has_status_200_although_the_database_is_unreachable(
    offline_api: Api,
) -> None:
    answer = offline_api.post('{ __typename item(itemId: "i") { itemId } }')
    assert answer["data"] == {"__typename": "Query", "item": None}
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["UNAVAILABLE"]


def test_queries_are_unavailable_if_the_read_models_are_missing(
    query_api: Api, connection: database.Connection
) -> None:
    assert query_api.request("GET", "/ready").status_code == 200
    connection.run(rows_by_hand.blocks()["drop"])
    assert query_api.error("{ streak { current } }")[0] == "UNAVAILABLE"
    assert query_api.request("GET", "/ready").status_code == 503
