"""Tasks that teachers set: recorded once, by those who may, and seen by the class."""

import functools
import itertools
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tests.conftest import Store
from tests.query.test_learner_mutations import World, open_world, outcome
from tests.support import http_client, recent_events, sample_events, token_issuer
from tests.support.api import Body, read
from tests.support.fake_publisher import FakePublisher
from tests.support.stage import append

CALLS = {
    name: f"mutation($group: ID!, {types}, $key: ID!) {{ {name}(groupId: $group, {given}, "
    "idempotencyKey: $key) { listId events counted } }"
    for name, types, given in (
        ("setTask", "$name: String!, $items: [ID!]!, $day: Date!",
         "name: $name, itemIds: $items, dueOn: $day"),
        ("assignList", "$list: ID!, $day: Date!", "listId: $list, dueOn: $day"),
        ("unassignList", "$list: ID!", "listId: $list"),
    )
}  # fmt: skip
ITEMS = ("i1", "i2", "i3")
TOM = {"roles": ["teacher"], "groups": ["g1", "g2"]}
REFUSED, MISSING, FORBIDDEN = "BAD_USER_INPUT", "NOT_FOUND", "FORBIDDEN"


_numbers = itertools.count()


def events_of(told: Any) -> Any:
    """Return how many events a call has recorded, or the code of its error."""
    return told if isinstance(told, str) else told["events"]


def day(days: int = 7) -> str:
    return f"{datetime.now(UTC).date() + timedelta(days=days)}"


class School:
    """A world with items, an archived one, a list, and the pupils ann (g1) and bob (g2)."""

    def __init__(self, world: World) -> None:
        self.world, self.connection, self.day = world, world.connection, day()
        self.tell(
            *(("ItemPublished", {"item_id": item, "headword": item}) for item in (*ITEMS, "gone")),
            ("ItemArchived", {"item_id": "gone"}),
            ("ListPublished", {"list_id": "unit", "name": "Unit 1"}),
            ("LearnerJoinedGroup", {"user_id": "ann", "group_id": "g1"}),
            ("LearnerJoinedGroup", {"user_id": "bob", "group_id": "g2"}),
            at=datetime.now(UTC) - timedelta(days=9),
        )

    def tell(self, *told: tuple[str, dict[str, Any]], at: datetime | None = None) -> None:
        for n, each in enumerate(told):
            then = (at or datetime.now(UTC)) + timedelta(seconds=n)
            append(self.connection, [sample_events.envelope(*each, at=then)])
        self.world.fold()

    def post(self, query: str, user: str, claims: Any, /, **variables: object) -> Body:
        headers = http_client.headers(token_issuer.token(user, **claims))
        body = msgspec.json.encode({"query": query, "variables": variables})
        return read(self.world.api.request("POST", "/graphql", body, headers))

    def call(self, mutation: str, user: str = "tom", claims: Any = TOM, **given: object) -> Any:
        if mutation == "assignList":  # of a list that a call before may have made
            self.world.fold()
        standard = {"group": "g1", "name": "Words", "items": ITEMS, "day": self.day, "key": "k"}
        return outcome(self.post(CALLS[mutation], user, claims, **standard | given))

    def set_task(self, user: str = "tom", claims: Any = TOM, **given: object) -> Any:
        return self.call("setTask", user, claims, **given)

    def recorded(self) -> list[Any]:
        """Return type, data, stream, metadata and time of what teachers have recorded."""
        rows: list[Any] = self.connection.run(
            "SELECT event_type, event_data, stream_id, metadata, occurred_at "
            "FROM event_store.events WHERE metadata ? 'posted_by' ORDER BY global_position"
        )
        return rows

    def sees(self, list_id: str, user: str, claims: Any, learner: str | None = None) -> set[str]:
        """Return the fields in which the caller sees that the list exists, now and a day ago."""
        query = """query($id: ID!, $user: ID, $then: DateTime) {
          list(userId: $user, listId: $id, asOf: $then) { id members { edges { node { itemId } } } }
          itemStats(userId: $user, list: $id, asOf: $then) { edges { node { itemId } } }
          lists(userId: $user, asOf: $then) { edges { node { id } } }
          itemLists(userId: $user, itemId: "i1") { id }
          tasks(userId: $user) { edges { node { listId } } } }"""
        self.world.fold()
        seen = []
        for then in (None, (datetime.now(UTC) - timedelta(days=1)).isoformat()):
            body = self.post(query, user, claims, id=list_id, user=learner, then=then)
            assert "errors" not in body, body
            texts = {name: json.dumps(found) for name, found in body["data"].items()}
            named = {name for name, text in texts.items() if list_id in text}
            seen.append(named | {"itemStats"} if "i1" in texts["itemStats"] else named)
        assert seen[0] == seen[1]
        return seen[0]


@pytest.fixture
def school(store: Store, fake_publisher: FakePublisher, patient_redis: str) -> Iterator[School]:
    with open_world(store, fake_publisher, patient_redis) as world:
        yield School(world)


def test_a_task_is_set_once_changed_and_taken_back(school: School) -> None:
    made = school.set_task()
    task = {"list_id": made["listId"]}
    assert (made["events"], made["counted"]) == (5, True)
    assert made["listId"].startswith("progress-task-")
    kinds, data, streams, metadata, times = zip(*school.recorded(), strict=True)
    assert kinds == ("ListPublished", *["ItemListed"] * 3, "ListAssigned")
    assert [*data] == [
        task | {"name": "Words"},
        *(task | {"item_id": item, "position": n} for n, item in enumerate(ITEMS)),
        task | {"group_id": "g1", "due_on": school.day},
    ]
    assert streams == (*[f"list-{made['listId']}"] * 4, "group-g1")
    assert ([*metadata], len({*times})) == ([{"posted_by": "teacher"}] * 5, 1)
    repeated = {"listId": made["listId"], "events": 0, "counted": True}
    assert school.set_task() == repeated
    assert school.set_task(name="W") == REFUSED
    assert school.set_task("eve", TOM)["listId"] != made["listId"], "the key is the caller's own"
    given = {"list": made["listId"]}
    assert school.call("assignList", day=day(9), **given) == repeated | {"events": 1}
    assert school.call("assignList", group="g2", key="2", **given)["events"] == 1
    assert [school.call("unassignList", **given)["events"] for _ in "12"] == [1, 0]
    assert school.sees(made["listId"], "bob", {}), "it is still a task of g2"
    assert school.call("unassignList", group="g2", key="2", **given)["events"] == 2
    assert [row[0] for row in school.recorded()[-2:]] == ["ListUnassigned", "ListArchived"]
    assert school.call("assignList", key="3", **given) == MISSING
    assert school.set_task() == repeated


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
        found = school.call(mutation, role, staff, group="none", key="none", **given)
        assert found == MISSING or (mutation, found["events"]) == ("unassignList", 0)
        assert school.call(mutation, role, staff, group="", **given) == REFUSED
        assert "listId" in school.call(mutation, role, staff, **given)
    empty = {"roles": ["teacher"], "groups": ["empty"]}
    assert "listId" in school.call(mutation, claims=empty, group="empty", **given)


def test_a_task_s_list_exists_for_those_whom_it_concerns(school: School) -> None:
    list_id = school.set_task()["listId"]
    answer = {"item_id": "i1", "rating": 3, "interval_days": 1}
    answers = (("CardReviewed", answer | {"user_id": user}) for user in ("ann", "bob", "tom"))
    school.tell(*answers, at=sample_events.BEGIN)
    of_list = {"list", "itemLists", "itemStats"}
    everywhere = {*of_list, "tasks", "lists"}
    of_g1, of_g2 = ({"roles": ["teacher"], "groups": [group]} for group in ("g1", "g2"))
    for user, claims, learner, seen in (
        ("ann", {}, None, everywhere),
        ("bob", {}, None, set()),
        ("tom", of_g1, "ann", everywhere),
        ("tom", of_g1, None, of_list),  # as a teacher, without being a member
        ("zoe", of_g2, "bob", set()),
        ("bob", of_g1, "ann", everywhere),
        ("ann", of_g2, "bob", of_list),  # a member, who teaches another group
        *((role, {"roles": [role]}, "ann", everywhere) for role in ("support", "admin")),
        *((role, {"roles": [role]}, "bob", of_list) for role in ("support", "admin")),
    ):
        assert school.sees(list_id, user, claims, learner) == seen, (user, claims, learner)
    given = {"list": list_id, "group": "g2", "key": "s"}
    assert school.call("assignList", "zoe", of_g2, **given) == MISSING
    assert school.call("assignList", "zoe", TOM, **given)["events"] == 1
    assert school.sees(list_id, "bob", {}) == everywhere
    school.tell(("LearnerLeftGroup", {"user_id": "bob", "group_id": "g2"}))
    assert school.sees(list_id, "bob", {}) == set()
    assert school.call("unassignList", list=list_id)["events"] == 1
    assert school.sees(list_id, "ann", {}) == set()


def test_a_task_call_of_a_wrong_form_is_refused(school: School) -> None:
    forms: tuple[Any, ...] = (
        *({"name": name} for name in ("", "x" * 101, "a\nb", f"a@b {'x' * 96}")),  # masked: 101
        *(
            {"items": items}
            for items in ([], ["i1", "i1"], ["i1", ""], [f"{n}" for n in range(101)])
        ),
        *({"key": key} for key in ("", "k" * 201)),
        {"day": "2100-01-01"},
    )
    for wrong in forms:
        assert school.set_task(**wrong) == REFUSED, wrong
    assert school.recorded() == []


def test_of_a_task_call_the_name_is_masked_and_the_day_is_near_today(school: School) -> None:
    def ask() -> list[Any]:
        user = f"teacher {next(_numbers)}"
        return [
            events_of(school.set_task(user, items=items, day=day(days), key=f"{days} {items}"))
            for items in (["i1"], ["i1", "gone", "i4"])
            for days in (-2, -1, 400, 401)
        ]

    in_time = [REFUSED, 3, 3, REFUSED]
    told = recent_events.ask_within(86_400, ask)
    assert told == [*in_time, *(REFUSED if one == REFUSED else MISSING for one in in_time)]
    given = {"group": "g1", "items": ["i1", "gone", "i4"], "day": day(), "key": "k"}
    body = school.post(CALLS["setTask"], "tom", TOM, **given, name="x")
    assert body["errors"][0]["message"].endswith("found gone")
    school.set_task("eve", TOM, name=f"Ask eva@example.com {'é' * 75}")
    assert {"name": f"Ask e***@example.com {'é' * 75}"}.items() <= school.recorded()[-5][1].items()


def test_a_repeated_task_call_is_answered_whatever_has_become_of_it(school: School) -> None:
    """Its item and its list are archived, and the limit is reached."""

    def ask() -> list[Any]:
        user = item = f"teacher {next(_numbers)}"
        school.tell(("ItemPublished", {"item_id": item, "headword": item}))
        made = school.set_task(user, items=[item])
        school.tell(
            ("ItemArchived", {"item_id": item}), ("ListArchived", {"list_id": made["listId"]})
        )
        for n in range(29):
            assert school.set_task(user, items=["i2"], key=f"{n}")["events"] == 3
        past, over, unknown = {"day": "2024-01-01"}, {"key": "over"}, {"items": ["i4"]}
        calls: tuple[Any, ...] = (
            {},
            past,
            over | {"items": ITEMS},
            over | unknown,
            over | unknown | past,
        )
        return [events_of(school.set_task(user, **{"items": [item]} | call)) for call in calls]

    told = recent_events.ask_within(3_600, ask)
    assert told == [0, REFUSED, "RATE_LIMITED", MISSING, REFUSED]


def test_a_task_call_that_assigns_has_a_limit_in_which_repetitions_do_not_count(
    school: School,
) -> None:
    def ask() -> list[Any]:
        user = f"teacher {next(_numbers)}"
        call = functools.partial(school.call, user=user, list="unit")
        for n in range(60):
            for mutation in ("assignList", "unassignList"):
                assert [call(mutation, key=f"{n}")["events"] for _ in "12"] == [1, 0]
        told = [call("assignList", key="over"), call("assignList", key="over", list="none")]
        told += [call("unassignList", key="none"), call("assignList", key="0")]
        return [events_of(one) for one in (*told, school.set_task(user))]

    told = recent_events.ask_within(3_600, ask)
    assert told == ["RATE_LIMITED", MISSING, 0, 0, 5]


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
    for n in range(draws):
        roles, groups, mutation = map(drawn.choice, (ROLES, CLASSES, [*CALLS]))
        call = {name: drawn.choice(values) for name, values in given.items()}
        has_right = may_set(roles, groups, call["group"])
        before = len(school.recorded())
        claims = {"roles": roles, "groups": groups}
        user = "tom" if drawn.random() < 0.1 else f"user {n}"  # who has set the tasks
        body = school.post(CALLS[mutation], user, claims, **call)
        if not has_right:
            assert len(school.recorded()) == before
            assert body["data"] is None
            (error,) = body["errors"]
            said = error["extensions"]["code"], error["message"]
            refusals.setdefault(f"{roles}", set()).add(said)
    assert len(refusals) > 8
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
