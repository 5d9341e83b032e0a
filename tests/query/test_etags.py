"""GET responses: ETags, 304, caching headers and compression."""

import gzip
from collections.abc import Iterator
from urllib.parse import urlencode

import msgspec
import pytest
from starlette.responses import Response

from tests.conftest import Store
from tests.support import api, rows_by_hand
from tests.support.api import Api

PROGRESS = "{ userProgress { totalItemsLearned } }"


@pytest.fixture
def store_url(store: Store) -> str:
    connection = rows_by_hand.connect(store.url)
    rows_by_hand.insert(connection, "user_progress", {"user_id": "ann", "items_learned": 7})
    connection.close()
    return store.url


@pytest.fixture
def query_api(store_url: str) -> Iterator[Api]:
    with api.serve(store_url) as made:
        yield made


def get(
    query_api: Api, query: str = PROGRESS, user: str = "ann", method: str = "GET", **more: str
) -> Response:
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return query_api.request(
        method, "/graphql?" + urlencode({"query": query}), b"", api.headers(user, **named)
    )


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


def test_the_etag_depends_on_the_data(query_api: Api, store_url: str) -> None:
    tag = get(query_api).headers["etag"]
    assert get(query_api).headers["etag"] == tag
    assert get(query_api, user="bob").headers["etag"] != tag
    connection = rows_by_hand.connect(store_url)
    connection.run("UPDATE user_progress SET items_learned = 8")
    connection.close()
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
    body = b'{"query": "%s"}' % PROGRESS.encode()
    response = query_api.request("POST", "/graphql", body, api.headers(**{"if-none-match": "*"}))
    assert response.status_code == 200
    assert "etag" not in response.headers


YEAR = '{ dailyStats(from: "2024-01-01", to: "2024-12-31", zeroFill: true) { date answers } }'


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_long_response_is_compressed_for_clients_that_accept_gzip(
    query_api: Api, method: str
) -> None:
    def fetch(query: str, **more: str) -> Response:
        if method == "GET":
            return get(query_api, query, **more)
        headers = api.headers(**{name.replace("_", "-"): value for name, value in more.items()})
        return query_api.request("POST", "/graphql", msgspec.json.encode({"query": query}), headers)

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
