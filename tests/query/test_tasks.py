"""Tasks equal the oracle's results: of a learner for each reader, and of a group with members."""

import functools
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.projections import batch
from progress.projections.projector import Projector
from progress.query.read_models import groups
from progress.query.read_models.reader import Reader
from progress.query.read_models.rows import TaskKey
from tests import oracle
from tests.oracle import tasks
from tests.query import test_lists as lists
from tests.query.test_lists import LATEST, LISTS, Told, either, full
from tests.support import http_client, model_rows, rows_by_hand, sample_events, token_issuer
from tests.support.api import Api, QueryClient, read
from tests.support.event_logs import GROUPS, ITEMS, Envelope
from tests.support.stage import Stage, append

pytestmark = [pytest.mark.timeout(900)]

Read = Callable[..., Coroutine[Any, Any, list[Any]]]
DAYS = ("2024-03-04", "2024-03-05", "2024-03-06")
HOURS = ("00:30", "09:30", "14:30", "23:30")
TIMES = tuple(f"{day}T{hour}:00Z" for day in DAYS for hour in HOURS)
ZONES = ("Asia/Tokyo", "America/New_York", "Pacific/Kiritimati")
FIRST = 1000  # the number of the first drawn event's id


@st.composite
def events(draw: st.DrawFn) -> list[Envelope]:
    """Draw events about few lists, groups and learners, at times near the ends of local days."""
    user, group = {"user_id": either("ann", "bob", "una")}, {"group_id": either(*GROUPS)}
    list_, item = {"list_id": either(*LISTS)}, {"item_id": either(*ITEMS)}
    fields: dict[str, dict[str, Any]] = {
        "CardReviewed": {**user, **item, "rating": either(1, 3), "interval_days": st.just(1)},
        "ListPublished": {**list_, "name": either("A", "é")},
        "ItemListed": {**list_, **item},
        "ListAssigned": {**list_, **group, "due_on": either(*DAYS)},
        "LearnerJoinedGroup": {**user, **group, "group_name": either("", "Class")},
        "UserPreferencesChanged": {**user, "timezone": either(*ZONES)},
        "ItemUnlisted": {**list_, **item},
        "ListUnassigned": {**list_, **group},
        "ListArchived": list_,
        "ItemArchived": item,
        "LearnerLeftGroup": {**user, **group},
        "EventRetracted": {**user, "retracted_event_id": st.integers(0, 40).map(_id)},
        "UserDeleted": {"user_id": st.just("una")},
    }
    often = [*fields][:5]
    kinds = (*often * 5, *("CardReviewed", "ItemListed") * 2, "UserPreferencesChanged", *fields)
    told = draw(st.lists(lists.of_kinds(kinds, fields), min_size=10, max_size=60))
    return draw(lists.cards(TIMES)) + draw(lists.dated(TIMES, told, FIRST))


def _id(number: int) -> str:
    return str(UUID(int=FIRST + number))


def paged(fetch: QueryClient, read: Read, key: type[msgspec.Struct], first: int = 2) -> list[Any]:
    found: list[Any] = []
    place = None
    while page := fetch(read(first=first, after=place)):
        found += page
        assert len(found) < 1_000, "the next page begins again"
        place = msgspec.convert(page[-1], key, from_attributes=True)
    return found


async def read_members(
    reader: Reader, found: list[groups.FoundTask], at: datetime
) -> list[list[Any]]:
    """Return the members of all tasks; each call reads the next two of each."""
    members: list[list[Any]] = [[] for _ in found]
    places: dict[int, Any] = dict.fromkeys(range(len(found)))
    while places:
        asked = [(found[number], 2, place) for number, place in places.items()]
        pages = await groups.get_task_pages(reader, asked, at=at)
        for number, (done, page) in zip([*places], pages, strict=True):
            assert done == (found[number].done or 0)
            members[number] += map(full, page)
            assert len(members[number]) < 1_000, "the next page begins again"
            del places[number]
            if page:
                last = page[-1]
                places[number] = msgspec.convert(last, groups.TaskMemberKey, from_attributes=True)
    return members


async def read_words(reader: Reader, task: groups.FoundTask, at: datetime) -> list[Any]:
    found: list[Any] = []
    place = None
    while True:
        _, page = await groups.get_task_words(reader, task, first=2, after=place, at=at)
        if not page:
            return found
        place = page[-1][0]
        found += [full(word) for _, word in page]
        assert len(found) < 1_000, "the next page begins again"


def check(fetch: QueryClient, world: oracle.World) -> None:
    queries = fetch.queries
    for user in lists.EVERYONE:
        for reader in lists.READERS:
            asked: Read = functools.partial(
                queries.get_tasks, user, groups=reader.groups, at=world.now
            )
            found = [*map(full, paged(fetch, asked, TaskKey, first=5))]
            assert found == tasks.of_learner(world, user, reader)
    for group in GROUPS:
        found = paged(fetch, functools.partial(groups.get_tasks, queries.reader, group), TaskKey)
        wanted = tasks.of_group(world, group)
        assert [*map(full, found)] == [{"group_id": group, **row} for row, _ in wanted]
        members = fetch(read_members(queries.reader, found, world.now))
        assert members == [rows for _, rows in wanted]
        words = [fetch(read_words(queries.reader, task, world.now)) for task in found]
        assert words == tasks.words_of_group(world, group)


@given(drawn=events(), now=either(*TIMES), run=st.integers(0, 2))
def test_tasks_and_their_members_equal_the_oracle_s(
    stage: Stage, fetch: QueryClient, drawn: list[Envelope], now: str, run: int
) -> None:
    """The batch job runs once; the learners' pairs of language and kind are those of this run."""
    stage.sweep()
    seen = oracle.see([], LATEST)
    for number in range(0, len(drawn), 20):
        append(stage.admin, drawn[number : number + 20])
        Projector(stage.admin).catch_up_all()
        if number == 20 * run:
            batch.run(stage.admin)
            seen = oracle.see(model_rows.read_events(stage.admin), LATEST)
    world = oracle.see(model_rows.read_events(stage.admin), datetime.fromisoformat(now))
    check(fetch, replace(world, run=seen))


EXAMPLE: Told = (
    *(("ListPublished", {"list_id": one, "name": one}) for one in (*LISTS, "empty", "words")),
    *(("ItemPublished", {"item_id": item, "headword": word, "language": tag, "kind": kind})
      for item, tag, word, kind in (
          ("i1", "de-AT", "Haus", "r"), ("haus", "de", "Haus", "t"), ("house", "en", "Haus", "t"),
          ("i3", "de", "Baum", "r"), ("baum", "de", "Baum", "t"), ("boot", "de", "Boot", "t"),
          ("kahn", "de", "Boot", "r"),
          ("a", "de", "", "r"), ("b", "de", "", "t"), ("late", "de", "Zug", "t"))),
    *(("ItemListed", {"list_id": "l1", "item_id": one}) for one in (*ITEMS[:3], "kahn")),
    *(("ItemListed", {"list_id": "words", "item_id": one})
      for one in ("i1", "haus", "house", "i3", "baum", "boot", "a", "b")),
    ("ItemArchived", {"item_id": "i3"}),
    ("ItemListed", {"list_id": "l2", "item_id": "i1"}),
    ("ListArchived", {"list_id": "L"}),
    *(("ListAssigned", {"list_id": one, "group_id": group, "due_on": day})
      for one, group, day in (("l1", "g1", DAYS[0]), ("words", "g1", DAYS[0]),
                              ("l1", "g2", DAYS[1]), ("l2", "g1", DAYS[2]),
                              *((one, "g1", DAYS[1]) for one in ("empty", "L")),
                              ("l2", "g2", DAYS[2]))),
    ("ListUnassigned", {"list_id": "l2", "group_id": "g2"}),
    ("ListPublished", {"list_id": "long", "name": "over 2,000 items"}),
    ("ListAssigned", {"list_id": "long", "group_id": "g1", "due_on": DAYS[1]}),
    *(("ItemListed", {"list_id": "long", "item_id": f"n{number}"}) for number in range(2_001)),
    *(("LearnerJoinedGroup", {"user_id": user, "group_id": group})
      for user in ("ann", "bob", "una", "zoe") for group in GROUPS),
    ("LearnerLeftGroup", {"user_id": "una", "group_id": "g1"}),
    *(("CardReviewed", {"user_id": user, "item_id": item, "rating": rating, "interval_days": 1})
      for user, items, rating in (("ann", (*ITEMS, "kahn"), 3), ("bob", ("i1",), 3),
                                  ("bob", ("i2",), 1), ("una", ("i1",), 3))
      for item in items),
)  # fmt: skip
# After the batch run, bob has met a card of another kind.
LATER = ("CardReviewed", {"user_id": "bob", "item_id": "late", "rating": 3, "interval_days": 1})


def test_the_tasks_of_an_example_equal_the_oracle_s(stage: Stage, fetch: QueryClient) -> None:
    """In November 2026, each of 28 faults that were planted in the SQL gave another result."""
    stage.sweep()
    append(stage.admin, example())
    batch.run(stage.admin)
    run = oracle.see(model_rows.read_events(stage.admin), LATEST)
    now = datetime(2024, 3, 5, 20, tzinfo=UTC)
    append(stage.admin, [sample_events.envelope(*LATER, at=now)])
    Projector(stage.admin).catch_up_all()
    check(fetch, replace(oracle.see(model_rows.read_events(stage.admin), now), run=run))


def example() -> list[Envelope]:
    """Return the example's events; the last ones, which are answers, are on the second day."""
    begin = datetime(2024, 3, 4, 12, tzinfo=UTC)
    answers = [n for n, (kind, _) in enumerate(EXAMPLE) if kind == "CardReviewed"]
    return [
        sample_events.envelope(kind, data, at=begin + timedelta(days=n in answers[1:], seconds=n))
        for n, (kind, data) in enumerate(EXAMPLE)
    ]


MEMBERS = "members { edges { node { userId items known knownNow done expected } } }"
OF_GROUP = f"tasks {{ edges {{ node {{ listId items done {MEMBERS} }} }} }}"
OF_LEARNER = "tasks { edges { node { listId groupId known done } } }"


def test_members_of_tasks_leave_traces_and_only_the_present_has_tasks(
    query_api: Api, connection: Connection
) -> None:
    append(connection, example())
    Projector(connection).catch_up_all()

    def ask(query: str) -> Any:
        token = token_issuer.token("tom", roles=["teacher"], groups=["g1"])
        body = msgspec.json.encode({"query": query})
        return read(query_api.request("POST", "/graphql", body, http_client.headers(token)))

    def nodes(found: Any) -> list[Any]:
        return [edge["node"] for edge in found["edges"]]

    past = 'asOf: "2024-03-05T00:00:00Z"'
    assert ask(f'{{ group(groupId: "g1", {past}) {{ {OF_GROUP} }} }}')["data"]["group"] == {
        "tasks": None
    }
    assert not connection.run("SELECT * FROM event_store.accesses")
    of_ann = f'learner(userId: "ann") {{ {OF_LEARNER} }}'
    then = f'then: learner(userId: "ann", {past}) {{ {OF_LEARNER} }}'
    found = ask(f'{{ group(groupId: "g1") {{ {OF_GROUP} }} {of_ann} {then} }}')["data"]
    (long,) = (task for task in nodes(found["group"]["tasks"]) if task["listId"] == "long")
    assert (long["items"], long["done"]) == (2_001, None)
    assert nodes(long["members"]) == [
        {"userId": user, "items": 2_001, **dict.fromkeys(("known", "knownNow", "done", "expected"))}
        for user in ("ann", "bob", "zoe")
    ]
    assert {one["groupId"] for one in nodes(found["learner"]["tasks"])} == {"g1"}
    assert found["then"] == {"tasks": None}
    of_school = "groups { edges { node { tasks { edges { node { listId } } } } } }"
    school = query_api.post(f"{{ {of_school} }}", roles=["admin"])
    assert nodes(school["data"]["groups"]) == [{"tasks": None}, {"tasks": None}]
    traced = connection.run("SELECT DISTINCT read_by, user_id FROM event_store.accesses ORDER BY 2")
    assert [tuple(row) for row in traced] == [("tom", user) for user in ("ann", "bob", "zoe")]
    for field, most in (
        ("tasks(first: 21)", 20),
        ("tasks { edges { node { members(first: 201)", 200),
        ("tasks { edges { node { words(first: 201)", 200),
    ):
        selected = f"{field} {{ pageInfo {{ endCursor }} }}" + " }" * 3 * ("node" in field)
        (error,) = ask(f'{{ group(groupId: "g1") {{ {selected} }} }}')["errors"]
        assert f"first: expected an integer from 1 to {most}" in error["message"]


@pytest.mark.parametrize("first", ["200", "$n", "-9000"])
def test_members_count_with_their_number_in_the_document(query_api: Api, first: str) -> None:
    members = f"members(first: {first}) {{ edges {{ node {{ userId known knownNow done }} }} }}"

    def rejected(most: int) -> bool:
        fields = f"tasks(first: {most}) {{ edges {{ node {{ {members} }} }} }}"
        query = f'query {"($n: Int)" * ("$" in first)} {{ group(groupId: "g1") {{ {fields} }} }}'
        return "QUERY_TOO_COMPLEX" in str(query_api.post(query, roles=["admin"]))

    assert [rejected(1), rejected(20)] == [False, first != "-9000"]


def test_tasks_of_too_many_members_and_items_are_refused(
    query_api: Api, connection: Connection
) -> None:
    """Its size is that of the items which the members know, not of the group alone."""
    decided = {"decided_at": sample_events.BEGIN, "decided_id": str(UUID(int=1))}
    members = [{"user_id": f"m{n}", "group_id": "g1", **decided} for n in range(100)]
    items = [{"list_id": "l1", "item_id": f"i{n}", **decided} for n in range(1_500)]
    known = {"last_updated": sample_events.BEGIN, "items_learned": 5_000}
    assigned = {"group_id": "g1", "list_id": "l1", "is_assigned": True, "due_on": DAYS[0]}
    for table, rows in (
        ("group_members", [{**row, "is_member": True} for row in members]),
        ("listed_items", [{**row, "is_listed": True, "position": None} for row in items]),
        ("user_progress", [{"user_id": row["user_id"], **known} for row in members]),
        ("list_assignments", [{**assigned, **decided}]),
    ):
        rows_by_hand.insert(connection, table, *rows)
    query = '{ group(groupId: "g1") { tasks { edges { node { done } } } } }'
    (error,) = query_api.post(query, roles=["admin"])["errors"]
    found = 1_200 + round(0.1 * 100)  # 8 rows for each of 150,000 items
    assert error["message"].endswith(f"at most 1000 - found {found}")
