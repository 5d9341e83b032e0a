"""The query fields: edge cases, pages of any size, and the roles and teachers that read them."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import msgspec
import pytest
from graphql import GraphQLField
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.responses import Response

from progress.adapters.postgres import database
from progress.projections.schema import BATCH, REALTIME
from progress.query.graphql.schema import GRAPHQL
from progress.query.read_models.groups import LearnerOrder
from tests import oracle
from tests.conftest import Store
from tests.query.test_accesses import write_field
from tests.support import api, http_client, rows_by_hand, token_issuer
from tests.support.api import Api, QueryClient


def learner_fields(operation: str) -> dict[str, GraphQLField]:
    root = GRAPHQL.query_type if operation == "query" else GRAPHQL.mutation_type
    assert root
    return {name: field for name, field in root.fields.items() if "userId" in field.args}


def question(name: str, user: str, operation: str) -> str:
    return f"{operation} {{ {write_field(name, learner_fields(operation)[name], user)} }}"


def test_a_publisher_reads_nothing(query_api: Api) -> None:
    for text in ("{ streak { current } }", "{ languages { language } }", "{ __typename }"):
        answer = query_api.post(text, "ann", roles=["publisher"])
        assert answer["data"] is None
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["FORBIDDEN"]


def test_the_trail_lists_recorded_events(query_api: Api, connection: database.Connection) -> None:
    connection.run(rows_by_hand.BLOCKS["events"], user_id="ann", events=1)
    (edge,) = query_api.data(
        """{ events { edges { node {
          streamId streamVersion globalPosition eventType retracted data correlationId causationId
          occurredAt recordedAt
        } } } }"""
    )["events"]["edges"]
    assert edge["node"] == {
        "streamId": "learner-ann",
        "streamVersion": 1,
        "globalPosition": "1",
        "eventType": "ReviewProcessed",
        "retracted": False,
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
        *sorted(model.name for model in REALTIME if model.field),
        *(model.name for model in BATCH if model.field),
        "events out",
    ]
    assert {(p["eventsBehind"], p["secondsBehind"], p["status"]) for p in fresh} == {
        (0, 0.0, "NORMAL")
    }
    connection.run(rows_by_hand.BLOCKS["events"], user_id="ann", events=7)
    for projection in query_api.data(query)["projectionStatus"]:
        assert projection["eventsBehind"] == 7
        assert projection["secondsBehind"] > 600
        assert projection["status"] == "CRITICAL"


NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(
    counts=st.tuples(st.integers(1, 9_000), st.integers(0, 9_000)),
    recent=st.lists(st.tuples(st.integers(-1, 29), st.integers(1, 30)), max_size=4),
)
@example(counts=(5, 4), recent=[])
@example(counts=(5, 3), recent=[(0, 10)])
@example(counts=(1629, 0), recent=[(0, 10)])
@example(counts=(1631, 0), recent=[(0, 10)])
def test_the_forecast_of_a_level_is_computed_in_integers(
    connection: database.Connection,
    fetch: QueryClient,
    counts: tuple[int, int],
    recent: list[tuple[int, int]],
) -> None:
    """`counts` has two numbers: the level's items, and those that the learner has mastered.

    Each pair in `recent` has a number of days before today, and the number of items that the
    learner mastered on that day.
    """
    connection.run(rows_by_hand.BLOCKS["empty levels"])
    level = {"kind": "level", "name": "B1", "language": "und"}
    share = {**level, "user_id": "ann", "mastered_in_catalogue": counts[1]}
    rows_by_hand.insert(connection, "catalogue_counts", {**level, "items": counts[0]})
    rows_by_hand.insert(connection, "catalogue_shares", share)
    days = {NOON.date() - timedelta(days=ago): items for ago, items in recent}
    rows_by_hand.insert(
        connection,
        "mastery_days",
        *(
            {"user_id": "ann", "level": "B1", "language": "und", "day": d, "items": n}
            for d, n in days.items()
        ),
    )
    (row,) = fetch(fetch.queries.get_level_stats("ann", at=NOON))
    counted = sum(n for d, n in days.items() if 0 <= (NOON.date() - d).days < 28)
    expected = oracle.forecast(NOON.date(), *counts, counted)
    assert {name: getattr(row, name) for name in expected} == expected


Row = dict[str, Any]

START = datetime(2024, 3, 1, tzinfo=UTC)
ITEMS = """
query (
  $filter: ItemFilter, $order: ItemOrder, $level: CefrLevel, $domain: Domain, $search: String,
  $first: Int, $after: String
) {
  itemStats(
    filter: $filter, orderBy: $order, level: $level, domain: $domain, search: $search,
    first: $first, after: $after
  ) {
    totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    edges { cursor node { itemId } }
  }
}"""
EVENTS = """
query ($types: [String!], $first: Int, $after: String) {
  events(types: $types, first: $first, after: $after) {
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    edges { cursor node { streamVersion eventType } }
  }
}"""


@pytest.mark.parametrize(
    "field",
    [
        "levelStats% { level }",
        "domainStats% { domain }",
        "itemStats% { totalCount }",
        "knowledge% { on }",
    ],
)
def test_a_language_is_a_primary_subtag(query_api: Api, field: str) -> None:
    query = f"query ($tag: String) {{ {field.replace('%', '(language: $tag)')} }}"
    for tag in ("de", "X", "UND", "a" * 8, None):
        assert "errors" not in query_api.post(query, tag=tag)
    for tag in ("", "de-AT", "d3", "a" * 9, "de\n", "\u212a"):  # lower() would make k of the last
        code, message = query_api.error(query, tag=tag)
        assert code == "BAD_USER_INPUT"
        assert message.startswith("language: expected a primary subtag of 1 to 8 letters")


@pytest.mark.parametrize(
    ("listed", "days", "error"),
    [
        ("MISSED", (None, None), None),
        ("MISSED", (-729, None), None),
        ("SLIPPED_BACK", (-9, -2), None),
        ("ALL", (None, None), None),
        ("ALL", (0, None), "from, to: expected neither with the filter ALL - found 20"),
        ("DUE", (None, 0), "from, to: expected neither with the filter DUE - found 20"),
        ("ANSWERED", (2, None), "from: expected a day not later than `to` - found"),
        ("ANSWERED", (None, -2), "to: expected `from`, too, or a day from "),
        ("NEWLY_MASTERED", (-740, None), "from, to: expected at most 731 days - found"),
    ],
)
def test_only_filters_that_ask_about_days_take_a_range_whose_ends_are_today_by_default(
    query_api: Api, listed: str, days: tuple[int | None, int | None], error: str | None
) -> None:
    today = datetime.now(UTC).date()
    first, last = (n if n is None else str(today + timedelta(days=n)) for n in days)
    query = """query ($filter: ItemFilter, $from: Date, $to: Date) {
      itemStats(filter: $filter, from: $from, to: $to) { totalCount } }"""
    variables = {"filter": listed, "from": first, "to": last}
    if error is None:
        assert query_api.data(query, **variables) == {"itemStats": {"totalCount": 0}}
    else:
        code, message = query_api.error(query, **variables)
        assert code == "BAD_USER_INPUT"
        assert message.startswith(error)


moments = st.integers(0, 3).map(lambda n: START + timedelta(microseconds=n))


@st.composite
def draw_row(draw: st.DrawFn) -> Row:
    answers = draw(st.integers(0, 4))
    row: Row = {"answers": answers, "correct_answers": draw(st.integers(0, answers))}
    row["lapses"] = draw(st.sampled_from([0, 7, 8, 9]))
    if answers:
        row["last_answered_at"] = row["first_answered_at"] = draw(moments)
    if not answers or draw(st.booleans()):
        days = draw(st.sampled_from([0, 6, 7, 21, 36_500]))
        row |= {"reviewed_at": draw(moments), "interval_days": days, "easiness_factor": 2.5}
    return row


# Letters of several scripts in both cases, a composed and a separate accent, and wildcards.
LETTERS = "aAéÉ\u0301eЩщΣςσ%_\\"
words = st.fixed_dictionaries(
    {
        "level": st.sampled_from([None, "A1", "C2"]),
        "domains": st.sampled_from([[], ["R"], ["R", "S"]]),
        "in_catalogue": st.booleans(),
        "headword": st.none() | st.text(LETTERS, max_size=4),
    }
)
entries = st.lists(st.tuples(draw_row(), st.none() | words), max_size=12)


def pages(ask: Callable[[str | None], Row]) -> Iterator[Row]:
    after = None
    while True:
        page = ask(after)
        yield page
        cursors = [edge["cursor"] for edge in page["edges"]]
        ends = (cursors[0], cursors[-1]) if cursors else (None, None)
        assert (page["pageInfo"]["startCursor"], page["pageInfo"]["endCursor"]) == ends
        assert page["pageInfo"]["hasPreviousPage"] == (after is not None)
        if not page["pageInfo"]["hasNextPage"]:
            return
        after = page["pageInfo"]["endCursor"]


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(
    entries=entries,
    size=st.integers(1, 13),
    choice=st.fixed_dictionaries(
        {
            "filter": st.sampled_from([None, "MASTERED", "STRUGGLING", "DUE"]),
            "order": st.sampled_from([None, "RECENT", "DUE", "ACCURACY", "LAPSES"]),
            "level": st.sampled_from([None, "A1", "B1", "UNKNOWN"]),
            "domain": st.sampled_from([None, "R", "S", "UNKNOWN"]),
            "search": st.none() | st.text(LETTERS, max_size=2),
        }
    ),
)
def test_the_joined_pages_of_items_are_the_whole_list(
    query_api: Api,
    connection: database.Connection,
    entries: list[tuple[Row, Row | None]],
    size: int,
    choice: Row,
) -> None:
    """What the whole list is, the tests with the oracle ask."""
    named = {f"item {n}": entry for n, entry in enumerate(entries)}
    met = [{"user_id": "ann", "item_id": i, **row} for i, (row, _) in named.items()]
    described = [{"item_id": i, **word} for i, (_, word) in named.items() if word]
    connection.run(rows_by_hand.BLOCKS["empty"])
    other = {"user_id": "bob", "item_id": "another's"}
    rows_by_hand.insert(connection, "item_stats", *met, other)
    rows_by_hand.insert(connection, "items", *described)

    def ask(after: str | None, first: int = size) -> Row:
        page: Row = query_api.data(ITEMS, **choice, first=first, after=after)["itemStats"]
        assert len(page["edges"]) <= first
        return page

    (whole,) = pages(lambda after: ask(after, 200))
    joined = [*pages(ask)]
    assert [edge for page in joined for edge in page["edges"]] == whole["edges"]
    assert {page["totalCount"] for page in (*joined, whole)} == {len(whole["edges"])}


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(
    count=st.integers(0, 20),
    size=st.integers(1, 21),
    types=st.sampled_from([None, [], ["ReviewProcessed"], ["ReviewProcessed", "Unheard"]]),
)
def test_the_joined_pages_of_the_audit_trail_list_its_events_newest_first(
    query_api: Api, connection: database.Connection, count: int, size: int, types: list[str] | None
) -> None:
    connection.run(rows_by_hand.BLOCKS["empty"])
    connection.run(rows_by_hand.BLOCKS["events"], user_id="ann", events=count)

    def ask(after: str | None) -> Row:
        page: Row = query_api.data(EVENTS, types=types, first=size, after=after)["events"]
        return page

    whole = [edge["node"] for page in pages(ask) for edge in page["edges"]]
    versions = [n for n in range(count, 0, -1) if types is None or (n % 3 and types)]
    assert [node["streamVersion"] for node in whole] == versions


MILESTONES = """
query ($kinds: [MilestoneKind!], $first: Int, $after: String) {
  milestones(kinds: $kinds, first: $first, after: $after) {
    totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    edges { cursor node { id kind value level reachedOn } }
  }
}"""
KINDS = ["STREAK", "ITEMS_LEARNED", "ITEMS_MASTERED", "GOAL_MET", "LEVEL_REACHED"]


Reached = tuple[str, int | None, str | None, date]  # kind, value, level and day


@st.composite
def draw_milestone(draw: st.DrawFn) -> Reached:
    kind = draw(st.sampled_from(KINDS))
    is_level = kind == "LEVEL_REACHED"
    value = None if is_level else draw(st.sampled_from([3, 10, 50]))
    level = draw(st.sampled_from(["A1", "B2", "C1"])) if is_level else None
    return kind, value, level, date(2024, 2, 27) + draw(st.integers(0, 3)) * timedelta(days=1)


def insert_milestones(connection: database.Connection, reached: Iterable[Reached]) -> None:
    connection.run("DELETE FROM milestones")
    names = ("kind", "value", "level", "reached_on")
    rows = [{"user_id": "ann", **dict(zip(names, one, strict=True))} for one in reached]
    other = {"user_id": "bob", "kind": "STREAK", "value": 3, "reached_on": START.date()}
    rows_by_hand.insert(connection, "milestones", *rows, other)


def list_reached(page: Row) -> list[Reached]:
    nodes = [edge["node"] for edge in page["edges"]]
    return [(n["kind"], n["value"], n["level"], date.fromisoformat(n["reachedOn"])) for n in nodes]


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(
    reached=st.lists(draw_milestone(), unique=True, max_size=12),
    size=st.integers(1, 13),
    kinds=st.none() | st.lists(st.sampled_from(KINDS), max_size=3),
)
def test_the_joined_pages_of_milestones_are_the_whole_list(
    query_api: Api,
    connection: database.Connection,
    reached: list[Reached],
    size: int,
    kinds: list[str] | None,
) -> None:
    insert_milestones(connection, reached)
    everything = list_reached(query_api.data(MILESTONES, first=200)["milestones"])
    assert {*everything} == {*reached}
    listed = [one for one in everything if kinds is None or one[0] in kinds]

    def ask(after: str | None) -> Row:
        page: Row = query_api.data(MILESTONES, kinds=kinds, first=size, after=after)["milestones"]
        assert page["totalCount"] == len(listed)
        assert len(page["edges"]) <= size
        return page

    assert [one for page in pages(ask) for one in list_reached(page)] == listed


def test_a_page_goes_on_after_a_milestone_that_has_vanished(
    query_api: Api, connection: database.Connection
) -> None:
    reached: list[Reached] = [("STREAK", n, None, START.date()) for n in (30, 14, 7, 3)]
    insert_milestones(connection, reached)
    first = query_api.data(MILESTONES, first=2)["milestones"]
    insert_milestones(connection, reached[2:])
    after = first["pageInfo"]["endCursor"]
    second = query_api.data(MILESTONES, first=2, after=after)["milestones"]
    assert (list_reached(first), list_reached(second)) == (reached[:2], reached[2:])
    ids = [edge["node"]["id"] for edge in first["edges"]]
    assert ids == [str(oracle.milestone_id("ann", {"kind": k, "value": v, "level": lev}))
                   for k, v, lev, _ in reached[:2]]  # fmt: skip


FIELDS_ABOUT_LEARNERS = [
    (operation, name) for operation in ("query", "mutation") for name in learner_fields(operation)
]


def visible_parts(response: Response) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    return response.status_code, response.raw_headers, bytes(response.body)


def test_a_forbidden_field_does_not_reveal_whether_a_learner_exists(groups_api: Api) -> None:
    for operation, name in FIELDS_ABOUT_LEARNERS:
        answers = []
        for user in ("bob", "nob"):
            text = question(name, user, operation)
            body = msgspec.json.encode({"query": text})
            # This request puts Bob's results into the cache.
            groups_api.request("POST", "/graphql", body, api.headers("bob"))
            posted = groups_api.request("POST", "/graphql", body, api.headers("ann"))
            (error,) = api.read(posted)["errors"]
            assert error["extensions"]["code"] == "FORBIDDEN"
            assert api.read(posted)["data"] is None
            got = groups_api.request(
                "GET", "/graphql?" + urlencode({"query": text}), b"", api.headers("ann")
            )
            answers.append((visible_parts(posted), visible_parts(got)))
        assert answers[0] == answers[1], name


GROUP = "query($g: ID!) { group(groupId: $g) { groupId members hardestItems { itemId } } }"
MEMBERS = "query($g: ID!) { learners(groupId: $g) { totalCount edges { node { userId } } } }"
PROGRESS = '{ userProgress(userId: "bob") { totalItemsLearned } }'


def headers(*groups: str, user: str = "tina", role: str = "teacher", **more: str) -> dict[str, str]:
    token = token_issuer.token(user, roles=[role], groups=[*groups])
    return http_client.headers(token, **more)


def ask(groups_api: Api, query: str, sent: dict[str, str], **variables: object) -> Response:
    body = msgspec.json.encode({"query": query, "variables": variables})
    return groups_api.request("POST", "/graphql", body, sent)


def code_of(response: Response) -> str | None:
    body = api.read(response)
    if "errors" not in body:
        return None
    assert body["data"] is None
    (error,) = body["errors"]
    code: str = error["extensions"]["code"]
    return code


def change_membership(connection: database.Connection, user: str, *, is_member: bool) -> None:
    connection.run("DELETE FROM group_members WHERE user_id = :user", user=user)
    row = {"group_id": "g1", "user_id": user, "is_member": is_member}
    moment = {"decided_at": "2024-03-01T00:00:00Z", "decided_id": f"{0:032}"}
    rows_by_hand.insert(connection, "group_members", {**row, **moment})


@pytest.fixture
def rows(connection: database.Connection) -> database.Connection:
    for user, is_member in (("bob", True), ("lea", False)):
        rows_by_hand.insert(connection, "user_progress", {"user_id": user, "items_learned": 7})
        change_membership(connection, user, is_member=is_member)
    return connection


@pytest.fixture
def groups_api(store: Store, rows: database.Connection, empty_redis: str) -> Iterator[Api]:
    del rows  # the fixture has inserted them
    with api.serve(store.url, redis_url=empty_redis) as made:
        yield made


def test_a_teacher_reads_every_field_about_members_except_the_audit_trail_and_its_readers(
    groups_api: Api,
) -> None:
    for operation, name in FIELDS_ABOUT_LEARNERS:

        def answer(user: str, *groups: str) -> Response:
            return ask(groups_api, question(name, user, operation), headers(*groups))  # noqa: B023 - not called later

        is_allowed = operation == "query" and name not in ("events", "accesses")
        assert code_of(answer("bob", "g0", "g1")) == (None if is_allowed else "FORBIDDEN"), name
        refused = [answer("bob", "g0"), *(answer(user, "g1") for user in ("lea", "nobody"))]
        assert {code_of(response) for response in refused} == {"FORBIDDEN"}, name
        assert len({bytes(response.body) for response in refused}) == 1, name
        if operation == "query":
            assert code_of(answer("tina")) is None, name


def test_a_cached_response_about_a_learner_is_not_sent_after_the_learner_has_left_the_group(
    groups_api: Api, rows: database.Connection
) -> None:

    def get() -> Response:
        tag = {"if-none-match": known} if known else {}
        sent = urlencode({"query": PROGRESS})
        return groups_api.request("GET", f"/graphql?{sent}", b"", headers("g1", **tag))

    known = ""
    known = get().headers["etag"]
    assert get().status_code == 304
    assert code_of(ask(groups_api, PROGRESS, headers("g1"))) is None
    change_membership(rows, "bob", is_member=False)
    left = get()
    assert (left.status_code, code_of(left)) == (200, "FORBIDDEN")
    assert "etag" not in left.headers
    assert code_of(ask(groups_api, PROGRESS, headers("g1"))) == "FORBIDDEN"
    assert code_of(ask(groups_api, PROGRESS, headers(user="sue", role="support"))) is None


GROUPS = """query ($text: String, $first: Int, $after: String) {
  groups(text: $text, first: $first, after: $after) {
    totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    edges { cursor node { groupId name } } } }"""
FOUND = """query ($text: String!, $first: Int) {
  searchLearners(text: $text, first: $first) { userId displayName }
  searchGroups(text: $text, first: $first)
}"""


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(
    learners=st.dictionaries(
        st.text(LETTERS, min_size=1, max_size=4),
        st.none() | st.text(LETTERS, max_size=4),
        max_size=12,
    ),
    text=st.text(LETTERS, min_size=2, max_size=3),
    first=st.integers(1, 5),
)
def test_a_search_for_learners_equals_the_oracle_s_result(
    query_api: Api,
    connection: database.Connection,
    learners: dict[str, str | None],
    text: str,
    first: int,
) -> None:
    connection.run(rows_by_hand.BLOCKS["empty names"])
    rows_by_hand.insert(connection, "user_progress", *({"user_id": user} for user in learners))
    rows = [{"user_id": user, "display_name": name or None} for user, name in learners.items()]
    rows_by_hand.insert(connection, "display_names", *rows[::2])  # every second learner has a row
    named = {row["user_id"]: row["display_name"] for row in rows[::2]}
    published = [
        oracle.Event(
            UUID(int=n), "UserCreated", {"display_name": named.get(user)}, NOON, NOON, user
        )
        for n, user in enumerate(learners)
    ]
    expected = oracle.search_learners(oracle.see(published, NOON), text, first)
    found = query_api.data(FOUND, roles=["support"], text=text, first=first)
    assert found["searchLearners"] == [
        {"userId": row["user_id"], "displayName": row["display_name"]} for row in expected
    ]


# Letters of Latin, Greek, Cyrillic and Armenian script. Of İ, the lower case is not promised.
SMALL = st.characters(max_codepoint=0x58F, exclude_categories=["Cc", "Cs"], exclude_characters="İ")


@pytest.mark.every_postgres(in_gate=True)
@settings(suppress_health_check=list(HealthCheck))
@given(text=st.text(SMALL))
@example("Äpfel ÇA VA ИЩУ e\u0301TE\u0301 ΣΑΣ 食べる")
@example("".join(map(chr, range(1, 0x130))))
def test_a_search_ignores_case_in_every_script_and_how_accents_are_written(
    connection: database.Connection, text: str
) -> None:
    assert connection.run(rows_by_hand.BLOCKS["fold_case"], text=text) == [[oracle.folded(text)]]


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(
    joined=st.dictionaries(
        st.tuples(st.text(LETTERS, min_size=1, max_size=4), st.sampled_from("xy")),
        st.tuples(st.booleans(), st.text(LETTERS, max_size=4)),
        max_size=12,
    ),
    text=st.text(LETTERS, min_size=2, max_size=3),
    first=st.integers(1, 5),
)
def test_a_search_for_groups_equals_the_oracle_s_result(
    query_api: Api,
    connection: database.Connection,
    joined: dict[tuple[str, str], tuple[bool, str]],
    text: str,
    first: int,
) -> None:
    connection.run(rows_by_hand.BLOCKS["empty members"])
    published = list[oracle.Event]()
    for n, ((group, user), (is_member, name)) in enumerate(joined.items()):
        id_, kind = UUID(int=n), "LearnerJoinedGroup" if is_member else "LearnerLeftGroup"
        row = {"group_id": group, "user_id": user}
        decided = {"decided_at": NOON, "decided_id": id_, "is_member": is_member}
        rows_by_hand.insert(connection, "group_members", row | decided)
        if is_member and name:
            named = {"group_name": name, "named_at": NOON, "named_id": id_}
            rows_by_hand.insert(connection, "group_names", row | named)
        data = {"group_id": group, "group_name": name}
        published.append(oracle.Event(id_, kind, data, NOON, NOON, user))
    world = oracle.see(published, NOON)
    found = query_api.data(FOUND, roles=["support"], text=text, first=first)
    assert found["searchGroups"] == oracle.search_groups(world, text, first)
    for part in (text, text[:1], "", None):
        listed = oracle.find_groups(world, part or "")

        def ask(after: str | None) -> Row:
            sent = {"text": part, "first": first, "after": after}  # noqa: B023 - called at once
            page: Row = query_api.data(GROUPS, roles=["support"], **sent)["groups"]
            assert page["totalCount"] == len(listed)  # noqa: B023 - called at once
            return page

        whole = [edge["node"] for page in pages(ask) for edge in page["edges"]]
        assert [(node["groupId"], node["name"]) for node in whole] == listed


def test_a_group_is_read_only_by_support_administrators_and_its_teachers(groups_api: Api) -> None:
    for query in (GROUP, MEMBERS):
        for group in ("g1", "g2", "nothing"):
            teacher = ask(groups_api, query, headers("g1", "g2"), g=group)
            assert code_of(teacher) == (None if group != "nothing" else "FORBIDDEN")
            for role in ("support", "admin"):
                assert code_of(ask(groups_api, query, headers(role=role), g=group)) is None
            assert code_of(ask(groups_api, query, headers(group, role="learner"), g=group)) == (
                "FORBIDDEN"
            )
        bodies = {
            bytes(ask(groups_api, query, headers("g2"), g=group).body) for group in ("g1", "g9")
        }
        assert len(bodies) == 1  # the response does not reveal whether the group exists


def test_the_field_group_is_null_and_the_field_learners_is_empty_without_a_current_member(
    groups_api: Api, rows: database.Connection
) -> None:
    def read(query: str, group: str) -> Any:
        (value,) = api.read(ask(groups_api, query, headers("g1", "g2"), g=group))["data"].values()
        return value

    def read_members(selection: str) -> Any:
        fragments = "fragment groupId on Group { members } fragment F on Group { ...groupId }"
        query = f"query($g: ID!) {{ g: group(groupId: $g) {{ {selection} }} }} {fragments}"
        return read(query, "g1")

    assert read(GROUP, "g1") == {"groupId": "g1", "members": 1, "hardestItems": []}
    cheap = "query($g: ID!) { group(groupId: $g) { groupId hardestItems { itemId } } }"
    assert read(cheap, "g1") == {"groupId": "g1", "hardestItems": []}
    for inside in ("...F", "... { ...F }", "...groupId groupId ...F", "members ...F"):
        assert read_members(inside)["members"] == 1
    assert read(MEMBERS, "g1") == {"totalCount": 1, "edges": [{"node": {"userId": "bob"}}]}
    change_membership(rows, "bob", is_member=False)
    for group in ("g1", "g2"):
        assert read(GROUP, group) is None
        assert read(cheap, group) is None
        assert read(MEMBERS, group) == {"totalCount": 0, "edges": []}


@pytest.mark.parametrize("order", LearnerOrder)
def test_the_joined_pages_of_learners_are_the_whole_list(
    groups_api: Api, rows: database.Connection, order: LearnerOrder
) -> None:
    for user in ("ann", "cid"):
        change_membership(rows, user, is_member=True)

    def list_users(first: int) -> list[str]:
        def read(after: str | None) -> Row:
            asked = ask(groups_api, LEARNERS, headers("g1"), first=first, after=after, order=order)
            page: Row = api.read(asked)["data"]["learners"]
            return page

        return [edge["node"]["userId"] for page in pages(read) for edge in page["edges"]]

    assert list_users(1) == list_users(3)


LEARNERS = """query ($order: LearnerOrder, $first: Int, $after: String) {
  learners(groupId: "g1", orderBy: $order, first: $first, after: $after) {
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    edges { cursor node { userId } } } }"""


def test_what_members_did_since_a_day_starts_at_most_366_days_ago(
    groups_api: Api, rows: database.Connection
) -> None:
    today = datetime.now(UTC).date()
    query = """query ($day: Date!) { learners(groupId: "g1") { edges { node {
      since(date: $day) { answers } today: since(days: 1) { answers } } } } }"""

    def read(days: int) -> Any:
        day = str(today - timedelta(days=days))
        return api.read(ask(groups_api, query, headers("g1"), day=day))

    for ago in (366, 367):
        row = {"user_id": "bob", "day": today - timedelta(days=ago), "answers": ago}
        rows_by_hand.insert(rows, "daily_stats", row)
    (edge,) = read(366)["data"]["learners"]["edges"]
    assert edge["node"] == {"since": {"answers": 366}, "today": {"answers": 0}}
    error = read(367)["errors"][0]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["message"].startswith("date: expected 20")


def test_the_arguments_of_fields_about_a_group_are_checked(groups_api: Api) -> None:
    since = 'learners(groupId: "g1") { edges { node { since(%s) { answers } } } }'
    for query, message in {
        since % "days: 0": "days: expected an integer from 1 to 366 - found 0",
        since % "days: 367": "days: expected an integer from 1 to 366 - found 367",
        since % 'days: 7, date: "2024-03-01"': "date, days: expected one of them - found both",
        since % "days: null, date: null": "date, days: expected one of them - found neither",
        'group(groupId: "g1") { hardestItems(first: 201) { itemId } }': (
            "first: expected an integer from 1 to 200 - found 201"
        ),
    }.items():
        (error,) = api.read(ask(groups_api, f"{{ {query} }}", headers("g1")))["errors"]
        assert (error["extensions"]["code"], error["message"]) == ("BAD_USER_INPUT", message)


PAST = """{ group(groupId: "g1", asOf: "2024-03-01T12:00:00Z") { members }
  learners(groupId: "g1", asOf: "2024-03-01T12:00:00Z") {
    totalCount edges { node { since(date: "%s") { answers } } } } }"""


def test_a_past_day_of_a_class_is_about_at_most_50_members(
    groups_api: Api, rows: database.Connection
) -> None:
    for number in range(49):
        change_membership(rows, f"pupil {number}", is_member=True)
    data = api.read(ask(groups_api, PAST % "2024-03-01", headers("g1")))["data"]
    assert (data["group"], data["learners"]["totalCount"]) == ({"members": 50}, 50)
    errors = api.read(ask(groups_api, PAST % "2023-02-27", headers("g1")))["errors"]
    assert errors[0]["message"].startswith("date: expected 2023-03-01 or a later day - found")
    ahead = PAST.replace("2024", "9988") % "9988-03-01"
    for error in api.read(ask(groups_api, ahead, headers("g1")))["errors"]:
        assert error["message"].startswith("asOf, knownAt: expected the years 4 to 9987 - found")
    change_membership(rows, "one more", is_member=True)
    for error in api.read(ask(groups_api, PAST % "2024-03-01", headers("g1")))["errors"]:
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert error["message"].startswith(
            "asOf: expected a group of at most 50 members - found 51"
        )


def test_what_may_be_read_of_groups_depends_on_their_size(
    groups_api: Api, rows: database.Connection
) -> None:
    whole = """{ members teachers weeks { start } hardestItems { itemId } knowledge { items }
        itemsFading { itemId } }"""
    past = f'{{ group(groupId: "g1", asOf: "2026-11-20T00:00:00Z") {whole} }}'
    both = f'{{ group(groupId: "g1") {whole} learners(groupId: "g1") {{ totalCount }} }}'
    each = "{ groups(first: 200) { edges { node { members teachers knowledge { items } } } } }"
    teacher, foreign, support = headers("g1"), headers("g0"), headers(role="support")

    def found(query: str, sent: dict[str, str]) -> str | None:
        errors = api.read(ask(groups_api, query, sent)).get("errors")
        return str(errors[0]["message"]).rpartition(" ")[2] if errors else None

    asked = [(past, teacher), (both, teacher), (each, support), (past, foreign), (both, foreign)]
    assert [found(*one) for one in asked] == [None, None, None, "only", "only"]
    rows.run("UPDATE user_progress SET learning = 100000 WHERE user_id = 'bob'")
    assert [found(*one) for one in asked] == ["1330", "1480", None, "only", "only"]
    rows.run(rows_by_hand.BLOCKS["fill a group"])
    assert found(each, support) == str(200 + 200 * 310)
