"""Persisted queries: a client sends a document once, and then only its hash."""

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
import redis
from starlette.responses import Response

from progress.local import readiness
from progress.query.http import persisted_queries
from tests.support import api
from tests.support.api import Api, Body

NOT_FOUND = {
    "message": "PersistedQueryNotFound",
    "extensions": {"code": "PERSISTED_QUERY_NOT_FOUND"},
}


@pytest.fixture
def offline_api() -> Iterator[Api]:
    with api.serve(api.NOWHERE) as made:
        yield made


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def named(sha: Any, version: Any = 1) -> Body:
    return {"persistedQuery": {"version": version, "sha256Hash": sha}}


def post(query_api: Api, **members: Any) -> Response:
    return query_api.request("POST", "/graphql", msgspec.json.encode(members), api.headers())


def get(query_api: Api, **members: Any) -> Response:
    """Send a GET as Apollo Client and urql do, with strings unchanged and other members as JSON."""
    texts = {
        n: m if isinstance(m, str) else msgspec.json.encode(m).decode() for n, m in members.items()
    }
    return query_api.request("GET", "/graphql?" + urlencode(texts), b"", api.headers())


QUERY = "query Kind($yes: Boolean!) { __typename @include(if: $yes) }"
ASKED: Body = {"operationName": "Kind", "variables": {"yes": True}}
FOUND = {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("again", [post, get])
@pytest.mark.parametrize("send", [post, get])
def test_a_client_sends_a_persisted_document_only_once(
    offline_api: Api, send: Any, again: Any
) -> None:
    extensions = named(sha256(QUERY))
    missed = again(offline_api, extensions=extensions, **ASKED)
    assert (missed.status_code, api.read(missed)) == (200, {"errors": [NOT_FOUND]})
    assert "no-store" in missed.headers["cache-control"]
    assert api.read(send(offline_api, query=QUERY, extensions=extensions, **ASKED)) == FOUND
    assert api.read(again(offline_api, extensions=extensions, **ASKED)) == FOUND
    assert api.read(again(offline_api, query="", extensions=extensions, **ASKED)) == FOUND


def test_a_persisted_mutation_in_a_get_request_is_rejected(offline_api: Api) -> None:
    text = "mutation { __typename }"
    extensions = named(sha256(text))
    assert api.read(post(offline_api, query=text, extensions=extensions))["data"]
    assert get(offline_api, extensions=extensions).status_code == 405
    assert api.read(post(offline_api, extensions=extensions))["data"] == {"__typename": "Mutation"}


@pytest.mark.parametrize(
    "extensions",
    [
        named(sha256("another")),
        named(sha256(QUERY).upper()),
        named(sha256(QUERY), version=2),
        named(sha256(QUERY), version="1"),
        named(7),
        {"persistedQuery": {"version": 1}},
        {"persistedQuery": []},
    ],
)
def test_a_wrong_hash_is_rejected(offline_api: Api, extensions: Body) -> None:
    for send in (post, get):
        response = send(offline_api, query=QUERY, extensions=extensions, **ASKED)
        assert response.status_code == 400
        (fault,) = api.read(response)["errors"]
        assert fault["extensions"]["code"] == "BAD_USER_INPUT"
    for text in (sha256(QUERY), sha256("another")):  # no document was stored
        assert api.read(post(offline_api, extensions=named(text)))["errors"] == [NOT_FOUND]


def test_an_invalid_document_is_not_persisted(offline_api: Api) -> None:
    for text in ("{", "{ nothing }"):
        post(offline_api, query=text, extensions=named(sha256(text)))
        assert api.read(post(offline_api, extensions=named(sha256(text))))["errors"] == [NOT_FOUND]


def test_extensions_other_than_persisted_queries_are_ignored(offline_api: Api) -> None:
    for extensions in ({"tracing": {"version": 1}}, {"persistedQuery": None}, {}, None):
        assert api.read(post(offline_api, query=QUERY, extensions=extensions, **ASKED)) == FOUND


def test_a_hash_is_looked_up_only_for_authenticated_callers(offline_api: Api) -> None:
    body = msgspec.json.encode({"extensions": named(sha256(QUERY))})
    headers = {"content-type": "application/json"}
    assert offline_api.request("POST", "/graphql", body, headers).status_code == 401


def test_all_instances_share_persisted_documents(valkey: str) -> None:
    numbers = itertools.count()
    with (
        api.serve(api.NOWHERE, redis_url=valkey) as one,
        api.serve(api.NOWHERE, redis_url=valkey) as other,
    ):

        def is_known() -> bool:
            """Persist a document in one instance; return whether the other instance finds it."""
            text = f"{QUERY} # {next(numbers)}"
            extensions = named(sha256(text))
            assert api.read(post(other, extensions=extensions, **ASKED))["errors"] == [NOT_FOUND]
            assert post(one, query=text, extensions=extensions, **ASKED).status_code == 200
            return "data" in api.read(get(other, extensions=extensions, **ASKED))

        readiness.wait(is_known, "the cache")


def test_a_document_that_expired_in_redis_is_stored_again(valkey: str) -> None:
    text = "query Expired { __typename }"
    with (
        redis.Redis.from_url(valkey) as cache,
        api.serve(api.NOWHERE, redis_url=valkey) as query_api,
    ):

        def is_stored() -> bool:
            """Send the document, then delete it from Redis; return whether Redis had it."""
            assert api.read(post(query_api, query=text, extensions=named(sha256(text))))["data"]
            return bool(cache.delete(f"apq:{sha256(text)}"))

        readiness.wait(is_stored, "the cache")
        readiness.wait(is_stored, "the cache")


MALFORMED = ["", "x", "../../etc/passwd", "a" * 65, "*", "\r\nFLUSHALL\r\n"]


@pytest.mark.parametrize(
    ("sha", "text"),
    [
        *((sha256("{ __typename }"), text) for text in (b"{ streak { current } }", b"\xff", b"")),
        *((sha, b"{ __typename }") for sha in MALFORMED),
    ],
)
def test_a_stored_document_that_does_not_match_its_hash_is_not_executed(
    valkey: str, sha: str, text: bytes
) -> None:
    with (
        redis.Redis.from_url(valkey) as cache,
        api.serve(api.NOWHERE, redis_url=valkey) as query_api,
    ):
        cache.set(f"apq:{sha}", text)
        answer = api.read(post(query_api, extensions=named(sha)))
    assert answer == {"errors": [NOT_FOUND]}


def test_an_instance_keeps_documents_in_memory_up_to_a_total_size(
    offline_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persisted_queries, "_MAX_BYTES", 900)
    texts = ["{ __typename } # " + str(number) * 30 for number in range(5)]
    for text in [*texts, texts[-1]]:
        assert post(offline_api, query=text, extensions=named(sha256(text))).status_code == 200
    is_persisted = [
        "data" in api.read(post(offline_api, extensions=named(sha256(text)))) for text in texts
    ]
    assert is_persisted == [False, False, False, True, True]
