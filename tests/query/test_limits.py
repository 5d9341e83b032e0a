"""Limits of documents, of the memory that caches of documents use, and of a caller's requests."""

import asyncio
import gc
import itertools
import re
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from progress.auth import Role
from progress.errors import RateLimited
from progress.files import ROOT
from progress.query.execution import documents, limits
from progress.query.execution.documents import Cache, Rejected
from progress.query.graphql import types
from progress.query.graphql.schema import FIELDS
from tests.conftest import Store
from tests.query import expensive
from tests.support import api, recent_events
from tests.support.api import Api
from tests.support.cache_instances import Instance
from tests.support.stage import connect

YEARS = 'dailyStats(from: "2023-01-01", to: "2024-12-31", zeroFill: true)'
DAY = """date sessionsCompleted studySeconds studyTimeMinutes answers correctAnswers accuracyRate
averageResponseMs itemsLearned itemsReviewed newMasteryCount averageScore"""
TWICE = "fragment F%d on Streak { current ...F%d ...F%d }"


def reject(text: str, *, introspection: bool = False) -> tuple[str, str]:
    (error,) = documents.read(text, introspection=introspection).errors
    return error["extensions"]["code"], error["message"]


def is_valid(text: str) -> bool:
    document = documents.read(text, introspection=False)
    assert bool(document.errors) == (document.parsed is None)
    return not document.errors


def with_aliases(number: int) -> str:
    return "{ streak { " + repeat("a#: current", number) + " } }"


def repeat(piece: str, times: int) -> str:
    """Return the piece several times; each # is replaced by a number."""
    return " ".join(piece.replace("#", str(number)) for number in range(times))


def with_tokens(tokens: int) -> str:
    document = "{ item(itemId: %s) { itemId } events(types: [%s]) { edges { cursor } } }"
    return document % ('"i"', '"t" ' * (tokens - 24))


def test_the_limits_have_the_documented_values() -> None:
    assert is_valid(with_aliases(30))
    too_many = "aliases: expected at most 30 - found 31"
    assert reject(with_aliases(31)) == ("QUERY_TOO_COMPLEX", too_many)
    assert is_valid(with_tokens(2_000))
    too_long = ("QUERY_TOO_COMPLEX", "tokens: expected at most 2000 - found more")
    assert reject(with_tokens(2_001)) == too_long
    deep = "{ a " * 8 + "}" * 8
    assert documents.read(deep, introspection=False).errors[0]["extensions"]["code"] != too_long[0]
    deeper = "{ a " * 9 + "}" * 9
    assert reject(deeper) == ("QUERY_TOO_COMPLEX", "depth: expected at most 8 - found 9")


@pytest.mark.parametrize(
    ("bomb", "says"),
    [
        ("{a" * 5_000, "nested braces and brackets: expected at most 30 - found more"),
        ("{ a(b: " + "[" * 50 + "]" * 50 + ") }", "nested braces and brackets: expected at most"),
        ("#\n" * 50_000 + "{ a }", "tokens: expected at most 2000"),
        ("{ " + "a " * 1_990 + "}", "pairs of equal fields: expected at most 2000 - found 1979055"),
        ("{ " + "itemStats { edges { node { level } } } " * 180 + "}", "pairs of equal fields"),
        (
            "{ streak { ...F0 } } "
            + " ".join(TWICE % (n, n + 1, n + 1) for n in range(40))
            + " fragment F40 on Streak { current }",
            "complexity: expected at most 20000 - found 2199023255552",
        ),
        (
            "{ streak { ...F0 } } "
            + " ".join(TWICE.replace("c", "a: c", 1) % (n, n + 1, n + 1) for n in range(40)),
            "aliases: expected at most 30",
        ),
        (
            "{ ...F0 } "
            + " ".join(f"fragment F{n} on Query {{ a {{ ...F{n + 1} }} }}" for n in range(150)),
            "depth: expected at most 8 - found more than 100 nested levels",
        ),
        (
            "{ ...F0 } "
            + " ".join(f"fragment F{n} on Query {{ a {{ ...F{n + 1} }} }}" for n in range(12)),
            "depth: expected at most 8 - found 12",
        ),
        ("{ __schema { types { a { a { a { a { a { a { a } } } } } } } } }", "depth"),
    ],
)
def test_an_attack_is_rejected_and_the_exceeded_limit_is_named(bomb: str, says: str) -> None:
    code, message = reject(bomb)
    assert code == "QUERY_TOO_COMPLEX"
    assert says in message


def test_circular_fragments_are_rejected_as_bad_user_input() -> None:
    everyone = " ".join(f"...F{n}" for n in range(28))
    circles = [f"fragment F{n} on Streak {{ current {everyone} }}" for n in range(28)]
    code, message = reject("{ streak { ...F0 } } " + " ".join(circles))
    assert code == "BAD_USER_INPUT"
    assert message == 'Cannot spread fragment "F0" within itself.'


def test_unused_fragments_count_against_the_limits() -> None:
    assert reject("{ a } fragment F on Query { " + "b " * 100 + "}")[0] == "QUERY_TOO_COMPLEX"


def test_enabled_introspection_has_its_own_limits() -> None:
    deep = '{ __type(name: "Query") { ofType ' + "{ ofType " * 12 + "{ name }" + "}" * 14
    assert not documents.read(deep, introspection=True).errors
    assert reject(deep)[0] == "QUERY_TOO_COMPLEX"
    deeper = deep.replace("{ name }", "{ ofType " * 9 + "{ name }" + "}" * 9)
    assert "depth of the introspection" in reject(deeper, introspection=True)[1]
    wide = "{ __schema { types { fields { args { type { fields { args { name } } } } } } } }"
    assert "complexity of the introspection" in reject(wide, introspection=True)[1]


def test_the_standard_introspection_query_is_allowed(offline_api: Api) -> None:
    from graphql import get_introspection_query

    assert "errors" not in offline_api.post(get_introspection_query())


def test_a_request_has_at_most_three_pairs_of_learner_and_past_time(offline_api: Api) -> None:
    moments = [f'{name}: "2024-03-0{n}T00:00:00Z"' for name in ("asOf", "knownAt") for n in (1, 2)]
    fields = [f"s{n}: streak({moment}) {{ current }}" for n, moment in enumerate(moments)]
    of_one = " ".join(f"t{n}: streak({moments[0]}) {{ current }}" for n in range(25))
    assert offline_api.error(f"{{ {' '.join(fields[:3])} {of_one} }}")[0] == "UNAVAILABLE"
    parts = " ".join(f"t{n}: streak {{ current }}" for n in range(25))
    whole = f"{{ {' '.join(fields[:3])} learner({moments[0]}) {{ {parts} }} }}"
    assert offline_api.error(whole)[0] == "UNAVAILABLE"
    too_many = "asOf, knownAt: expected at most 3 pairs of learner and time - found 4"
    for query in (
        " ".join(fields),
        " ".join(f's{n}: streak(userId: "u{n}", {moments[0]}) {{ current }}' for n in range(4)),
        " ".join(
            field.replace("streak", "userProgress").replace("current", "userId") for field in fields
        ),
    ):
        assert offline_api.error(f"{{ {query} }}", roles=["support"]) == (
            "QUERY_TOO_COMPLEX",
            too_many,
        )


def test_two_years_of_days_with_all_fields_are_allowed(offline_api: Api) -> None:
    assert offline_api.error(f"{{ {YEARS} {{ {DAY} }} }}")[0] == "UNAVAILABLE"
    too_complex = f"complexity: expected at most 20000 - found {3 * 731 * 13}"
    thrice = repeat(f"y#: {YEARS} {{ {DAY} }}", 3)
    assert offline_api.error(f"{{ {thrice} }}") == ("QUERY_TOO_COMPLEX", too_complex)


def test_a_query_that_may_read_too_many_rows_is_rejected(offline_api: Api) -> None:
    months = 'monthlyStats(from: "2023-01-01", to: "%s") { start answers }'
    for field, most in (
        (months % "2024-12-31", 4),
        (months % "2023-01-31", 9),
        ("userProgress { masteryStats { unlearned } }", 30),
        ("itemStats(first: 1) { totalCount }", 22),
        ("itemStats(first: 1, level: A1, domain: R) { totalCount }", 10),
        ("itemStats(first: 1, filter: SLIPPED_BACK) { totalCount }", 11),
        ('itemStats(first: 1, asOf: "2024-06-01T00:00:00Z") { totalCount }', 17),
        ('events(types: ["Nothing"]) { pageInfo { endCursor } }', 4),
    ):
        fields = [f"a{n}: {field}" for n in range(most + 1)]
        errors = offline_api.post(f"{{ {' '.join(fields[:-1])} }}")["errors"]
        assert {error["extensions"]["code"] for error in errors} == {"UNAVAILABLE"}
        if most < 30:  # 31 fields would exceed the limit of aliases
            code, message = offline_api.error(f"{{ {' '.join(fields)} }}")
            assert code == "QUERY_TOO_COMPLEX"
            assert "rows to read, in thousands: expected at most 1000 - found" in message


def test_the_documented_rows_of_groups_are_those_of_the_code() -> None:
    text = (ROOT / "docs/api.md").read_text("utf-8").partition("### Rows to read")[2]
    documented = re.findall(r"^\| `(\w+)` \| ([\d,]+),000 \|$", text, re.MULTILINE)
    roots = {name: FIELDS[name].cost.rows for name in ("group", "learners")}
    assert {name: int(rows) for name, rows in documented} == (types.ROWS_OF_GROUP | roots)


@pytest.mark.parametrize(
    ("query", "variables", "code"),
    [
        ("query ($n: Int) { %s }", {"n": 10}, "UNAVAILABLE"),
        ("query ($n: Int) { %s }", {"n": 200}, "QUERY_TOO_COMPLEX"),
        ("query ($n: Int = 200) { %s }", {}, "QUERY_TOO_COMPLEX"),
        ("query ($n: Int = 10) { %s }", {}, "UNAVAILABLE"),
        # An explicit null overrides the variable's default; `first: null` means 50.
        ("query ($n: Int = 200) { %s }", {"n": None}, "UNAVAILABLE"),
        ("query ($n: Int, $no: Boolean!) { %s }", {"n": 200, "no": True}, "QUERY_TOO_COMPLEX"),
    ],
)
def test_the_cost_of_a_list_depends_on_its_requested_length(
    offline_api: Api, query: str, variables: dict[str, object], code: str
) -> None:
    node = "{ itemId level mastery lapses }"
    lists = repeat(f"a#: itemStats(first: $n) {{ edges {{ node {node} }} }}", times=20)
    unless = " streak @skip(if: $no) { current }" if "$no" in query else ""
    assert offline_api.error(query % (lists + unless), **variables)[0] == code


def test_queries_that_are_not_compiled_are_limited_too(offline_api: Api) -> None:
    lists = repeat(
        "a#: events(first: 200, types: [$t]) { edges { node { eventId data } } }", times=25
    )
    code, _ = offline_api.error(f"query ($t: String!) {{ {lists} }}", t="x")
    assert code == "QUERY_TOO_COMPLEX"


def test_a_query_with_a_null_as_a_condition_is_limited_too(offline_api: Api) -> None:
    lists = repeat("a#: itemStats(first: 200) { edges { node { itemId level } } }", times=25)
    streak = "streak { current @skip(if: $no) }"  # graphql-core reports an error only here
    query = f"query ($no: Boolean = false) {{ {lists} {streak} }}"
    assert offline_api.error(query, no=None)[0] == "QUERY_TOO_COMPLEX"


def test_several_fragments_may_select_the_same_fields() -> None:
    fragments = repeat("fragment F# on DailyStats { date answers }", 8)
    assert is_valid(f"{{ {YEARS} {{ {DAY} {repeat('...F#', 8)} }} }} {fragments}")


@given(st.text(alphabet='{}()[]:$!@#"\\ .ab1-\n', max_size=60))
def test_any_text_becomes_a_document_with_errors_or_a_cached_one_with_a_tree(text: str) -> None:
    document = documents.read(text, introspection=False)
    assert bool(document.errors) != bool(document.parsed)
    assert document.errors or documents.read(text, introspection=False) is document


@pytest.mark.parametrize("number", [True, 1.5, "1"])
def test_a_document_does_not_confuse_variables_of_different_types(number: object) -> None:
    text = "query ($n: Int) { dueForecast(days: $n) { date } }"
    document = documents.read(text, introspection=False)
    for variables in ({"n": 1}, {"n": 1.0}):
        (field,) = document.prepare(variables, None).coerced
        assert field.arguments["days"] == 1
    with pytest.raises(Rejected):
        document.prepare({"n": number}, None)


def test_documents_are_not_parsed_after_the_caller_has_exceeded_the_rate_limit() -> None:
    def ask_too_often() -> tuple[str, object]:
        with api.serve(api.NOWHERE, rate_limit_per_minute=3) as query_api:
            for _ in range(2):  # the document is new the first time and cached the second time
                assert "errors" not in query_api.post("{ __typename }")
            fresh = "{ a: __typename }"
            assert "errors" not in query_api.post(fresh)
            bomb = "{ " + "late " * 1_000 + f"}} #{uuid4()}"
            code = query_api.error(bomb)[0]
            assert documents.lookup(fresh, introspection=True) is not None
            return code, documents.lookup(bomb, introspection=True)

    assert recent_events.ask_within(60, ask_too_often) == ("RATE_LIMITED", None)


WIDE = "\U0001f600"  # a text with this character has 4 bytes per character
DAYS = 'dailyStats(from: "2024-01-01", to: "2024-01-02") { date }'
CONDITIONS = "abcd"


def conditional(fields: str) -> str:
    """Return a query with 16 plans, one for each combination of its variables' values."""
    variables = " ".join(f"${name}: Boolean!" for name in CONDITIONS)
    chosen = " ".join(f"{name}: __typename @include(if: ${name})" for name in CONDITIONS)
    return f"query ({variables}) {{ {chosen} {fields} }}"


VALID = {
    "a wide text with variables": "query ($s: String) { itemStats(search: $s) { totalCount } }"
    f"#{'x' * 16_000}{WIDE}",
    "spreads": "{ streak { " + "...f " * 900 + "} } fragment f on Streak { current }",
    "plans of lists": conditional(repeat(f"a#: {DAYS}", 26)),
    "small documents": "{ __typename }",
}


def fill_cache(cache: Cache, text: str) -> None:
    for number in itertools.count(len(cache._documents)):
        document = documents.read(f"#{number}\n{text}", introspection=False)
        for name in document.kinds:
            for values in itertools.product([True, False], repeat=len(CONDITIONS)):
                variables: dict[str, Any] = dict(zip(CONDITIONS, values, strict=True))
                document.prepare(variables | {"s": f"{WIDE * 350}{values}"}, name)
        if len(cache._documents) <= number:
            return


def measure_memory(fill: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        fill()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before


@pytest.mark.first_in_gate
@pytest.mark.parametrize("name", VALID)
def test_the_cache_of_documents_keeps_its_limit(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    tokens = 2_000
    cache = Cache(tokens)
    monkeypatch.setattr(documents, "_cache", cache)
    assert not documents.read(VALID[name], introspection=False).errors
    assert measure_memory(lambda: fill_cache(cache, VALID[name])) < tokens * 2_000


def test_an_evicted_document_is_released_without_a_garbage_collection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = Cache()
    monkeypatch.setattr(documents, "_cache", cache)
    documents.read(VALID["spreads"], introspection=False)
    gc.collect()
    gc.disable()
    try:
        cache._documents.clear()
        assert gc.collect() == 0  # the number of objects that only the collection has released
    finally:
        gc.enable()


@pytest.mark.exhaustive
def test_the_most_expensive_document_stays_within_the_row_limit(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    database: Any = SimpleNamespace(url=store.url, connect=lambda: connect(store.url))
    learner = expensive.fill(database)

    def find(role: Role, *, past: bool = False) -> tuple[str, int]:
        return asyncio.run(expensive.find(store.url, learner, role, past=past))

    for what, (text, work) in (
        ("the present", find("learner")),
        ("the present", find("admin")),
        ("the past", find("support", past=True)),
    ):
        assert work <= expensive.WORK[what], text
    # without the limit, the search finds a more expensive document
    monkeypatch.setattr(limits, "_MAX_ROWS", 10**9)
    _, work = find("learner")
    assert work > 1.5 * expensive.WORK["the present"]


ORIGIN = "https://app.example.com"
BODY = b'{"query": "{ __typename }"}'


@pytest.fixture(params=["in Redis", "in the instance", "with a dead Redis"])
def limited(request: pytest.FixtureRequest, valkey: str) -> Iterator[Api]:
    url = {"in Redis": valkey, "with a dead Redis": "redis://127.0.0.1:1"}.get(request.param)
    with api.serve(
        api.NOWHERE, rate_limit_per_minute=3, redis_url=url, cors_origins=ORIGIN
    ) as made:
        yield made


def send(query_api: Api, user: str, body: bytes = BODY, **more: str) -> Response:
    return query_api.request("POST", "/graphql", body, api.headers(user, origin=ORIGIN, **more))


def exceed_limit(send: Callable[[], Response]) -> Response:
    """Send requests until one is rejected.

    A few requests beyond the limit may succeed, because each minute starts a new count. If Redis
    replies late, the instance also starts a count of its own.
    """
    for number in range(14):
        response = send()
        if response.status_code == 429:
            assert number >= 3
            return response
    pytest.fail("no request was rejected")


@pytest.mark.parametrize("accept", ["application/json", "application/graphql-response+json"])
def test_a_request_beyond_the_rate_limit_gets_a_retry_after(limited: Api, accept: str) -> None:
    user = f"{accept} {uuid4()}"
    refused = exceed_limit(lambda: send(limited, user, accept=accept))
    assert refused.headers["content-type"].startswith(accept)
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert "no-store" in refused.headers["cache-control"]
    assert refused.headers["access-control-allow-origin"] == ORIGIN
    (fault,) = api.read(refused)["errors"]
    assert fault["extensions"]["code"] == "RATE_LIMITED"
    assert send(limited, user + " another").status_code == 200


@pytest.mark.parametrize("query", ["{", "{ nothing }", "query ($n: Int!) { __typename }"])
def test_get_and_rejected_requests_also_count_against_the_rate_limit(
    limited: Api, query: str
) -> None:
    body = b'{"query": "%s"}' % query.encode()
    user = f"{query} {uuid4()}"
    exceed_limit(lambda: send(limited, user, body))
    got = exceed_limit(lambda: limited.get("{ __typename }", f"get {user}"))
    assert 1 <= int(got.headers["retry-after"]) <= 60


NOON = datetime(2024, 4, 4, 12, 0, 10, tzinfo=UTC)


def count_allowed(instances: list[Instance], caller: str, at: datetime) -> int:
    for number in range(20):
        instance = instances[number % len(instances)]
        try:
            instance.run(instance.cache.lookup(caller, (), at=at))
        except RateLimited:
            return number
    return 20


@pytest.fixture
def both(patient_redis: str) -> Iterator[list[Instance]]:
    instances = [Instance("postgresql://nobody", patient_redis, per_minute=5) for _ in range(2)]
    yield instances
    for instance in instances:
        instance.close()


def test_instances_share_a_count_that_starts_at_zero_each_minute(both: list[Instance]) -> None:
    assert count_allowed(both, "ann", NOON) == 5
    with pytest.raises(RateLimited, match="at most 5 requests a minute: wait 50 s") as rejection:
        both[0].run(both[0].limiter.count("ann", NOON))
    assert rejection.value.seconds == 50
    assert count_allowed(both, "ann", NOON + timedelta(seconds=49)) == 0
    assert count_allowed(both, "ben", NOON) == 5
    assert count_allowed(both, "ann", NOON + timedelta(seconds=50)) == 5
