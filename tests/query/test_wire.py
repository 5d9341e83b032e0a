"""Unusual arguments, bodies and requests over TCP get a response and cause no internal errors."""

import base64
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from progress.local import ports
from tests.query.test_process import fetch_json, serving
from tests.support import api, token_issuer
from tests.support.api import Api

TYPE = b'{"query": "{ __typename }"}'
SECONDS = 15


tokens = st.sampled_from(["Bearer ", "Bearer x.y.z", "Basic YTpi"]) | st.builds(
    lambda: api.headers()["authorization"]
)
text = st.text(st.characters(max_codepoint=255), max_size=40)
headers = st.fixed_dictionaries(
    {"authorization": tokens, "content-type": st.just("application/json") | text},
    optional={
        name: text | st.sampled_from(values)
        for name, values in {
            "accept": ["*/*", "application/json;q=x", "a;q=1;q=0,,;", "application/json; q=0.5"],
            "if-none-match": ["*", 'W/"', ",,,"],
            "content-length": ["-1", "0", "9" * 30, "1e3", "x"],
            "origin": ["null", "https://x"],
            "traceparent": ["00-" + "0" * 32, "-" * 60],
            "x-cloud-trace-context": ["0" * 32 + "/1;o=1", "z" * 32],
            "cache-control": ["no-cache", "max-age=x"],
        }.items()
    },
)
queries = (
    st.sampled_from(["", "query={", "query=%ff%fe", "query=%00", "&&==&", "query"])
    | st.just("query={__typename}&variables=[1]")
    | text
)
paths = st.sampled_from(["/graphql", "/graphql/stream", "/health", "/ready", "/page/x", "/", "//"])
DEEP = [b"[" * 90_000, b'{"query":' * 9_000, b'{"query": "' + b"{a" * 40_000 + b'"}']
bodies = st.binary(max_size=200) | st.sampled_from([TYPE, *DEEP, b'"\\ud800"'])


@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "x"]),
    address=st.tuples(paths, queries).map("?".join),
    named=headers,
    parts=st.lists(bodies, max_size=3),
)
def test_unusual_requests_do_not_cause_internal_errors(
    offline_api: Api, method: str, address: str, named: dict[str, str], parts: list[bytes]
) -> None:
    response = offline_api.request(method, address, [*parts, api.END], named)
    assert response.status_code < (504 if address.startswith("/ready") else 500)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a running query function without a database."""
    folder = tmp_path_factory.mktemp("function")
    with (
        token_issuer.serve() as issuer,
        serving(folder, **issuer.environment(api.NOWHERE)) as port,
    ):
        yield port


# A placeholder. Tokens expire, so a token is inserted only when the request is sent.
_GOOD = "a good token's"


def head(request: str = "POST /graphql", **more: str) -> bytes:
    """Return the head of an authenticated request."""
    headers = {**api.headers(), "authorization": _GOOD, "host": "x", "connection": "close", **more}
    lines = [f"{request} HTTP/1.1", *(f"{n.replace('_', '-')}: {v}" for n, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunks(size: int) -> bytes:
    """Return a chunked body of `size` bytes."""
    part = b"%x\r\n" % 4_096 + b" " * 4_096 + b"\r\n"
    return part * (size // 4_096) + b"0\r\n\r\n"


def whole(body: bytes) -> bytes:
    return head(content_length=str(len(body))) + body


ENDED = None  # the server closed the connection before it read the whole request
WIRE: dict[str, tuple[bytes, set[int | None]]] = {
    "no HTTP": (b"\x00\xff\x16\x03\x01" * 100 + b"\r\n\r\n", {400, ENDED}),
    "no method": (b" / HTTP/1.1\r\n\r\n", {400}),
    "a header of 1 MiB": (head(x="y" * (1 << 20)), {431, ENDED}),
    "50,000 headers": (head(**{f"x{n}": "y" for n in range(50_000)}), {431, ENDED}),
    "an address of 1 MiB": (head("GET /graphql?query=" + "y" * (1 << 20)), {431, ENDED}),
    "15,000 parameters": (head("GET /graphql?" + "a=b&" * 15_000), {400}),
    "a negative length": (head(content_length="-1"), {400}),
    "an endless length": (head(content_length="9" * 30), {400}),
    "two lengths": (head(content_length="3", Content_Length="30") + TYPE, {400}),
    "a length and chunks": (head(content_length="3", transfer_encoding="chunked") + TYPE, {400}),
    "an invalid chunk size": (head(transfer_encoding="chunked") + b"zz\r\n", {400}),
    "a long body in parts": (head(transfer_encoding="chunked") + chunks(1 << 20), {413}),
    "a long body": (whole(b" " * (1 << 20)), {413}),
    "a deep body": (whole(b"[" * 100_000), {400}),
    "deep variables": (whole(TYPE[:-1] + b', "variables": {"a":' + b"[" * 90_000), {400}),
    "U+0000": (whole(b'{"query": "\\u0000\x00"}'), {400}),
    "a lone surrogate": (whole(b'{"query": "\\ud800"}'), {400}),
    "not a number": (whole(TYPE[:-1] + b', "variables": {"a": NaN}}'), {400}),
    "a number beyond float64": (whole(TYPE[:-1] + b', "variables": {"a": 1e999}}'), {400}),
    "5,000 digits": (whole(TYPE[:-1] + b', "variables": {"a": %s}}' % (b"9" * 5_000)), {400}),
    "compressed": (head(content_length="3", content_encoding="gzip") + b"\x1f\x8b\x08", {400}),
    "lower case": (head("post /graphql", content_length="0"), {400}),
    "a proxy's address": (head("GET http://x/graphql?query={__typename}"), {200}),
    "expecting 100-continue": (head(expect="100-continue", content_length="27") + TYPE, {100, 200}),
    "an upgrade": (head(upgrade="websocket", content_length="27") + TYPE, {200}),
}


@pytest.mark.parametrize("name", WIRE)
def test_the_server_still_responds_after_a_malformed_request(port: int, name: str) -> None:
    template, expected = WIRE[name]
    sent = template.replace(_GOOD.encode(), api.headers()["authorization"].encode())
    assert status(port, sent) in expected
    assert fetch_json(port, "GET", "/health") == (200, {"status": "ok"})


def status(port: int, sent: bytes) -> int | None:
    """Send the bytes; return the response's status, or None if there is no response."""
    with socket.create_connection((ports.HOST, port), timeout=SECONDS) as connection:
        try:
            connection.sendall(sent)
            answer = HTTPResponse(connection)
            answer.begin()
        except (ConnectionError, HTTPException):
            return None
        return answer.status


def test_several_requests_can_share_a_connection(port: int) -> None:
    connection = HTTPConnection(ports.HOST, port, timeout=SECONDS)

    def send(method: str, path: str, body: Any = None, **more: str) -> tuple[int, bytes]:
        connection.request(method, path, body, {**api.headers(), **more})
        answer = connection.getresponse()
        received.update(answer.headers)
        return answer.status, answer.read()

    received: dict[str, str] = {}
    target = "/graphql?query={__typename}"
    for _ in range(2):
        status, data = send("GET", target)
        assert (status, b'"__typename":"Query"' in data) == (200, True)
        assert send("GET", target, None, **{"if-none-match": received["etag"]}) == (304, b"")
        assert send("HEAD", target) == (200, b"")
        assert send("OPTIONS", "/graphql") == (204, b"")
        assert send("POST", "/graphql", b" " * (1 << 20))[0] == 413
        assert send("POST", "/graphql", iter([TYPE] * 3))[0] == 400  # in parts
        assert send("POST", "/graphql", TYPE)[0] == 200
    connection.close()


ALL = """
query (
  $user: ID, $from: Date!, $to: Date!, $fill: Boolean, $filter: ItemFilter, $order: ItemOrder,
  $level: CefrLevel, $domain: Domain, $first: Int, $after: String, $item: ID!, $days: Int,
  $types: [String!], $search: String, $by: PeriodLength
) {
  userProgress(userId: $user) { userId accuracyRate masteryStats { unlearned } lastUpdated }
  dailyStats(userId: $user, from: $from, to: $to, zeroFill: $fill) { date accuracyRate }
  weeklyStats(userId: $user, from: $from, to: $to, zeroFill: $fill) { start end }
  monthlyStats(userId: $user, from: $from, to: $to) { start end }
  itemStats(
    userId: $user, filter: $filter, orderBy: $order, level: $level, domain: $domain,
    search: $search, first: $first, after: $after
  ) { edges { cursor node { itemId } } totalCount }
  item(userId: $user, itemId: $item) { itemId }
  domainStats(userId: $user) { domain }
  levelStats(userId: $user) { level }
  streak(userId: $user) { current }
  dueForecast(userId: $user, days: $days) { date }
  hourlyStats(userId: $user) { hour }
  workload(userId: $user) { minutes }
  itemHistory(userId: $user, itemId: $item) { reviews { at } }
  restDays(userId: $user, from: $from, to: $to)
  goal(userId: $user) { week }
  retention(userId: $user, from: $from, to: $to, by: $by) { start }
  events(userId: $user, types: $types, first: $first, after: $after) { edges { cursor } }
}"""
CODES = {"BAD_USER_INPUT", "FORBIDDEN"}

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
anything = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
ids = st.sampled_from(["ann", "i1"]) | st.text(max_size=210)
days = st.dates().map(str) | st.sampled_from(["2024-03-01", "2024-02-30", "0001-01-01"])
cursors = (
    st.tuples(
        st.sampled_from(["RECENT", "DUE", "ACCURACY"]) | st.integers(),
        st.none() | st.floats(allow_nan=False) | st.integers(),
        st.text(),
    )
    | st.tuples(st.integers())
    | st.binary()
).map(lambda c: base64.urlsafe_b64encode(c if isinstance(c, bytes) else msgspec.json.encode(c)))
ints = st.none() | st.integers(-1, 400) | st.integers()
likely: dict[str, st.SearchStrategy[Any]] = {
    "user": st.none() | ids,
    "from": days,
    "to": days,
    "fill": st.none() | st.booleans(),
    "filter": st.sampled_from([None, "ALL", "DUE", "LEECH"]),
    "order": st.sampled_from([None, "RECENT", "DUE", "ACCURACY", "LAPSES"]),
    "search": st.none() | st.text(),
    "level": st.sampled_from([None, "A1", "UNKNOWN"]),
    "by": st.sampled_from([None, "DAY", "WEEK", "MONTH"]),
    "domain": st.sampled_from([None, "R", "UNKNOWN"]),
    "first": ints,
    "after": st.none() | cursors.map(bytes.decode) | st.text(),
    "item": ids,
    "days": ints,
    "types": st.none() | st.lists(ids),
}


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(
    variables=st.fixed_dictionaries(likely),
    odd=st.dictionaries(st.sampled_from([*likely]), anything, max_size=1),
    role=st.sampled_from(["learner", "admin"]),
)
def test_unusual_arguments_do_not_cause_internal_errors(
    query_api: Api, variables: dict[str, Any], odd: dict[str, Any], role: str
) -> None:
    answer = query_api.post(ALL, roles=[role], **{**variables, **odd})
    assert {fault["extensions"]["code"] for fault in answer.get("errors", [])} <= CODES


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(body=st.binary() | anything.map(msgspec.json.encode), query=st.text())
def test_unusual_bodies_do_not_cause_internal_errors(
    query_api: Api, body: bytes, query: str
) -> None:
    for sent in (body, msgspec.json.encode({"query": query})):
        answer = api.read(query_api.request("POST", "/graphql", sent, api.headers()))
        assert {fault["extensions"]["code"] for fault in answer["errors"]} <= CODES
