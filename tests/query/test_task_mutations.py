"""Tasks that teachers set: recorded once, by those who may, and seen by the class."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tests.conftest import Store
from tests.query.test_learner_mutations import World, call_at_once, open_world, outcome
from tests.support import api, http_client, sample_events, token_issuer
from tests.support.api import Body, read
from tests.support.fake_publisher import FakePublisher
from tests.support.postgres_servers import url_of
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


def standard() -> dict[str, Any]:
    return {"group": "g1", "name": "Words", "items": ITEMS, "day": day(), "key": "k"}


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
        return outcome(self.post(CALLS[mutation], user, claims, **standard() | given))

    def set_task(self, user: str = "tom", claims: Any = TOM, **given: object) -> Any:
        return self.call("setTask", user, claims, **given)

    def recorded(self) -> list[Any]:
        """Return stream, type, data and metadata of what teachers have recorded."""
        rows: list[Any] = self.connection.run(
            "SELECT stream_id, event_type, event_data, metadata, occurred_at "
            "FROM event_store.events WHERE metadata ? 'posted_by' ORDER BY global_position"
        )
        return rows

    def position(self) -> int:
        ((position,),) = self.connection.run("SELECT max(global_position) FROM event_store.events")
        return int(position)

    def kinds(self) -> list[str]:
        return [kind for _, kind, *_ in self.recorded()]

    def sees(self, list_id: str, user: str, claims: Any, learner: str | None = None) -> set[str]:
        """Return the fields in which the caller sees that the list exists."""
        query = """query($id: ID!, $user: ID, $then: DateTime) {
          list(userId: $user, listId: $id, asOf: $then) { id members { edges { node { itemId } } } }
          itemStats(userId: $user, list: $id, asOf: $then) { totalCount }
          lists(userId: $user, asOf: $then) { edges { node { id } } }
          itemLists(userId: $user, itemId: "i1") { id }
          tasks(userId: $user) { edges { node { listId } } } }"""
        found = []
        for then in (None, f"{(datetime.now(UTC) - timedelta(days=1)).isoformat()}"):
            body = self.post(query, user, claims, id=list_id, user=learner, then=then)
            assert "errors" not in body, body
            seen = {name for name, part in body["data"].items() if list_id in f"{part}"}
            found.append(seen | {"itemStats"} if body["data"]["itemStats"]["totalCount"] else seen)
        assert found[0] == found[1]
        return found[0]


@pytest.fixture
def school(store: Store, fake_publisher: FakePublisher, patient_redis: str) -> Iterator[School]:
    with open_world(store, fake_publisher, patient_redis) as world:
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
def test_of_a_task_call_the_right_alone_decides_and_staff_names_a_known_group(
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
def test_a_task_call_of_a_wrong_form_is_refused(school: School, name: str) -> None:
    assert school.set_task(**FORMS[name]) == REFUSED
    assert school.recorded() == []


def test_of_a_task_call_the_name_is_masked_and_the_day_is_near_today(school: School) -> None:
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


def test_a_repeated_task_call_is_answered_whatever_has_become_of_it(school: School) -> None:
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


def test_a_task_call_that_assigns_has_a_limit_in_which_repetitions_do_not_count(
    school: School,
) -> None:
    for n in range(60):
        given = {"list": "unit", "key": f"{n}"}
        assert [school.call("assignList", **given)["events"] for _ in "12"] == [1, 0]
        assert [school.call("unassignList", **given)["events"] for _ in "12"] == [1, 0]
    assert school.call("unassignList", list="unit", key="none")["events"] == 0
    for list_id, found in (("unit", "RATE_LIMITED"), ("none", MISSING)):
        assert school.call("assignList", list=list_id, key="over") == found
    assert school.call("assignList", list="unit", key="0")["events"] == 0
    assert school.set_task()["events"] == 5


def test_the_log_line_of_a_mutation_names_who_is_no_learner(
    school: School, capsys: pytest.CaptureFixture[str]
) -> None:
    for user, claims in (("tom", TOM), ("ada", {"roles": ["admin"]}), ("ann", {})):
        school.set_task(user, claims)
    school.post("{ lists { totalCount } }", "ada", {"roles": ["admin"]})
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    said = [(line["operation"], line.get("caller")) for line in lines if "latency_ms" in line]
    assert said == [("mutation", "tom"), ("mutation", "ada"), ("mutation", None), ("query", None)]


ROLES: tuple[Any, ...] = (
    *(None, "learner", "teacher", "support", [], {"teacher": True}),
    *(["Teacher"], ["teacher "], ["publisher"], ["admin"], ["teacher"]),
    *(["learner", "teacher"], ["publisher", "teacher"]),
)
CLASSES: tuple[Any, ...] = (None, [], ["g1"], ["g2"], ["g1", "g2"], ["G1"], ["g1 "], ["none"])


def may_set(roles: Any, groups: Any, group: str) -> bool:
    named = [roles] if isinstance(roles, str) else roles if isinstance(roles, list) else []
    teaches = "teacher" in named and group in (groups or [])
    return teaches or bool({"support", "admin"} & {*named})


@pytest.mark.parametrize("draws", [300, pytest.param(10_000, marks=pytest.mark.exhaustive)])
def test_no_call_without_the_right_has_an_effect_or_tells_what_exists(
    school: School, draws: int
) -> None:
    """A refusal has one text for each role, whatever the call names."""
    drawn = random.Random(draws)
    lists = [school.set_task(group=group, key=group)["listId"] for group in ("g1", "g2")]
    ended = school.set_task(key="ended")["listId"]
    assert school.call("unassignList", list=ended)["events"] == 2
    given: dict[str, list[Any]] = {
        "group": ["g1", "g1", "g2", "none", "", "G1", "x" * 201],
        "list": [*lists, ended, "unit", "none", "own:unit", "progress-task-1", ""],
        "items": [ITEMS, ["gone"], ["none"], [], ["i1", "i1"]],
        "name": ["Words", "", "x" * 101],
        "day": [day(), day(), "2020-01-01"],
        "key": ["k", "g1", ""],
    }
    refusals: dict[str, set[tuple[str, str]]] = {}
    counts = Counter[bool]()
    for n in range(draws):
        roles, groups, mutation = map(drawn.choice, (ROLES, CLASSES, [*CALLS]))
        call = {name: drawn.choice(values) for name, values in given.items()}
        has_right = may_set(roles, groups, call["group"])
        before = school.position()
        claims = {"roles": roles, "groups": groups}
        user = "tom" if drawn.random() < 0.1 else f"user {n}"  # who has set the tasks
        body = school.post(CALLS[mutation], user, claims, **call)
        counts[has_right] += 1
        if not has_right:
            assert school.position() == before
            assert body["data"] is None
            (error,) = body["errors"]
            said = error["extensions"]["code"], error["message"]
            refusals.setdefault(f"{roles}", set()).add(said)
    assert min(counts.values()) > draws / 10
    for role, told in refusals.items():
        assert len(told) == 1, (role, told)
        assert told.pop()[0] == FORBIDDEN


def test_a_teacher_of_others_is_told_the_same_of_a_task_as_of_no_list(school: School) -> None:
    list_id = school.set_task()["listId"]
    zoe = {"roles": ["teacher"], "groups": ["g2"]}
    told = []
    for one in (list_id, "none", "progress-task-1", "own:unit"):
        body = school.post(
            CALLS["assignList"], "zoe", zoe, group="g2", list=one, day=day(), key="k"
        )
        told.append(body["errors"][0] | {"locations": None})
        assert school.call("unassignList", "zoe", zoe, group="g2", list=one)["events"] == 0
    assert told == [told[0]] * 4
    assert told[0]["extensions"]["code"] == MISSING


def test_of_20_calls_at_once_with_one_key_one_sets_the_task(school: School, store: Store) -> None:
    with api.serve(url_of(store.url, "query"), **school.world.options) as second:
        instances = [school.world.api, second]
        calls = call_at_once(instances, "tom", CALLS["setTask"], [standard()] * 20, **TOM)
    told = [found for _, found in calls]
    assert sorted(one["events"] for one in told) == [0] * 19 + [5]
    assert len({one["listId"] for one in told}) == 1
    assert len(school.recorded()) == 5


def test_a_call_waits_for_a_clock_that_was_set_back(school: School) -> None:
    told = {"list_id": "unit", "group_id": "g1", "due_on": "2024-05-01"}
    school.connection.run(
        "INSERT INTO event_store.events SELECT global_position + 1, gen_random_uuid(), 'group-g1',"
        " 1, 'ListAssigned', CAST(:told AS jsonb), '{}', now() + interval '1 hour', created_at,"
        " event_store.shard_of('group-g1')"
        " FROM event_store.events ORDER BY global_position DESC LIMIT 1",
        told=json.dumps(told),
    )
    assert school.call("assignList", list="unit") == "UNAVAILABLE"
    assert school.recorded() == []
