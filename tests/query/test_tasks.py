"""Tasks equal the oracle's results: of a learner for each reader, and of a group with members."""

import functools
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.projections.projector import Projector
from progress.query.read_models import groups
from progress.query.read_models.reader import Reader
from progress.query.read_models.rows import TaskKey
from tests import oracle
from tests.oracle import tasks
from tests.query.test_lists import EVERYONE, LISTS, READERS, either, full
from tests.support import model_rows
from tests.support.api import QueryClient
from tests.support.event_logs import GROUPS, ITEMS, Envelope
from tests.support.stage import Stage, append

pytestmark = [pytest.mark.timeout(900)]

Read = Callable[..., Coroutine[Any, Any, list[Any]]]
DAYS = ("2024-03-04", "2024-03-05", "2024-03-06")
HOURS = ("00:30", "09:30", "14:30", "23:30")
TIMES = tuple(f"{day}T{hour}:00Z" for day in DAYS for hour in HOURS)
ZONES = ("Asia/Tokyo", "America/New_York", "Pacific/Kiritimati")


@st.composite
def events(draw: st.DrawFn) -> list[Envelope]:
    """Draw events about few lists, groups and learners, at times near the ends of local days."""
    user, group = {"user_id": either("ann", "bob", "una")}, {"group_id": either(*GROUPS)}
    list_, item = {"list_id": either(*LISTS)}, {"item_id": either(*ITEMS)}
    answer = {**user, **item, "rating": either(1, 3), "interval_days": st.just(1)}
    fields: dict[str, tuple[int, dict[str, Any]]] = {
        "CardReviewed": (8, answer),
        "ListPublished": (6, {**list_, "name": either("A", "é")}),
        "ItemListed": (8, {**list_, **item}),
        "ListAssigned": (6, {**list_, **group, "due_on": either(*DAYS)}),
        "LearnerJoinedGroup": (6, {**user, **group, "group_name": either("", "Class")}),
        "UserPreferencesChanged": (2, {**user, "timezone": either(*ZONES)}),
        "ItemUnlisted": (1, {**list_, **item}),
        "ListUnassigned": (1, {**list_, **group}),
        "ListArchived": (1, list_),
        "ItemArchived": (1, item),
        "LearnerLeftGroup": (1, {**user, **group}),
        "EventRetracted": (1, {**user, "retracted_event_id": st.integers(0, 40).map(_id)}),
        "UserDeleted": (1, {"user_id": st.just("una")}),
    }
    kinds = [kind for kind, (times, _) in fields.items() for _ in range(times)]
    drawn = draw(
        st.lists(
            st.sampled_from(kinds).flatmap(
                lambda kind: st.tuples(
                    st.just(kind), st.fixed_dictionaries(fields[kind][1]), either(*TIMES)
                )
            ),
            min_size=10,
            max_size=60,
        )
    )
    return [
        {"event_id": _id(n), "event_type": kind, "occurred_at": at, "data": data}
        for n, (kind, data, at) in enumerate(drawn)
    ]


def _id(number: int) -> str:
    return str(UUID(int=1000 + number))


def paged(fetch: QueryClient, read: Read, key: type[msgspec.Struct]) -> list[Any]:
    """Return the records of all pages of two."""
    found: list[Any] = []
    place = None
    while page := fetch(read(first=2, after=place)):
        found += page
        place = msgspec.convert(page[-1], key, from_attributes=True)
    return found


async def get_members(reader: Reader, task: groups.FoundTask, first: int, after: Any) -> Any:
    return (await groups.get_task_members(reader, [(task, first, after)]))[0]


def check(fetch: QueryClient, world: oracle.World) -> None:
    queries = fetch.queries
    for user in EVERYONE:
        for reader in READERS:
            asked: Read = functools.partial(queries.get_tasks, user, groups=reader.groups)
            found = [*map(full, paged(fetch, asked, TaskKey))]
            assert found == tasks.of_learner(world, user, reader)
    for group in GROUPS:
        found = paged(fetch, functools.partial(groups.get_tasks, queries.reader, group), TaskKey)
        wanted = tasks.of_group(world, group)
        assert [*map(full, found)] == [{"group_id": group, **row} for row, _ in wanted]
        for task, (_, rows) in zip(found, wanted, strict=True):
            asked = functools.partial(get_members, queries.reader, task)
            assert [*map(full, paged(fetch, asked, groups.TaskMemberKey))] == rows


@given(drawn=events())
def test_tasks_and_their_members_equal_the_oracle_s(
    stage: Stage, fetch: QueryClient, drawn: list[Envelope]
) -> None:
    stage.sweep()
    for number in range(0, len(drawn), 20):
        append(stage.admin, drawn[number : number + 20])
        Projector(stage.admin).catch_up_all()
    check(fetch, oracle.see(model_rows.read_events(stage.admin), datetime(2100, 1, 1, tzinfo=UTC)))
