"""Data of other learners: forbidden, except to teachers about the members of their groups."""

import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from starlette.responses import Response

from progress.adapters.postgres import database
from progress.query.graphql.fields import FIELDS
from tests.conftest import Store
from tests.query.test_questions import learner_fields, question
from tests.support import api, rows_by_hand, token_issuer
from tests.support.api import Api

FIELDS_ABOUT_LEARNERS = [
    (operation, name) for operation in ("query", "mutation") for name in learner_fields(operation)
]


@pytest.fixture
def api_with_bob(store: Store, connection: database.Connection) -> Iterator[Api]:
    rows_by_hand.insert(connection, "user_progress", {"user_id": "bob", "items_learned": 7})
    with api.serve(store.url) as made:
        yield made


def visible_parts(response: Response) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return everything that a client sees of a response."""
    return response.status_code, response.raw_headers, bytes(response.body)


@pytest.mark.parametrize(("operation", "name"), FIELDS_ABOUT_LEARNERS)
def test_a_forbidden_field_does_not_reveal_whether_a_learner_exists(
    api_with_bob: Api, operation: str, name: str
) -> None:
    answers = []
    for user in ("bob", "nob"):
        text = question(name, user, operation)
        body = msgspec.json.encode({"query": text})
        # This request puts Bob's results into the cache.
        api_with_bob.request("POST", "/graphql", body, api.headers("bob"))
        posted = api_with_bob.request("POST", "/graphql", body, api.headers("ann"))
        (error,) = api.read(posted)["errors"]
        assert error["extensions"]["code"] == "FORBIDDEN"
        assert api.read(posted)["data"] is None
        got = api_with_bob.request(
            "GET", "/graphql?" + urlencode({"query": text}), b"", api.headers("ann")
        )
        answers.append((visible_parts(posted), visible_parts(got)))
    assert answers[0] == answers[1]


def test_the_schema_has_fields_about_a_learner() -> None:
    assert len(FIELDS_ABOUT_LEARNERS) >= 11


GROUP = "query($g: ID!) { group(groupId: $g) { groupId members hardestItems { itemId } } }"
MEMBERS = "query($g: ID!) { learners(groupId: $g) { totalCount edges { node { userId } } } }"
DIFFICULTY = "{ itemDifficulty { totalCount edges { node { itemId learners } } } }"
PROGRESS = '{ userProgress(userId: "bob") { totalItemsLearned } }'


def headers(*groups: str, user: str = "tina", role: str = "teacher", **more: str) -> dict[str, str]:
    """Return the headers of a caller with this role and these groups."""
    token = token_issuer.token(user, roles=[role], groups=[*groups])
    return {"content-type": "application/json", "authorization": f"Bearer {token}", **more}


def ask(query_api: Api, query: str, sent: dict[str, str], **variables: object) -> Response:
    body = msgspec.json.encode({"query": query, "variables": variables})
    return query_api.request("POST", "/graphql", body, sent)


def code_of(response: Response) -> str | None:
    """Return the code of the response's only error, or None if there is no error."""
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
    """A connection to a database in which bob is a member of g1, and lea has left g1."""
    for user, is_member in (("bob", True), ("lea", False)):
        rows_by_hand.insert(connection, "user_progress", {"user_id": user, "items_learned": 7})
        change_membership(connection, user, is_member=is_member)
    return connection


@pytest.fixture
def query_api(store: Store, rows: database.Connection, empty_redis: str) -> Iterator[Api]:
    assert rows
    with api.serve(store.url, redis_url=empty_redis) as made:
        yield made


def test_a_teacher_reads_every_field_about_members_except_the_audit_trail(query_api: Api) -> None:
    for operation, name in FIELDS_ABOUT_LEARNERS:

        def answer(user: str, *groups: str) -> Response:
            return ask(query_api, question(name, user, operation), headers(*groups))  # noqa: B023 - `answer` is called only in this iteration

        is_allowed = operation == "query" and name != "events"
        assert code_of(answer("bob", "g0", "g1")) == (None if is_allowed else "FORBIDDEN"), name
        refused = [answer("bob", "g0"), *(answer(user, "g1") for user in ("lea", "nobody"))]
        assert {code_of(response) for response in refused} == {"FORBIDDEN"}, name
        assert len({bytes(response.body) for response in refused}) == 1, name
        if operation == "query":
            assert code_of(answer("tina")) is None, name


def test_a_cached_response_about_a_learner_is_not_sent_after_the_learner_has_left_the_group(
    query_api: Api, rows: database.Connection
) -> None:
    digest = hashlib.sha256(PROGRESS.encode()).hexdigest()
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": digest}}

    def get(**more: str) -> Response:
        sent = urlencode({"extensions": msgspec.json.encode(extensions).decode(), **more})
        tag = {"if-none-match": known} if known else {}
        return query_api.request("GET", f"/graphql?{sent}", b"", headers("g1", **tag))

    known = ""
    known = get(query=PROGRESS).headers["etag"]
    assert get().status_code == 304
    assert code_of(ask(query_api, PROGRESS, headers("g1"))) is None
    change_membership(rows, "bob", is_member=False)
    left = get()
    assert (left.status_code, code_of(left)) == (200, "FORBIDDEN")
    assert "etag" not in left.headers
    assert code_of(ask(query_api, PROGRESS, headers("g1"))) == "FORBIDDEN"
    assert code_of(ask(query_api, PROGRESS, headers(user="sue", role="support"))) is None


def test_a_group_can_be_read_only_by_support_administrators_and_its_teachers(
    query_api: Api,
) -> None:
    for query in (GROUP, MEMBERS):
        for group in ("g1", "g2", "nothing"):
            teacher = ask(query_api, query, headers("g1", "g2"), g=group)
            assert code_of(teacher) == (None if group != "nothing" else "FORBIDDEN")
            for role in ("support", "admin"):
                assert code_of(ask(query_api, query, headers(role=role), g=group)) is None
            assert code_of(ask(query_api, query, headers(group, role="learner"), g=group)) == (
                "FORBIDDEN"
            )
        bodies = {
            bytes(ask(query_api, query, headers("g2"), g=group).body) for group in ("g1", "g9")
        }
        assert len(bodies) == 1  # the response does not reveal whether the group exists
    for role in ("teacher", "support", "admin"):
        assert code_of(ask(query_api, DIFFICULTY, headers(role=role))) is None
    assert code_of(ask(query_api, DIFFICULTY, headers(role="learner"))) == "FORBIDDEN"


def test_the_field_group_is_null_and_the_field_learners_is_empty_without_a_current_member(
    query_api: Api, rows: database.Connection
) -> None:
    def read(query: str, group: str) -> Any:
        (value,) = api.read(ask(query_api, query, headers("g1", "g2"), g=group))["data"].values()
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


def test_queries_about_groups_and_difficulty_are_not_cached() -> None:
    assert not any(FIELDS[name].cache for name in ("group", "learners", "itemDifficulty"))


@pytest.mark.parametrize(
    "query",
    [
        "{ itemDifficulty(first: %s) { totalCount } }",
        '{ learners(groupId: "g1", first: %s) { totalCount } }',
        '{ group(groupId: "g1") { hardestItems(first: %s) { itemId } } }',
    ],
)
def test_the_argument_first_must_be_1_to_200(query_api: Api, query: str) -> None:
    for first in (0, -1, 201):
        (error,) = api.read(ask(query_api, query % first, headers("g1")))["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert error["message"] == f"first: expected an integer from 1 to 200 - found {first}"
    for allowed in ("1", "200", "null"):
        assert code_of(ask(query_api, query % allowed, headers("g1"))) is None


def test_a_cursor_for_another_order_is_rejected(query_api: Api) -> None:
    query = """query($o: LearnerOrder, $a: String) {
        learners(groupId: "g1", orderBy: $o, after: $a) { pageInfo { endCursor } } }"""
    answer = api.read(ask(query_api, query, headers("g1"), o="STREAK"))
    cursor = answer["data"]["learners"]["pageInfo"]["endCursor"]
    assert code_of(ask(query_api, query, headers("g1"), o="STREAK", a=cursor)) is None
    (error,) = api.read(ask(query_api, query, headers("g1"), o="AT_RISK", a=cursor))["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["message"].startswith("after: expected a cursor of a list ordered by AT_RISK")


def test_a_document_may_not_select_the_hardest_items_many_times(query_api: Api) -> None:
    lists = " ".join(f"a{n}: hardestItems {{ itemId }}" for n in range(30))
    query = f'{{ group(groupId: "g1") {{ {lists} }} }}'
    body = api.read(ask(query_api, query, headers("g1")))
    assert body["errors"][0]["extensions"]["code"] == "QUERY_TOO_COMPLEX"
