"""The page's files as they are query_api: found, kept, compressed, and under their policies."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.responses import Response

from progress.query.http import static_page
from tests.support import api

FILES = sorted(path.name for path in static_page.FOLDER.iterdir() if path.name != "index.html")
PACKED = {"accept-encoding": "gzip, deflate, br"}
BUDGET = 40_000  # bytes, compressed; 250,000 is what may never be passed


@pytest.fixture(scope="module")
def query_api(postgres: str) -> Iterator[api.Api]:
    with api.serve(postgres, auth_sign_in_url="https://login.company.com/?a=1&b=2") as made:
        yield made


def version(query_api: api.Api) -> str:
    """The version that the page names now."""
    found = re.search(r'"page/(\w{16})/', text(query_api.request("GET", "/")))
    assert found
    return found[1]


def text(response: Response) -> str:
    return bytes(response.body).decode()


def test_the_page_is_asked_about_each_time_and_comes_once(query_api: api.Api) -> None:
    first = query_api.request("GET", "/")
    assert first.status_code == 200
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    again = query_api.request("GET", "/", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.body) == (304, b"")
    assert query_api.request("GET", "/", headers={"if-none-match": 'W/"other"'}).status_code == 200


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_served_for_good_by_its_type(query_api: api.Api, name: str) -> None:
    plain = query_api.request("GET", f"/page/{version(query_api)}/{name}")
    assert plain.body == (static_page.FOLDER / name).read_bytes()
    assert "immutable" in plain.headers["cache-control"]
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    assert plain.headers["content-type"].startswith(kinds[Path(name).suffix])
    assert plain.headers["x-content-type-options"] == "nosniff"
    head = query_api.request("HEAD", f"/page/{version(query_api)}/{name}")
    assert (head.body, head.headers["content-length"]) == (b"", str(len(plain.body)))


def test_a_file_of_another_version_is_not_kept(query_api: api.Api) -> None:
    other = query_api.request("GET", "/page/0123456789abcdef/page.css")
    assert (other.status_code, other.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize(
    "path",
    ["/page", "/page/", "/page/x", "/page/x/", "/page/x/index.html", "/page/x/../../settings.py",
     "/page/x/%2e%2e/settings.py", "/x/page/x/page.css", "/index.html", "/favicon.ico"],
)  # fmt: skip
def test_anything_else_is_not_there(query_api: api.Api, path: str) -> None:
    assert query_api.request("GET", path).status_code == 404


def test_the_page_takes_no_posts(query_api: api.Api) -> None:
    assert query_api.request("POST", "/").status_code == 404


def test_compressed_it_is_the_same_and_small(query_api: api.Api) -> None:
    weight = 0
    for path in ["/", *(f"/page/{version(query_api)}/{name}" for name in FILES)]:
        plain, packed = (query_api.request("GET", path, headers=each) for each in ({}, PACKED))
        assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
        weight += len(packed.body)
        body = bytes(packed.body)
        if packed.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        assert body == plain.body
    assert weight < BUDGET


def test_nothing_from_elsewhere_may_run_in_it(query_api: api.Api) -> None:
    headers = query_api.request("GET", "/").headers
    policy = dict(
        part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "connect")} == {"'self'"}
    assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["permissions-policy"]


def test_what_it_begins_with_is_named_in_advance(query_api: api.Api) -> None:
    """A module is asked for when the page is read, not when another one has named it."""
    index = text(query_api.request("GET", "/"))
    named = set(re.findall(r'href="page/\w+/(\w+\.js)"', index)) | {"main.js"}
    reached, ahead = set[str](), ["main.js"]
    while ahead:
        reached.add(name := ahead.pop())
        module = (static_page.FOLDER / name).read_text(encoding="utf-8")
        ahead += (
            set(re.findall(r"^(?:import|export|\}) .*from '\./(.+)';$", module, re.MULTILINE))
            - reached
        )
    assert named == reached


def test_it_says_where_to_sign_in(query_api: api.Api) -> None:
    assert 'content="https://login.company.com/?a=1&amp;b=2"' in text(query_api.request("GET", "/"))


def test_graphiql_has_a_policy_of_its_own(query_api: api.Api) -> None:
    tool = query_api.request("GET", "/graphql", headers={"accept": "text/html"})
    assert "graphiql" in text(tool).lower()
    assert "https://unpkg.com" in tool.headers["content-security-policy"]
    assert "unpkg" not in query_api.request("GET", "/").headers["content-security-policy"]
