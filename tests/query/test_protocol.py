"""GraphQL over HTTP: media types, statuses and invalid requests."""

from urllib.parse import urlencode

import msgspec
import pytest
from starlette.responses import Response

from progress.query.execution import execute
from progress.query.read_models.reader import Reader
from tests.support import api
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
    ],
)
def test_the_response_has_the_preferred_media_type(
    offline_api: Api, accept: str, answered: str
) -> None:
    response = send(offline_api, BODY, accept=accept)
    assert (response.status_code, response.headers["content-type"]) == (200, answered)
    assert api.read(response) == {"data": {"__typename": "Query"}}


def test_a_request_without_an_accept_header_gets_a_json_response(offline_api: Api) -> None:
    assert send(offline_api, BODY).headers["content-type"] == JSON


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
        "",
        "{",
        "[]",
        "null",
        "7",
        "{}",
        f"[{BODY}]",
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


@pytest.mark.parametrize(
    ("authorization", "challenge"),
    [
        (None, 'Bearer realm="progress"'),
        ("Bearer x", 'Bearer realm="progress", error="invalid_token"'),
    ],
)
def test_a_request_without_a_valid_token_gets_401(
    offline_api: Api, authorization: str | None, challenge: str
) -> None:
    headers = {"content-type": "application/json"}
    if authorization:
        headers["authorization"] = authorization
    response = offline_api.request("POST", "/graphql", BODY.encode(), headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == challenge
    assert api.read(response)["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


def test_unknown_paths_are_not_found(offline_api: Api) -> None:
    assert offline_api.request("GET", "/graphql/x").status_code == 404


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_health_and_readiness_allow_only_get_head_and_options(offline_api: Api, path: str) -> None:
    full, headed = (
        offline_api.request("GET", path),
        offline_api.request("HEAD", path),
    )
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
    monkeypatch.setattr(Reader, "fetch", fails)
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
    assert f"/traces/{trace_id}" in line


SCHEMA = '{"query": "{ __schema { queryType { name } } }"}'


def test_introspection_and_graphiql_are_enabled_only_in_development(offline_api: Api) -> None:
    assert "errors" not in api.read(send(offline_api, SCHEMA))
    page = offline_api.request("GET", "/graphql", b"", {"accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert b"graphiql" in bytes(page.body).lower()
    with api.serve(api.NOWHERE, graphql_introspection=False) as closed:
        (error, *_) = api.read(send(closed, SCHEMA))["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert closed.request("GET", "/graphql", b"", {"accept": "text/html"}).status_code == 406
        assert "errors" not in api.read(send(closed, BODY))
