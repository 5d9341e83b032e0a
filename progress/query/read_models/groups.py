"""Groups of learners, learners by name and the difficulty of items, and their records."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from msgspec import convert

from progress.errors import BadInput
from progress.query.read_models.reader import Reader
from progress.query.read_models.rows import (
    CefrLevel,
    Domain,
    ItemKey,
    Moment,
    Page,
    TaskKey,
    parameters_after,
)

MOST_ITEMS = 2_000  # of a task about which it is said who knows them
_MAX_PAST_MEMBERS = 50
_MOST_COUNTED = 10_000  # members


class LearnerOrder(StrEnum):
    AT_RISK = "AT_RISK"
    INACTIVE = "INACTIVE"
    ACCURACY = "ACCURACY"
    STREAK = "STREAK"
    URGENCY = "URGENCY"
    PRAISE = "PRAISE"


class RiskReason(StrEnum):
    NEVER_STUDIED = "NEVER_STUDIED"
    INACTIVE = "INACTIVE"
    LOW_ACCURACY = "LOW_ACCURACY"


class GroupKey(msgspec.Struct, frozen=True):
    name: str | None
    group_id: str


class LearnerKey(msgspec.Struct, frozen=True):
    rank: tuple[float, ...]
    user_id: str


class Group(msgspec.Struct, frozen=True):
    """The standing of a group: its size, and its members' activity in their last 7 local days.

    Members at risk may count for two reasons.
    """

    group_id: str
    name: str | None
    members: int
    active_last7_days: int
    answers_last7_days: int
    accuracy_last7_days: float | None
    at_risk: int
    never_studied: int
    inactive: int
    low_accuracy: int


class PastGroup(Group, frozen=True):
    """The standing at a past moment of those who are members now."""

    as_of: datetime


class LearnerWeek(msgspec.Struct, frozen=True):
    """An ISO week of a learner, from the Monday `start`."""

    start: date
    answers: int
    accuracy_rate: float | None


class GroupWeek(LearnerWeek, frozen=True):
    """An ISO week of a group, from the Monday `start`; active members have a study day in it."""

    active_members: int


class Learner(msgspec.Struct, frozen=True):
    """A member's standing, as a teacher reads it.

    `expected_known` is the sum of the estimated recalls of the member's items. It, the time of the
    newest answer and the twelve weeks are read only if they were asked for.
    """

    user_id: str
    display_name: str | None
    expected_known: float
    weeks: list[LearnerWeek]
    last_answered_at: datetime | None
    last_study_date: date | None
    current_streak: int
    answers_last7_days: int
    accuracy_last7_days: float | None
    total_items_learned: int
    at_risk: bool
    risk_reasons: list[RiskReason]


class LearnerSince(msgspec.Struct, frozen=True):
    """What a learner did from a local day to today; a goal was in force on `days_with_goal`."""

    answers: int
    accuracy_rate: float | None
    study_days: int
    days_with_goal: int
    days_met: int


class PastLearner(Learner, frozen=True):
    """A present member's standing at a past moment."""

    group_id: str
    as_of: datetime


class GroupKnowledge(msgspec.Struct, frozen=True):
    """The members' answered items, and the sum of their estimated recalls."""

    items: int
    expected: float


class ItemFading(msgspec.Struct, frozen=True):
    """An item that is fading for `learners` of the `answered` members who answered it."""

    item_id: str
    headword: str | None
    level: CefrLevel
    learners: int
    answered: int


class GroupTask(msgspec.Struct, frozen=True):
    """A list that is assigned to a group, and how many members knew all its items by `due_on`.

    `done` is None for an empty list, and over 2,000 items.
    """

    list_id: str
    list_name: str | None
    due_on: date
    items: int
    done: int | None


class FoundTask(GroupTask, frozen=True, kw_only=True):
    """A task of the group, by which its members are found."""

    group_id: str


class TaskMember(msgspec.Struct, frozen=True):
    """What a member of the group knows of a task's items, as in `LearnerTask`."""

    user_id: str
    display_name: str | None
    items: int
    known: int | None
    known_now: int | None
    done: bool | None
    expected: float | None


class TaskMemberKey(msgspec.Struct, frozen=True):
    """The position of a member in a task; None is 0."""

    known: int | None
    user_id: str


class TaskWord(msgspec.Struct, frozen=True):
    """An item of a task, and of the `members` who get it how many knew it ever.

    `expected` of them are expected to know it at the end of the task's day or, if it is past, of
    today.
    """

    item_id: str
    headword: str | None
    members: int
    known_now: int
    expected: float


class TaskWordKey(msgspec.Struct, frozen=True):
    """The position of an item in the words of a task."""

    known_now: int
    position: int
    item_id: str


class Share(NamedTuple):
    """A group's share of a large one, and the rows that its tasks read, in thousands."""

    size: float = 0
    task_rows: float = 0


class LearnerName(msgspec.Struct, frozen=True):
    """A known learner; the display name is None if none was published."""

    user_id: str
    display_name: str | None


class ItemDifficulty(msgspec.Struct, frozen=True):
    """The answers of several learners to an item."""

    item_id: str
    headword: str | None
    level: CefrLevel
    learners: int
    answers: int
    accuracy_rate: float
    average_response_ms: float | None
    lapses: int


async def is_member(reader: Reader, user_id: str, groups: Sequence[str]) -> bool:
    if not groups:
        return False
    rows = await reader.fetch(
        "read_models/group_members", "is_member", user_id=user_id, groups=groups
    )
    return bool(rows[0]["is_member"])


async def check_past(reader: Reader, group_id: str) -> None:
    """Raise BadInput if the group has too many members for a question about the past."""
    await check_size(reader, group_id, "asOf", _MAX_PAST_MEMBERS)


async def check_size(reader: Reader, group_id: str, name: str, most: int) -> None:
    """Raise BadInput, naming what was asked for, if the group has more than `most` members."""
    rows = await _fetch_sizes(reader, [group_id])
    if rows and rows[0]["members"] > most:
        found = f"found {rows[0]['members']}: leave it out"
        raise BadInput(f"{name}: expected a group of at most {most} members - {found}")


async def _fetch_sizes(
    reader: Reader, ids: Sequence[str] | None, *, of_tasks: bool = False
) -> Sequence[Mapping[str, Any]]:
    file, block = "read_models/group_members", "sizes"
    return await reader.fetch(file, block, groups=ids, of_tasks=of_tasks)


async def get_shares(
    reader: Reader, ids: Sequence[str] | None, *, of_tasks: bool
) -> dict[str, Share] | None:
    """Return the share of a large group that each has, of these or of all that have a member.

    Return None if their members are too many to count. Without `of_tasks`, `task_rows` are 0.
    """
    rows = await _fetch_sizes(reader, ids, of_tasks=of_tasks)
    if sum(row["members"] for row in rows) > _MOST_COUNTED:
        return None
    return {row["group_id"]: Share(float(row["share"]), float(row["task_rows"])) for row in rows}


async def get_group(
    reader: Reader, group_id: str, *, at: datetime, as_of: datetime | None = None
) -> Group | None:
    """Return the group's standing; None if the group has no member."""
    if as_of is None:
        return (await _get_standings(reader, [group_id], at)).get(group_id)
    block = "read_models/group_members", "standings"
    rows = await _fetch(reader, block, group_id, at, as_of, groups=[group_id], estimates=False)
    return PastGroup(**rows[0], as_of=as_of) if rows else None


async def _fetch(
    reader: Reader,
    block: tuple[str, str],
    group_id: str,
    at: datetime,
    as_of: datetime | None,
    **parameters: object,
) -> Sequence[Mapping[str, Any]]:
    return await reader.fetch_at(Moment(at, as_of), *block, group_id=group_id, **parameters)


async def _get_standings(
    reader: Reader, group_ids: Sequence[str], at: datetime
) -> dict[str, Group]:
    file, block = "read_models/group_members", "standings"
    rows = await reader.fetch(file, block, groups=group_ids, now=at)
    return {row["group_id"]: Group(**row) for row in rows}


async def find_name(reader: Reader, group_id: str) -> Group | None:
    """Return the group with its name, but with zeros as its standing; None without a member."""
    rows = await reader.fetch("read_models/group_members", "name", group_id=group_id)
    return _without_standing(rows[0]) if rows else None


def _without_standing(row: Mapping[str, Any]) -> Group:
    return Group(row["group_id"], row["name"], 0, 0, 0, None, 0, 0, 0, 0)


async def get_groups(
    reader: Reader,
    text: str | None,
    *,
    first: int,
    after: GroupKey | None = None,
    standings: bool = True,
    at: datetime,
) -> Page[tuple[GroupKey, Group]]:
    """Return at most `first` groups with members and `text` in the name or id, by name.

    Without `standings`, the members are not read, and the standings are zeros.
    """
    page = await reader.fetch_page(
        "read_models/group_members",
        "list",
        lambda row: (GroupKey(row["name"], row["group_id"]), _without_standing(row)),
        id_column="group_id",
        text=text or None,
        first=first,
        **parameters_after(GroupKey, after),
    )
    if not standings:
        return page
    found = await _get_standings(reader, [key.group_id for key, _ in page.items], at)
    # A group may have lost its last member between the two statements.
    items = [(key, found.get(key.group_id, group)) for key, group in page.items]
    return msgspec.structs.replace(page, items=items)


async def get_learners(
    reader: Reader,
    group_id: str,
    *,
    order_by: LearnerOrder,
    first: int,
    after: LearnerKey | None = None,
    estimates: bool = True,
    last_answers: bool = True,
    weeks: bool = True,
    at: datetime,
    as_of: datetime | None = None,
) -> Page[tuple[LearnerKey, Learner]]:
    """Return at most `first` members of the group, beginning after the key `after`.

    Without `estimates`, `expected_known` is 0; without `last_answers`, `last_answered_at` is None;
    without both, the members' items are not read. Without `weeks`, the list of weeks is empty.
    """

    def build(row: Mapping[str, Any]) -> tuple[LearnerKey, Learner]:
        member = {**row, "weeks": msgspec.json.decode(row["weeks"])}
        past = {"group_id": group_id, "as_of": as_of}
        learner: Learner = convert(member | past, PastLearner if as_of else Learner)
        return LearnerKey(tuple(row["sort_key"]), row["user_id"]), learner

    return await reader.fetch_page(
        "read_models/group_members",
        "learners",
        build,
        id_column="user_id",
        moment=Moment(at, as_of),
        group_id=group_id,
        groups=[group_id],
        order_by=order_by,
        estimates=estimates,
        last_answers=last_answers,
        weeks=weeks,
        first=first,
        **parameters_after(LearnerKey, after),
    )


async def get_since(
    reader: Reader,
    asked: Sequence[tuple[str, date | int]],
    *,
    at: datetime,
    as_of: datetime | None = None,
    group_id: str = "",
) -> list[LearnerSince | BadInput]:
    """Return what each learner did since the local day, or in so many days, in `asked`'s order.

    With `as_of`, the learners are members of the group, and today is their day at that moment.
    An error stands for a day that is more than 366 days before the learner's today.
    """
    users, spans = zip(*asked, strict=True)
    block, unread = ("read_models/group_members", "since"), {"estimates": False}
    first_days = [span if isinstance(span, date) else None for span in spans]
    days = [span if isinstance(span, int) else None for span in spans]
    asked_of = {"users": users, "first_days": first_days, "days": days}
    rows = await _fetch(reader, block, group_id, at, as_of, **asked_of, **unread)
    return [_since(day, dict(row)) for day, row in zip(first_days, rows, strict=True)]


def _since(first_day: date | None, row: dict[str, Any]) -> LearnerSince | BadInput:
    earliest: date = row.pop("today") - timedelta(days=366)
    if first_day and first_day < earliest:
        return BadInput(f"date: expected {earliest} or a later day - found {first_day}")
    return LearnerSince(**row)


async def get_teachers(reader: Reader, group_id: str, *, at: datetime) -> list[str]:
    """Return who, as a teacher, read a member's record in the last 30 days, by id."""
    file, block = "read_models/group_members", "teachers"
    rows = await reader.fetch(file, block, group_id=group_id, now=at)
    return [row["read_by"] for row in rows]


async def search_learners(reader: Reader, text: str, *, first: int) -> list[LearnerName]:
    """Return at most `first` learners with `text` in the id or the display name, best first."""
    rows = await reader.fetch("read_models/display_names", "search", text=text, first=first)
    return [LearnerName(**row) for row in rows]


async def search_groups(reader: Reader, text: str, *, first: int) -> list[str]:
    """Return the ids of at most `first` groups with members and `text` in the id, best first."""
    rows = await reader.fetch("read_models/group_members", "search", text=text, first=first)
    return [row["group_id"] for row in rows]


async def get_hardest_items(
    reader: Reader, group_id: str, first: int, *, at: datetime, as_of: datetime | None = None
) -> list[ItemDifficulty]:
    """Return the group's hardest items, the lowest accuracy first.

    Leave out items with fewer than 5 answers, and items that fewer than 3 members answered.
    """
    block = "read_models/group_items", "hardest"
    rows = await _fetch(reader, block, group_id, at, as_of, first=first)
    return [convert(dict(row), ItemDifficulty) for row in rows]


async def get_weeks(
    reader: Reader, group_id: str, *, at: datetime, as_of: datetime | None = None
) -> list[GroupWeek]:
    """Return the current ISO week (UTC) and the 11 before it, oldest first."""
    block = "read_models/weekly_stats", "weeks of group"
    rows = await _fetch(reader, block, group_id, at, as_of, estimates=False)
    return [GroupWeek(**row) for row in rows]


async def get_knowledge(
    reader: Reader, group_id: str, *, at: datetime, as_of: datetime | None = None
) -> GroupKnowledge:
    """Return what the members still know, each on the own local day."""
    block = "read_models/memory", "knowledge of group"
    (row,) = await _fetch(reader, block, group_id, at, as_of, groups=[group_id])
    return GroupKnowledge(**row)


async def get_items_fading(
    reader: Reader, group_id: str, first: int, *, at: datetime, as_of: datetime | None = None
) -> list[ItemFading]:
    """Return the items that are fading for at least 3 members, most such members first."""
    block = "read_models/memory", "fading in group"
    rows = await _fetch(reader, block, group_id, at, as_of, groups=[group_id], first=first)
    return [convert(dict(row), ItemFading) for row in rows]


async def get_tasks(
    reader: Reader,
    group_id: str,
    *,
    first: int,
    after: TaskKey | None = None,
    is_counted: bool = True,
) -> list[FoundTask]:
    """Return at most `first` tasks of the group after `after`, latest day first.

    Unless `is_counted`, `done` is None, and what the members know is not read.
    """
    block, place = ("read_models/list_assignments", "of group"), parameters_after(TaskKey, after)
    asked = {"group_id": group_id, "first": first, "is_counted": is_counted}
    return [FoundTask(**row) for row in await reader.fetch(*block, **asked, **place)]


async def get_task_pages(
    reader: Reader, asked: Sequence[tuple[FoundTask, int, TaskMemberKey | None]], *, at: datetime
) -> list[tuple[int, list[TaskMember]]]:
    """Return, for each task, how many members have done it, and its page of members.

    A page has at most so many members after the key, fewest known first.
    """
    tasks, firsts, places = zip(*asked, strict=True)
    found = await reader.fetch(
        *("read_models/list_assignments", "members"),
        now=at,
        groups=[task.group_id for task in tasks],
        list_ids=[task.list_id for task in tasks],
        due_ons=[task.due_on for task in tasks],
        items=[task.items for task in tasks],
        firsts=firsts,
        after_known=[place and place.known for place in places],
        after_user_id=[place and place.user_id for place in places],
    )
    done, pages = [0] * len(asked), list[list[TaskMember]]([] for _ in asked)
    for place, finished, *values in found:
        done[place - 1] = finished
        if values[0] is not None:
            pages[place - 1].append(TaskMember(*values))
    return [*zip(done, pages, strict=True)]


async def get_task_words(
    reader: Reader, task: FoundTask, *, first: int, after: TaskWordKey | None, at: datetime
) -> tuple[list[str], list[tuple[TaskWordKey, TaskWord]]]:
    """Return the group's members, and at most `first` words of the task, the least known first."""
    (head, *found) = await reader.fetch(
        *("read_models/list_assignments", "words"),
        now=at,
        groups=[task.group_id],
        group_id=task.group_id,
        list_id=task.list_id,
        due_on=task.due_on,
        items=task.items,
        first=first,
        **parameters_after(TaskWordKey, after),
    )
    words = map(dict, found)
    return head["users"], [(convert(w, TaskWordKey), convert(w, TaskWord)) for w in words]


async def get_item_difficulty(
    reader: Reader,
    *,
    level: CefrLevel | None,
    domain: Domain | None,
    first: int,
    after: ItemKey | None = None,
) -> Page[tuple[ItemKey, ItemDifficulty]]:
    """Return at most `first` items, beginning after the key `after`.

    Leave out items that fewer than 5 learners answered.
    """
    return await reader.fetch_page(
        "read_models/item_difficulty",
        "list",
        lambda row: (ItemKey(row["accuracy_rate"], row["item_id"]), convert(row, ItemDifficulty)),
        level=level,
        domain=domain,
        first=first,
        **parameters_after(ItemKey, after),
    )
