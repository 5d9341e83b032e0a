"""GraphQL over HTTP: media types, statuses, and requests that are none."""

from collections.abc import Iterator
from urllib.parse import urlencode

import msgspec
import pytest
from starlette.responses import Response

from progress.query.execution import execute
from progress.query.read_models import reader
from tests.support import api
from tests.support.api import Api

NOWHERE = "postgresql://nobody@/nowhere?host=/nowhere"
JSON = "application/json; charset=utf-8"
GRAPHQL = "application/graphql-response+json; charset=utf-8"
ALLOWED = "GET, HEAD, OPTIONS, POST"
TYPE = '{"query": "{ __typename }"}'


@pytest.fixture(scope="module")
def aloof() -> Iterator[Api]:
    """An API without a database: none of this asks for one."""
    with api.serve(NOWHERE) as made:
        yield made


def sent(query_api: Api, body: str | bytes, **headers: str) -> Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    text = body.encode() if isinstance(body, str) else body
    return query_api.request("POST", "/graphql", text, api.headers(**given))


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
    ],
)
def test_the_answer_is_of_the_type_that_is_liked_best(
    aloof: Api, accept: str, answered: str
) -> None:
    response = sent(aloof, TYPE, accept=accept)
    assert (response.status_code, response.headers["content-type"]) == (200, answered)
    assert api.read(response) == {"data": {"__typename": "Query"}}


def test_without_accept_it_is_json(aloof: Api) -> None:
    assert sent(aloof, TYPE).headers["content-type"] == JSON


@pytest.mark.parametrize("accept", ["text/plain", "application/json;q=0", "x"])
def test_another_type_cannot_be_had(aloof: Api, accept: str) -> None:
    assert sent(aloof, TYPE, accept=accept).status_code == 406


@pytest.mark.parametrize("query", ["{", "{ nothing }", "query ($n: Int!) { __typename }"])
def test_a_request_that_was_not_executed_has_no_data(aloof: Api, query: str) -> None:
    body = msgspec.json.encode({"query": query})
    strict = sent(aloof, body, accept="application/graphql-response+json")
    assert strict.status_code == 400
    assert "data" not in api.read(strict)
    lax = sent(aloof, body, accept="application/json")
    assert lax.status_code == 200
    assert "data" not in api.read(lax)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        "{}",
        f"[{TYPE}]",
        '{"query": 7}',
        '{"query": null}',
        '{"query": "{ __typename }", "variables": []}',
        '{"query": "{ __typename }", "variables": "{}"}',
        '{"query": "{ __typename }", "operationName": {}}',
        '{"query": "{ __typename }", "extensions": 7}',
        '{"query": "\\ud800"}',
        b'{"query": "\xff"}',
        '{"query": "{ __typename }", "variables": {"a": ' + "[" * 5_000 + "}",
    ],
)
def test_what_is_no_request_is_told_so(aloof: Api, body: str | bytes) -> None:
    response = sent(aloof, body)
    assert response.status_code == 400
    (fault,) = api.read(response)["errors"]
    assert fault["extensions"]["code"] == "BAD_USER_INPUT"


def test_nulls_and_unknown_members_are_passed_over(aloof: Api) -> None:
    body = '{"query": "{ __typename }", "variables": null, "operationName": null, "more": 1}'
    assert sent(aloof, body).status_code == 200


@pytest.mark.parametrize("sent_as", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_post_that_a_form_could_send_is_refused(aloof: Api, sent_as: str) -> None:
    headers = {**api.headers(), "content-type": sent_as}
    assert aloof.request("POST", "/graphql", TYPE.encode(), headers).status_code == 415


def test_a_query_may_be_in_the_address(aloof: Api) -> None:
    assert api.read(aloof.get("{ __typename }")) == {"data": {"__typename": "Query"}}
    asked = urlencode(
        {
            "query": "query A($yes: Boolean!) { __typename @include(if: $yes) } query B { a }",
            "variables": '{"yes": false}',
            "operationName": "A",
        }
    )
    response = aloof.request("GET", f"/graphql?{asked}", b"", api.headers())
    assert "errors" in api.read(response)  # B is no query of ours, and is read too
    bad = aloof.request("GET", "/graphql?query=x&variables=[", b"", api.headers())
    assert bad.status_code == 400
    assert aloof.request("GET", "/graphql", b"", api.headers()).status_code == 400


def test_only_queries_are_taken_from_an_address(aloof: Api) -> None:
    response = aloof.get("mutation { anything }")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "x"])
def test_other_methods_are_refused(aloof: Api, method: str) -> None:
    response = aloof.request(method, "/graphql", b"", api.headers())
    assert (response.status_code, response.headers["allow"]) == (405, ALLOWED)


def test_no_stream_is_opened_whose_events_nobody_would_get(aloof: Api) -> None:
    query = urlencode({"query": "subscription { streakUpdated { current } }"})
    headers = api.headers(accept="text/event-stream")
    response = aloof.request("HEAD", f"/graphql/stream?{query}", b"", headers)
    assert response.status_code == 405


@pytest.mark.parametrize(
    ("authorization", "challenge"),
    [
        (None, 'Bearer realm="progress"'),
        ("Bearer x", 'Bearer realm="progress", error="invalid_token"'),
    ],
)
def test_who_has_no_good_token_is_asked_for_one(
    aloof: Api, authorization: str | None, challenge: str
) -> None:
    headers = {"content-type": "application/json"}
    if authorization:
        headers["authorization"] = authorization
    response = aloof.request("POST", "/graphql", TYPE.encode(), headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == challenge
    assert api.read(response)["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


def test_elsewhere_there_is_nothing(aloof: Api) -> None:
    assert aloof.request("GET", "/graphql/x").status_code == 404


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_the_states_are_only_read(aloof: Api, path: str) -> None:
    asked, headed = aloof.request("GET", path), aloof.request("HEAD", path)
    assert asked.status_code == headed.status_code == (200 if path == "/health" else 503)
    assert asked.headers["cache-control"] == "private, no-store"
    assert aloof.request("OPTIONS", path).headers["allow"] == "GET, HEAD, OPTIONS"
    posted = aloof.request("POST", path)
    assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


def test_no_browser_guesses_what_json_is(aloof: Api) -> None:
    for response in (
        sent(aloof, TYPE),
        sent(aloof, "x"),
        aloof.get("{ __typename }"),
        aloof.request("GET", "/health"),
        aloof.request("GET", "/nothing"),
        aloof.request("GET", "/graphql?query={a}"),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "json" in response.headers["content-type"]


@pytest.mark.parametrize(("method", "path"), [("POST", "/graphql"), ("GET", "/ready")])
def test_what_nobody_foresaw_is_masked_and_logged(
    method: str,
    path: str,
    aloof: Api,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise LookupError("a secret of ann@example.com")

    monkeypatch.setattr(execute, "answered", fails)
    monkeypatch.setattr(reader, "rows", fails)
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = api.headers(traceparent=f"00-{trace_id}-b7ad6b7169203331-01")
    response = aloof.request(method, path, TYPE.encode(), headers)
    assert response.status_code == 500
    (fault,) = api.read(response)["errors"]
    assert fault["extensions"] == {"code": "INTERNAL", "traceId": trace_id}
    assert "secret" not in bytes(response.body).decode()
    line = capsys.readouterr().out
    assert "LookupError: a secret of a***@example.com" in line
    assert "ann@example.com" not in line
    assert f"/traces/{trace_id}" in line


SCHEMA = '{"query": "{ __schema { queryType { name } } }"}'


def test_introspection_and_graphiql_are_for_development(aloof: Api) -> None:
    assert "errors" not in api.read(sent(aloof, SCHEMA))
    page = aloof.request("GET", "/graphql", b"", {"accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert b"graphiql" in bytes(page.body).lower()
    with api.serve(NOWHERE, graphql_introspection=False) as closed:
        (fault, *_) = api.read(sent(closed, SCHEMA))["errors"]
        assert fault["extensions"]["code"] == "BAD_USER_INPUT"
        assert closed.request("GET", "/graphql", b"", {"accept": "text/html"}).status_code == 406
        assert "errors" not in api.read(sent(closed, TYPE))
