"""GraphQL over HTTP: media types, statuses, bodies that arrive in parts, errors, ETags, gzip."""

import asyncio
import base64
import contextlib
import gzip
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import msgspec
import pytest
import uvloop
from starlette.requests import Request
from starlette.responses import Response

from progress.adapters.postgres import database
from progress.query.execution import execute
from progress.query.http import health, protocol
from progress.query.read_models.reader import Reader
from tests.support import api, rows_by_hand
from tests.support.api import Api

JSON = "application/json; charset=utf-8"
GRAPHQL = "application/graphql-response+json; charset=utf-8"
ALLOWED = "GET, HEAD, OPTIONS, POST"
BODY = '{"query": "{ __typename }"}'


def send(query_api: Api, body: str | bytes, **headers: str) -> Response:
    encoded = {name.replace("_", "-"): value for name, value in headers.items()}
    text = body.encode() if isinstance(body, str) else body
    return query_api.request("POST", "/graphql", text, api.headers(**encoded))


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        ("application/json", JSON),
        ("application/graphql-response+json", GRAPHQL),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/html, application/json;q=0.5, */*;q=0.1", JSON),
        ("application/json;q=0.5, application/graphql-response+json", GRAPHQL),
        ("application/graphql-response+json; charset=utf-8, application/json", GRAPHQL),
        ("APPLICATION/JSON", JSON),
        (None, JSON),
    ],
)
def test_the_response_has_the_preferred_media_type(
    offline_api: Api, accept: str | None, answered: str
) -> None:
    response = send(offline_api, BODY, **({"accept": accept} if accept else {}))
    assert (response.status_code, response.headers["content-type"]) == (200, answered)
    assert api.read(response) == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("accept", ["text/plain", "application/json;q=0", "x"])
def test_a_request_for_an_unsupported_media_type_gets_406(offline_api: Api, accept: str) -> None:
    assert send(offline_api, BODY, accept=accept).status_code == 406


@pytest.mark.parametrize("query", ["{", "{ nothing }", "query ($n: Int!) { __typename }"])
def test_the_response_to_a_rejected_request_has_no_data(offline_api: Api, query: str) -> None:
    body = msgspec.json.encode({"query": query})
    strict = send(offline_api, body, accept="application/graphql-response+json")
    assert strict.status_code == 400
    assert "data" not in api.read(strict)
    lax = send(offline_api, body, accept="application/json")
    assert lax.status_code == 200
    assert "data" not in api.read(lax)


@pytest.mark.parametrize(
    "body",
    [
        *("", "{", "[]", "null", "7", "{}", f"[{BODY}]", '{"query": 7}', '{"query": null}'),
        '{"query": "{ __typename }", "variables": []}',
        '{"query": "{ __typename }", "variables": "{}"}',
        '{"query": "{ __typename }", "operationName": {}}',
        '{"query": "{ __typename }", "extensions": 7}',
        '{"query": "\\ud800"}',
        b'{"query": "\xff"}',
        '{"query": "{ __typename }", "variables": {"a": ' + "[" * 5_000 + "}",
    ],
)
def test_an_invalid_body_is_rejected(offline_api: Api, body: str | bytes) -> None:
    response = send(offline_api, body)
    assert response.status_code == 400
    (error,) = api.read(response)["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


def test_nulls_and_unknown_members_are_ignored(offline_api: Api) -> None:
    body = '{"query": "{ __typename }", "variables": null, "operationName": null, "more": 1}'
    assert send(offline_api, body).status_code == 200


@pytest.mark.parametrize("sent_as", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_content_type_that_a_form_can_send_is_rejected(offline_api: Api, sent_as: str) -> None:
    headers = {**api.headers(), "content-type": sent_as}
    assert offline_api.request("POST", "/graphql", BODY.encode(), headers).status_code == 415


def test_a_query_may_be_sent_by_get(offline_api: Api) -> None:
    assert api.read(offline_api.get("{ __typename }")) == {"data": {"__typename": "Query"}}
    parameters = urlencode(
        {
            "query": "query A($yes: Boolean!) { __typename @include(if: $yes) } query B { a }",
            "variables": '{"yes": false}',
            "operationName": "A",
        }
    )
    response = offline_api.request("GET", f"/graphql?{parameters}", b"", api.headers())
    assert "errors" in api.read(response)  # B is invalid, and was validated although only A runs
    bad = offline_api.request("GET", "/graphql?query=x&variables=[", b"", api.headers())
    assert bad.status_code == 400
    assert offline_api.request("GET", "/graphql", b"", api.headers()).status_code == 400


@pytest.mark.parametrize("persisted", [{"version": 1, "sha256Hash": "f00"}, {}, "f00"])
def test_a_document_s_hash_does_not_stand_for_it(offline_api: Api, persisted: Any) -> None:
    """Clients of APQ know the error by its message or code, and send the document."""
    extensions = msgspec.json.encode({"persistedQuery": persisted}).decode()

    def post(members: str) -> Response:
        return send(offline_api, f'{{"extensions": {extensions}, {members}}}')

    def get(**parameters: str) -> Response:
        path = "/graphql?" + urlencode({"extensions": extensions, **parameters})
        return offline_api.request("GET", path, b"", api.headers())

    for hashed in (post('"variables": {}'), post('"query": ""'), get(), get(query="")):
        assert hashed.status_code == 200
        (error,) = api.read(hashed)["errors"]
        assert error["message"] == "PersistedQueryNotSupported"
        assert error["extensions"] == {"code": "PERSISTED_QUERY_NOT_SUPPORTED"}
        assert "no-store" in hashed.headers["cache-control"]
    for sent in (post('"query": "{ __typename }"'), get(query="{ __typename }")):
        assert api.read(sent)["data"] == {"__typename": "Query"}


def test_only_queries_are_accepted_by_get(offline_api: Api) -> None:
    response = offline_api.get("mutation { anything }")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "x"])
def test_methods_that_the_api_does_not_support_are_rejected(offline_api: Api, method: str) -> None:
    response = offline_api.request(method, "/graphql", b"", api.headers())
    assert (response.status_code, response.headers["allow"]) == (405, ALLOWED)


def test_a_head_request_does_not_open_a_stream(offline_api: Api) -> None:
    query = urlencode({"query": "subscription { streakUpdated { current } }"})
    headers = api.headers(accept="text/event-stream")
    response = offline_api.request("HEAD", f"/graphql/stream?{query}", b"", headers)
    assert response.status_code == 405


# The head of a token with a lone surrogate, which UTF-8 cannot encode.
SURROGATE = base64.urlsafe_b64encode(rb'{"alg":"RS256","kid":"first","crit":["\ud800"]}').decode()


@pytest.mark.parametrize(
    ("authorization", "challenge"),
    [
        (None, 'Bearer realm="progress"'),
        ("Bearer x", 'Bearer realm="progress", error="invalid_token"'),
        (f"Bearer {SURROGATE}.e30.AAAA", 'Bearer realm="progress", error="invalid_token"'),
    ],
)
def test_a_request_without_a_valid_token_gets_401(
    offline_api: Api, authorization: str | None, challenge: str
) -> None:
    headers = {"content-type": "application/json"}
    if authorization:
        headers["authorization"] = authorization
    response = offline_api.request("POST", "/graphql", parts := iter([DOCUMENT, api.END]), headers)
    assert (response.status_code, next(parts)) == (401, DOCUMENT), "the body is not read"
    assert response.headers["www-authenticate"] == challenge
    assert api.read(response)["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


def test_unknown_paths_are_not_found(offline_api: Api) -> None:
    for path in ("/graphql/", "/graphql/x"):
        assert offline_api.request("GET", path).status_code == 404


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_health_and_readiness_allow_only_get_head_and_options(offline_api: Api, path: str) -> None:
    full, headed = (offline_api.request("GET", path), offline_api.request("HEAD", path))
    assert full.status_code == headed.status_code == (200 if path == "/health" else 503)
    assert full.headers["cache-control"] == "private, no-store"
    assert offline_api.request("OPTIONS", path).headers["allow"] == "GET, HEAD, OPTIONS"
    posted = offline_api.request("POST", path)
    assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


def test_json_responses_forbid_content_sniffing(offline_api: Api) -> None:
    for response in (
        send(offline_api, BODY),
        send(offline_api, "x"),
        offline_api.get("{ __typename }"),
        offline_api.request("GET", "/health"),
        offline_api.request("GET", "/nothing"),
        offline_api.request("GET", "/graphql?query={a}"),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "json" in response.headers["content-type"]


@pytest.mark.parametrize(("method", "path"), [("POST", "/graphql"), ("GET", "/ready")])
def test_an_unexpected_error_is_masked_and_logged(
    method: str,
    path: str,
    offline_api: Api,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise LookupError("a secret of ann@example.com")

    monkeypatch.setattr(execute, "run", fails)
    monkeypatch.setattr(Reader, "fetch_apart", fails)
    monkeypatch.setattr(health, "_HOLDS_S", 0)
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = api.headers(traceparent=f"00-{trace_id}-b7ad6b7169203331-01")
    response = offline_api.request(method, path, BODY.encode(), headers)
    assert response.status_code == 500
    (error,) = api.read(response)["errors"]
    assert error["extensions"] == {"code": "INTERNAL", "traceId": trace_id}
    assert "secret" not in bytes(response.body).decode()
    line = capsys.readouterr().out
    assert "LookupError: a secret of a***@example.com" in line
    assert "ann@example.com" not in line
    assert trace_id in line


_PAGE = "{ pageInfo { endCursor } }"
LEARNERS = 'learners(groupId: "g1", '
RANGE = '{ dailyStats(from: "%s", to: "%s") { date } }'


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (RANGE % ("2024-03-02", "2024-03-01"), "from: expected a day not later than `to`"),
        (RANGE % ("2022-03-01", "2024-03-02"), "at most 731 days - found 733"),
        (RANGE % ("9999-12-20", "9999-12-31"), "expected the years 2 to 9998"),
        ('{ weeklyStats(from: "9999-12-20", to: "9999-12-31") { end } }', "years 2 to 9998"),
        (RANGE % ("2024-02-30", "2024-03-01"), "expected a day as in 2024-03-29"),
        (RANGE % ("2024-W09-5", "2024-03-01"), "expected a day as in 2024-03-29"),
        ("{ itemStats(first: 0) { totalCount } }", "first: expected an integer from 1 to 200"),
        ("{ itemStats(first: 201) { totalCount } }", "- found 201"),
        ("{ dueForecast(days: 367) { items } }", "days: expected an integer from 1 to 366"),
        ('{ localDay(date: "1999-12-31") { end } }', "date: expected a day from 2000-01-01"),
        ('{ itemStats(after: "x") { totalCount } }', "after: expected an endCursor"),
        ('{ itemStats(after: "größe") { totalCount } }', "after: expected an endCursor"),
        ('{ events(after: "WzBd") { edges { cursor } } }', "after: expected an endCursor"),
        ('{ itemStats(after: "WyJEVUUiLDEuNSwiaSJd") { totalCount } }', "ordered by RECENT"),
        *(
            (f"{{ {lists}{arguments}) {_PAGE} }}", says)
            for lists in ("deadLetters(", "operations(", "itemDifficulty(", LEARNERS)
            for arguments, says in (
                ("first: 0", "first: expected an integer from 1 to 200"),
                ("first: 201", "- found 201"),
                ('after: "x"', "after: expected an endCursor"),
                ('after: "WzBd"', "after: expected an endCursor"),
            )
        ),
        *(
            (
                f'{{ operation(id: "{text}") {{ id }} }}',
                "id: expected the id of an operation, a UUID",
            )
            for text in ("7", "x" * 300, f"{UUID(int=0)}"[:-1], f"{{{UUID(int=0)}}}")
        ),
        *(
            (f"{{ {field.replace('%', arguments)} }}", says)
            for field in ("searchGroups(%)", "searchLearners(%) { userId }")
            for arguments, says in (
                *(('text: "a"', "text: "), ('text: "🦊"', "text: ")),
                *(('text: "ab\\u0000"', "text: "), ('text: "ab", first: 201', "first: ")),
            )
        ),
        ("{ lists(first: 51) { totalCount } }", "integer from 1 to 50 - found 51"),
        ('{ lists(scale: "") { totalCount } }', "scale: expected the name of a scale, such as"),
        ('{ list(listId: "%s") { name } }' % ("x" * 205), "listId: expected 1 to 204 characters"),
        ('{ itemStats(list: "") { totalCount } }', "list: expected 1 to 204 characters"),
        ('{ item(itemId: "") { itemId } }', "itemId: expected 1 to 200 characters"),
        ('{ item(itemId: "a\\u0000") { itemId } }', "none of them U+0000"),
        ('{ streak(userId: "") { current } }', "userId: expected"),
        *(
            (f'{{ events(userId: "a", {name}: "") {{ edges {{ cursor }} }} }}', f"{name}: expected")
            for name in ("itemId", "sessionId")
        ),
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
    code, message = offline_api.error(query, roles=["admin"])
    assert code == "BAD_USER_INPUT"
    assert says in message


FIRST = "0001-01-01T00:00:00+14:00"
HOUR = {"hour": "2026-01-01T00:00:00Z", "read_by": "a", "role": "admin"}


@pytest.mark.parametrize(
    ("field", "place"),
    [
        ("milestones", ["2024-03-01", "STREAK", None, "3"]),
        ("milestones", ["2024-02-30", "STREAK", None, 3]),
        ("milestones", ["2024-03-01", "LEVEL_REACHED", "A7", None]),
        ("milestones", ["2024-03-01", "STREAK", None, 10**20]),
        *(("milestones", [day, "STREAK", None, 3]) for day in ("0001-01-01", "9999-12-31")),
        *(("accesses", [HOUR | {"hour": hour}]) for hour in ("2026-01-01T00:00:00", FIRST)),
        ("accesses", [HOUR | {"read_by": "a\0"}]),
        *(("deadLetters", [True, moment, 1]) for moment in (FIRST, "9999-12-31T23:59:59-14:00")),
    ],
)
def test_a_cursor_that_no_list_has_given_is_refused(
    offline_api: Api, field: str, place: list[object]
) -> None:
    after = base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")
    query = f'{{ {field}(after: "{after}") {{ edges {{ cursor }} }} }}'
    code, message = offline_api.error(query, roles=["admin"])
    assert code == "BAD_USER_INPUT"
    assert message.startswith("after: expected an endCursor of this list")


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
    connection.run(rows_by_hand.BLOCKS["a missing column"])
    headers = api.headers(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    query = b'{"query": "{ dailyStats(from: \\"2024-03-01\\", to: \\"2024-03-01\\") { date } }"}'
    (fault,) = api.read(query_api.request("POST", "/graphql", query, headers))["errors"]
    trace = "0af7651916cd43dd8448eb211c80319c"
    assert fault["message"] == f"an internal error, logged as {trace}"
    assert fault["extensions"] == {"code": "INTERNAL", "traceId": trace}
    logged = capsys.readouterr().out
    assert trace in logged
    assert "items_learned" in logged
    lines = map(msgspec.json.decode, logged.splitlines())
    assert [line["outcome"] for line in lines if "outcome" in line] == ["error"]


@pytest.mark.parametrize(
    "query",
    [
        "{ streak { current } }",
        '{ item(itemId: "i") { itemId } }',
        "{ learner { id __typename goal { answersPerDay } } }",
        "{ __typename events { edges { cursor } } }",
        'mutation { runBatch(idempotencyKey: "k") { id } }',
    ],
    ids=["compiled", "nullable", "parts", "with a constant", "mutation"],
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
            assert "secret" not in error["message"]


def test_a_response_with_data_has_status_200_although_the_database_is_unreachable(
    offline_api: Api,
) -> None:
    answer = offline_api.post('{ __typename item(itemId: "i") { itemId } }')
    assert answer["data"] == {"__typename": "Query", "item": None}
    (error,) = answer["errors"]
    assert error["extensions"] == {"code": "UNAVAILABLE"}
    assert error["message"] == "the database does not respond: try again"


def test_queries_are_unavailable_if_the_read_models_are_missing(
    query_api: Api, connection: database.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_HOLDS_S", 0)
    assert query_api.request("GET", "/ready").status_code == 200
    connection.run(rows_by_hand.BLOCKS["drop"])
    assert query_api.error("{ streak { current } }")[0] == "UNAVAILABLE"
    response = query_api.request("GET", "/ready")
    assert (response.status_code, api.read(response)["status"]) == (503, "unavailable")


DOCUMENT = b'{"query": "{ __typename }"}'
MAX_BYTES = 100 * 1024
SCOPE = {"type": "http", "method": "POST", "headers": []}


def test_a_body_that_arrives_in_parts_is_accepted_once_it_is_complete(offline_api: Api) -> None:
    parts = [DOCUMENT[n : n + 1] for n in range(len(DOCUMENT))]
    for body in (parts, [DOCUMENT], [DOCUMENT[:5], DOCUMENT[5:]]):
        for chunks, status in (([*body, api.END], 200), (body, 400)):  # the second is incomplete
            response = offline_api.request("POST", "/graphql", chunks, api.headers())
            assert response.status_code == status


@pytest.mark.parametrize("size", [MAX_BYTES, MAX_BYTES + 1])
@pytest.mark.parametrize("has_length", [True, False])
def test_a_body_of_over_100_kib_is_rejected(offline_api: Api, size: int, has_length: bool) -> None:
    headers = {"content-length": str(size)} if has_length else {}
    body = DOCUMENT[:-1] + b" " * (size - len(DOCUMENT)) + b"}"
    parts = [body[:70_000], body[70_000:], api.END]
    response = offline_api.request("POST", "/graphql", parts, api.headers(**headers))
    assert response.status_code == (200 if size == MAX_BYTES else 413)


@pytest.mark.parametrize("headers", [{}, {"content-length": "9" * 5_000}])
def test_a_body_that_is_too_long_is_not_read_to_its_end(
    offline_api: Api, headers: dict[str, str]
) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 1
            yield b" " * 65_536

    response = offline_api.request("POST", "/graphql", endless(), api.headers(**headers))
    assert response.status_code == 413
    (error,) = api.read(response)["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert sent <= (0 if headers else 2)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_body_that_arrives_while_the_process_is_stalled_is_accepted(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[Coroutine[Any, Any, str]], str]
) -> None:
    """The process must not reject a body that arrived before the timeout.

    The functions use uvloop. After a stall, uvloop runs expired timers before it reads the socket.
    """
    monkeypatch.setattr(protocol, "_BODY_TIMEOUT_S", 0.05)
    client, server = socket.socketpair()

    async def read() -> str:
        reader, writer = await asyncio.open_connection(sock=server)

        async def receive() -> Any:
            return {"type": "http.request", "body": await reader.readexactly(len(DOCUMENT))}

        reading = asyncio.create_task(protocol.read(Request(SCOPE, receive), {}, lambda _: None))
        await asyncio.sleep(0)
        client.sendall(DOCUMENT)
        time.sleep(0.1)  # noqa: ASYNC251 - the stall
        with contextlib.closing(writer):
            return (await reading).query

    with client:
        assert run(read()) == "{ __typename }"


PROGRESS = "{ userProgress { totalItemsLearned } }"


@pytest.fixture
def learner(connection: database.Connection) -> database.Connection:
    rows_by_hand.insert(connection, "user_progress", {"user_id": "ann", "items_learned": 7})
    return connection


def get(
    query_api: Api, query: str = PROGRESS, user: str = "ann", method: str = "GET", **more: str
) -> Response:
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return query_api.request(
        method, "/graphql?" + urlencode({"query": query}), b"", api.headers(user, **named)
    )


@pytest.mark.usefixtures("learner")
def test_an_unchanged_response_is_not_sent_again(query_api: Api) -> None:
    first = get(query_api)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for known in (tag, tag.removeprefix("W/"), f'"another", {tag}', "*"):
        again = get(query_api, if_none_match=known)
        assert (again.status_code, again.body) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["cache-control"] == "private, no-cache"
        assert "content-length" not in again.headers
    for other in ('"another"', tag[:-2] + '"', tag.replace('"', "")):
        assert get(query_api, if_none_match=other).status_code == 200


def test_the_etag_depends_on_the_data(query_api: Api, learner: database.Connection) -> None:
    tag = get(query_api).headers["etag"]
    assert get(query_api).headers["etag"] == tag
    assert get(query_api, user="bob").headers["etag"] != tag
    learner.run("UPDATE user_progress SET items_learned = 8")
    changed = get(query_api, if_none_match=tag)
    assert changed.status_code == 200
    assert api.read(changed)["data"] == {"userProgress": {"totalItemsLearned": 8}}


def test_a_failed_response_has_no_etag_and_is_not_stored(query_api: Api) -> None:
    for query in ("{", '{ userProgress(userId: "bob") { userId } }'):
        response = get(query_api, query, if_none_match="*")
        assert response.status_code == 200
        assert "etag" not in response.headers
        assert response.headers["cache-control"] == "private, no-store"
    refused = query_api.request("GET", "/graphql?query={a}")
    assert (refused.status_code, refused.headers["cache-control"]) == (401, "private, no-store")


def test_the_vary_header_lists_accept_authorization_and_accept_encoding(query_api: Api) -> None:
    for response in (get(query_api), get(query_api, if_none_match="*"), get(query_api, "{")):
        assert response.headers["vary"] == "Accept, Authorization, Accept-Encoding"


def test_a_head_response_has_the_headers_of_the_get_response(query_api: Api) -> None:
    full, headed = get(query_api), get(query_api, method="HEAD")
    assert headed.status_code == 200
    assert headed.raw_headers == full.raw_headers
    assert get(query_api, "mutation { __typename }", method="HEAD").status_code == 405


def test_a_post_request_ignores_the_if_none_match_header(query_api: Api) -> None:
    response = send(query_api, msgspec.json.encode({"query": PROGRESS}), if_none_match="*")
    assert response.status_code == 200
    assert "etag" not in response.headers


YEAR = '{ dailyStats(from: "2024-01-01", to: "2024-12-31", zeroFill: true) { date answers } }'


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_long_response_is_compressed_for_clients_that_accept_gzip(
    query_api: Api, learner: database.Connection, method: str
) -> None:
    def fetch(query: str, **more: str) -> Response:
        if method == "GET":
            return get(query_api, query, **more)
        return send(query_api, msgspec.json.encode({"query": query}), **more)

    plain = fetch(YEAR)
    packed = fetch(YEAR, accept_encoding="br, gzip")
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["content-length"] == str(len(packed.body))
    assert msgspec.json.decode(gzip.decompress(packed.body))["data"] == api.read(plain)["data"]
    assert 4 * len(packed.body) < len(plain.body)
    assert "content-encoding" not in fetch(PROGRESS, accept_encoding="gzip").headers
    for refusal in ("gzip;q=0", "br, GZIP ; q=0.00, deflate"):
        assert "content-encoding" not in fetch(YEAR, accept_encoding=refusal).headers
    for weight in ("gzip;q=0.5", "br;q=0, gzip"):
        assert fetch(YEAR, accept_encoding=weight).headers["content-encoding"] == "gzip"
