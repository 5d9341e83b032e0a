"""Tasks that teachers set: recorded once, by those who may, and seen by the class."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tests.conftest import Store
from tests.query.test_learner_mutations import World, open_world, outcome
from tests.support import http_client, sample_events, token_issuer
from tests.support.api import Body, read
from tests.support.fake_publisher import FakePublisher
from tests.support.stage import append

CALLS = {
    name: f"mutation({variables}, $key: ID!) {{ {name}({given}, idempotencyKey: $key)"
    " { listId events counted } }"
    for name, variables, given in (
        (
            "setTask",
            "$group: ID!, $name: String!, $items: [ID!]!, $day: Date!",
            "groupId: $group, name: $name, itemIds: $items, dueOn: $day",
        ),
        (
            "assignList",
            "$group: ID!, $list: ID!, $day: Date!",
            "groupId: $group, listId: $list, dueOn: $day",
        ),
        ("unassignList", "$group: ID!, $list: ID!", "groupId: $group, listId: $list"),
    )
}
ITEMS = ("i1", "i2", "i3")
TOM = {"roles": ["teacher"], "groups": ["g1", "g2"]}
POSTED = {"posted_by": "teacher"}
REFUSED, MISSING, FORBIDDEN = "BAD_USER_INPUT", "NOT_FOUND", "FORBIDDEN"


def day(days: int = 7) -> str:
    return f"{datetime.now(UTC).date() + timedelta(days=days)}"


class School:
    """A world with items, an archived one, a list, and the pupils ann (g1) and bob (g2)."""

    def __init__(self, world: World) -> None:
        self.world, self.connection = world, world.connection
        told: list[tuple[str, dict[str, Any]]] = [
            *(("ItemPublished", {"item_id": item, "headword": item}) for item in (*ITEMS, "gone")),
            ("ItemArchived", {"item_id": "gone"}),
            ("ListPublished", {"list_id": "unit", "name": "Unit 1"}),
            ("LearnerJoinedGroup", {"user_id": "ann", "group_id": "g1"}),
            ("LearnerJoinedGroup", {"user_id": "bob", "group_id": "g2"}),
        ]
        at = datetime.now(UTC) - timedelta(days=9)
        append(self.connection, [
            sample_events.envelope(kind, data, at=at + timedelta(seconds=n))
            for n, (kind, data) in enumerate(told)
        ])  # fmt: skip
        world.fold()

    def post(self, query: str, user: str, claims: Any, /, **variables: object) -> Body:
        headers = http_client.headers(token_issuer.token(user, **claims))
        body = msgspec.json.encode({"query": query, "variables": variables})
        return read(self.world.api.request("POST", "/graphql", body, headers))

    def call(self, mutation: str, user: str = "tom", claims: Any = TOM, **given: object) -> Any:
        standard = {"group": "g1", "name": "Words", "items": ITEMS, "day": day(), "key": "k"}
        return outcome(self.post(CALLS[mutation], user, claims, **standard | given))

    def set_task(self, user: str = "tom", claims: Any = TOM, **given: object) -> Any:
        return self.call("setTask", user, claims, **given)

    def recorded(self) -> list[Any]:
        """Return stream, type, data and metadata of what teachers have recorded."""
        rows: list[Any] = self.connection.run(
            "SELECT stream_id, event_type, event_data, metadata, occurred_at "
            "FROM event_store.events WHERE metadata ? 'posted_by' ORDER BY global_position"
        )
        return rows

    def kinds(self) -> list[str]:
        return [kind for _, kind, *_ in self.recorded()]

    def sees(self, list_id: str, user: str, claims: Any, learner: str | None = None) -> set[str]:
        """Return the fields in which the caller sees that the list exists."""
        query = """query($id: ID!, $user: ID) {
          list(userId: $user, listId: $id) { id members { edges { node { itemId } } } }
          itemStats(userId: $user, list: $id) { totalCount }
          itemLists(userId: $user, itemId: "i1") { id }
          tasks(userId: $user) { edges { node { listId } } }
          lists(userId: $user) { edges { node { id } } } }"""
        body = self.post(query, user, claims, id=list_id, user=learner)
        assert "errors" not in body, body
        seen = {name for name, found in body["data"].items() if list_id in f"{found}"}
        return seen | {name for name in ("itemStats",) if body["data"][name]["totalCount"]}


@pytest.fixture
def school(store: Store, fake_publisher: FakePublisher, patient_redis: str) -> Iterator[School]:
    with open_world(store, fake_publisher, patient_redis, rate_limit_per_minute=10_000) as world:
        yield School(world)


def test_a_task_is_set_once_changed_and_taken_back(school: School) -> None:
    made = school.set_task()
    list_id = made["listId"]
    assert (made["events"], made["counted"]) == (5, True)
    assert list_id.startswith("progress-task-")
    assert [row[:4] for row in school.recorded()] == [
        [f"list-{list_id}", "ListPublished", {"list_id": list_id, "name": "Words"}, POSTED],
        *(
            [f"list-{list_id}", "ItemListed", data, POSTED]
            for data in (
                {"list_id": list_id, "item_id": item, "position": n} for n, item in enumerate(ITEMS)
            )
        ),
        [
            "group-g1",
            "ListAssigned",
            {"list_id": list_id, "group_id": "g1", "due_on": day()},
            POSTED,
        ],
    ]
    assert len({row[4] for row in school.recorded()}) == 1, "one time"
    assert school.set_task() == {"listId": list_id, "events": 0, "counted": True}
    for other in ({"name": "W"}, {"items": ITEMS[::-1]}, {"items": ITEMS[:2]}, {"day": day(8)},
                  {"group": "g2"}, {"items": [*ITEMS, "i4"]}):  # fmt: skip
        assert school.set_task(**other) == REFUSED
    assert school.set_task("eve", TOM)["listId"] != list_id, "the key is the caller's own"
    changed = school.call("assignList", list=list_id, day=day(9))
    assert changed == {"listId": list_id, "events": 1, "counted": True}
    assert school.call("assignList", list=list_id, group="g2", key="2")["events"] == 1
    assert school.call("unassignList", list=list_id)["events"] == 1
    assert school.call("unassignList", list=list_id)["events"] == 0
    assert school.sees(list_id, "bob", {}), "it is still a task of g2"
    assert school.call("unassignList", list=list_id, group="g2", key="2")["events"] == 2
    assert school.kinds()[-2:] == ["ListUnassigned", "ListArchived"]
    assert school.call("unassignList", list=list_id, group="g2", key="2")["events"] == 0
    assert school.call("assignList", list=list_id, key="3") == MISSING
    assert school.set_task() == {"listId": list_id, "events": 0, "counted": True}


@pytest.mark.parametrize("mutation", CALLS)
def test_the_right_alone_decides_for_teachers_and_staff_names_a_known_group(
    school: School, mutation: str
) -> None:
    given = {"list": "unit"}
    others: tuple[Any, ...] = (
        *({"groups": groups} for groups in ([], ["g1"])),
        *({"roles": ["learner"], "groups": groups} for groups in ([], ["g1"])),
        *({"roles": ["teacher"], "groups": groups} for groups in ([], ["g2"])),
    )
    for claims in others:
        for group in ("g1", "none", "", "x" * 201):
            assert school.call(mutation, claims=claims, group=group, **given) == FORBIDDEN
    assert school.recorded() == []
    for role in ("support", "admin"):
        staff = {"roles": [role]}
        missing = 0 if mutation == "unassignList" else MISSING
        found = school.call(mutation, role, staff, group="none", key="none", **given)
        assert (found["events"] if missing == 0 else found) == missing
        assert school.call(mutation, role, staff, group="", **given) == REFUSED
        assert school.call(mutation, role, staff, **given)["counted"]
    empty = {"roles": ["teacher"], "groups": ["empty"]}
    assert school.call(mutation, claims=empty, group="empty", **given)["counted"]


def test_a_task_s_list_exists_for_those_whom_it_concerns(school: School) -> None:
    list_id = school.set_task()["listId"]
    seen = {"list", "itemLists", "tasks", "lists"}
    answer = {"user_id": "ann", "item_id": "i1", "rating": 3, "interval_days": 1}
    for user in ("ann", "bob", "tom"):
        card = sample_events.envelope(
            "CardReviewed", answer | {"user_id": user}, at=sample_events.BEGIN
        )
        append(school.connection, [card])
    school.world.fold()
    teacher: dict[str, Any] = {"roles": ["teacher"], "groups": ["g1"]}
    of_list = {"list", "itemLists", "itemStats"}
    assert school.sees(list_id, "ann", {}) == seen | of_list
    assert school.sees(list_id, "bob", {}) == set()
    assert school.sees(list_id, "tom", teacher, "ann") == seen | of_list
    assert school.sees(list_id, "tom", teacher) == of_list, "as a teacher, without being a member"
    assert school.sees(list_id, "zoe", teacher | {"groups": ["g2"]}, "bob") == set()
    assert school.sees(list_id, "bob", teacher | {"groups": ["g1"]}, "ann") == seen | of_list
    both = teacher | {"groups": ["g2"]}
    assert school.sees(list_id, "ann", both, "bob") == of_list, "a member who teaches another group"
    for role in ("support", "admin"):
        assert school.sees(list_id, role, {"roles": [role]}, "ann") == seen | of_list
        assert school.sees(list_id, role, {"roles": [role]}, "bob") == of_list
    stranger = teacher | {"groups": ["g2"]}
    given = {"list": list_id, "group": "g2", "key": "s"}
    assert school.call("assignList", "zoe", stranger, **given) == MISSING
    assert school.call("assignList", "zoe", stranger | {"groups": ["g1", "g2"]}, **given)["counted"]
    assert school.sees(list_id, "bob", {}) == seen | of_list
    left = {"user_id": "bob", "group_id": "g2"}
    append(
        school.connection, [sample_events.envelope("LearnerLeftGroup", left, at=datetime.now(UTC))]
    )
    school.world.fold()
    assert school.sees(list_id, "bob", {}) == set()
    assert school.call("unassignList", list=list_id)["events"] == 1
    assert school.sees(list_id, "ann", {}) == set()


FORMS: dict[str, dict[str, Any]] = {
    "no name": {"name": ""},
    "a long name": {"name": "x" * 101},
    "a name that is too long when it is masked": {"name": f"a@b {'x' * 96}"},
    "a name of two lines": {"name": "a\nb"},
    "no items": {"items": []},
    "101 items": {"items": [f"n{n}" for n in range(101)]},
    "an item twice": {"items": ["i1", "i1"]},
    "an item without an id": {"items": ["i1", ""]},
    "no key": {"key": ""},
    "a long key": {"key": "k" * 201},
    "a day of the next century": {"day": "2100-01-01"},
}


@pytest.mark.parametrize("name", FORMS)
def test_a_call_of_a_wrong_form_is_refused(school: School, name: str) -> None:
    assert school.set_task(**FORMS[name]) == REFUSED
    assert school.recorded() == []


def test_a_name_is_masked_and_days_near_today_are_taken(school: School) -> None:
    name = f"Ask eva@example.com {'é' * 75}"
    for n, days in enumerate((-1, 400)):
        assert school.set_task(name=name, day=day(days), key=f"{n}")["events"] == 5
    assert school.recorded()[0][2]["name"] == f"Ask e***@example.com {'é' * 75}"
    for n, days in enumerate((-2, 401)):
        assert school.set_task(day=day(days), key=f"far {n}", items=["i4"]) == REFUSED
    assert school.set_task(items=[*ITEMS, "i4"], key="m") == MISSING
    assert school.set_task(items=["gone"], key="m") == MISSING
    given = {"group": "g1", "name": "x", "items": ["i1", "gone", "i4"], "day": day(), "key": "m"}
    body = school.post(CALLS["setTask"], "tom", TOM, **given)
    assert body["errors"][0]["message"].endswith("found gone")


def test_a_repetition_is_answered_whatever_has_become_of_the_call(school: School) -> None:
    """Its day has passed, its items and its list are archived, and the limit is reached."""
    made = school.set_task()
    archived = [("ItemArchived", {"item_id": "i1"}), ("ListArchived", {"list_id": made["listId"]})]
    append(school.connection, [
        sample_events.envelope(kind, data, at=datetime.now(UTC)) for kind, data in archived
    ])  # fmt: skip
    school.world.fold()
    for n in range(29):
        assert school.set_task(items=["i2"], key=f"{n}")["events"] == 3
    assert school.set_task(items=["i2"], key="over") == "RATE_LIMITED"
    assert school.set_task(items=["i4"], key="over") == MISSING
    assert school.set_task(items=["i4"], key="over", day="2024-01-01") == REFUSED
    assert school.set_task()["events"] == 0
    assert school.set_task(day="2024-01-01") == REFUSED, "another call, not another day"
    assert school.set_task("eve", TOM, items=["i2"])["events"] == 3
