"""The GraphQL types of `api.graphql`; records of the read models provide the fields' values."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any, cast, get_args, get_origin, get_type_hints

import msgspec
import strawberry
from graphql import OperationType
from strawberry import UNSET
from strawberry.types.field import StrawberryField

from progress.adapters import request_scope
from progress.adapters.pubsub import undelivered
from progress.event_store import callers, intake
from progress.event_store import dead_letter_record as dead_letters
from progress.operations import export_files
from progress.operations import records as operations
from progress.query.graphql import arguments, downloads, learner_mutations, pagination
from progress.query.graphql.context import Info
from progress.query.graphql.task_mutations import RecordedTask
from progress.query.graphql.whose import Whose
from progress.query.read_models import accesses, coverage, groups, rows

_MAX_INT = 2**31 - 1


def read_field(record: object, name: str) -> object:
    """Return a field of a record; an integer beyond GraphQL's Int becomes the largest Int."""
    value = getattr(record, name)
    return min(value, _MAX_INT) if type(value) is int else value


_made: dict[type[Any], Any] = {}


# Texts with these names are ids.
_IDS = ("id", "user_id", "item_id", "group_id", "list_id", "event_id")


def type_of(record: type[Any], **given: object) -> Any:
    """Return the object type with the record's name and fields, inherited fields last.

    A record has one type: that of the first call, in which a field in `given` has the given type.
    """
    if record not in _made:
        hints = get_type_hints(record)
        names = sorted(hints, key=lambda name: name not in record.__annotations__)
        fields = {name: _id(hints[name]) if name in _IDS else of(hints[name]) for name in names}
        _made[record] = _make(record.__name__, fields | given)
    return _made[record]


def _id(hint: Any) -> Any:
    return strawberry.ID | None if get_args(hint) else strawberry.ID


def of(hint: Any) -> Any:
    """Return the type of a record, of a list of records, or of one that may be None."""
    (inner, *none) = get_args(hint) or (hint,)
    if not (isinstance(inner, type) and issubclass(inner, msgspec.Struct)):
        return hint
    made = list_of(inner) if get_origin(hint) is list else type_of(inner)
    return made | None if none else made


def list_of(record: type[msgspec.Struct]) -> Any:
    return list[type_of(record)]  # type: ignore[misc] # made at run time


def _connection(name: str, node: object, **more: object) -> Any:
    edge = _make(f"{name}Edge", {"cursor": str, "node": node})
    fields = {"edges": list[edge], "page_info": PageInfo, **more}  # type: ignore[valid-type] # made at run time
    return _make(f"{name}Connection", fields)


def _resolved(resolver: Callable[..., Any], whose: Whose, type_: object = None) -> Any:
    """Declare a field with a resolver of its own, and whose data it adds to that of its parent."""
    return strawberry.field(resolver=resolver, graphql_type=type_, metadata={"whose": whose})


def _make(name: str, fields: Mapping[str, object]) -> Any:
    resolved = {key: one for key, one in fields.items() if isinstance(one, StrawberryField)}
    hints = {key: one for key, one in fields.items() if key not in resolved}
    return strawberry.type(type(name, (), {"__annotations__": hints, **resolved}))


for _enum in (
    *(rows.Mastery, rows.Domain, rows.CefrLevel, rows.PeriodLength, rows.LagStatus),
    *(rows.ItemFilter, rows.ItemOrder, rows.MilestoneKind),
    *(groups.LearnerOrder, groups.RiskReason, dead_letters.DeadLetterKind, intake.IntakeKind),
    *(operations.OperationKind, operations.OperationState),
    *(export_files.StatisticsTable, export_files.FileFormat),
):
    strawberry.enum(_enum)

UserProgress = type_of(rows.UserProgress)
ItemStats = type_of(rows.ItemStats)
Streak = type_of(rows.Streak)
RecordedEvent = type_of(rows.RecordedEvent)
IntakeFinding = type_of(intake.IntakeFinding, example=strawberry.ID)


@strawberry.type
class ProjectionStatus:
    name: str
    events_behind: int
    seconds_behind: float
    status: rows.LagStatus
    updated_at: datetime | None
    changed_at: datetime | None


Undelivered = type_of(undelivered.Undelivered)
PageInfo = type_of(pagination.PageInfo)
ItemStatsConnection = _connection("ItemStats", ItemStats, total_count=int)


async def _get_members(
    root: rows.WordList, info: Info, first: int | None = 50, after: str | None = UNSET
) -> Any:
    if not isinstance(root, rows.FoundList):
        return None
    page = await info.context.queries.get_list_items(
        root.user_id,
        root.id,
        first=arguments.parse_page_size(first),
        after=pagination.decode_key(after, rows.MemberKey),
        is_learner=info.context.caller.is_learner(root.user_id),
        reader=info.context.reader,
        **root.moment._asdict(),
    )
    return pagination.build_page(page, after)


type_of(rows.ItemList)
WordList = type_of(
    rows.WordList,
    members=_resolved(_get_members, Whose.LEARNER, ItemStatsConnection | None),
)
WordListConnection = _connection("WordList", WordList, total_count=int)
LearnerTask = type_of(rows.LearnerTask)
LearnerTaskConnection = _connection("LearnerTask", LearnerTask)


@strawberry.type
class CalibrationBin:
    from_: float = strawberry.field(name="from")
    to: float
    tests: int
    predicted: float | None
    recalled: float | None


SessionAnswer = type_of(rows.SessionAnswer)
StudySession = type_of(
    rows.StudySession,
    given=list[SessionAnswer] | None,  # type: ignore[valid-type] # made at run time
)
SessionConnection = _connection("Session", StudySession, total_count=int)
Calibration = type_of(rows.Calibration, bins=list[CalibrationBin])
EventConnection = _connection("Event", RecordedEvent)
Access = type_of(
    accesses.Access,
    read_by=strawberry.ID,
    user_id=strawberry.ID | None,
)
AccessConnection = _connection("Access", Access)
Milestone = type_of(rows.Milestone)
MilestoneConnection = _connection("Milestone", Milestone, total_count=int)
LearnerSince = type_of(groups.LearnerSince)


async def _get_since(
    root: groups.Learner, info: Info, date: date | None = UNSET, days: int | None = UNSET
) -> Any:
    span = arguments.parse_since(date, days)
    past = (root.as_of, root.group_id) if isinstance(root, groups.PastLearner) else (None, "")
    return await info.context.since.load((*past, root.user_id, span))


Learner = type_of(groups.Learner, since=_resolved(_get_since, Whose.LISTED, LearnerSince))
LearnerName = type_of(groups.LearnerName)
LearnerConnection = _connection("Learner", Learner, total_count=int)
ItemDifficulty = type_of(groups.ItemDifficulty)
ItemDifficultyConnection = _connection("ItemDifficulty", ItemDifficulty, total_count=int)


# Thousands of rows that the standing and the other fields of a large group read (see Cost).
GROUP_ROWS = 100
ROWS_OF_GROUP = {
    "teachers": 10,
    "hardestItems": 200,
    "knowledge": 300,
    "itemsFading": 400,
    "weeks": 120,
    "tasks": 950,  # too many with the group itself: those of its tasks are counted
    "coverage": 200,
}


@contextlib.contextmanager
def _moment(info: Info) -> Iterator[datetime]:
    """Yield the request's time; in a subscription, yield the present, with a new deadline."""
    if info.operation.operation is not OperationType.SUBSCRIPTION:
        yield info.context.at
        return
    with request_scope.begin(request_scope.TIMEOUT_S):
        yield datetime.now(UTC)


def _as_of(root: groups.Group) -> datetime | None:
    return root.as_of if isinstance(root, groups.PastGroup) else None


def _of_group(read: Callable[..., Any], type_: Any) -> Any:
    """Declare a field about a group's present members, which `read` reads, now or as of a time."""

    async def resolve(root: groups.Group, info: Info) -> Any:
        with _moment(info) as at:
            return await read(info.context.queries.reader, root.group_id, at=at, as_of=_as_of(root))

    return _resolved(resolve, Whose.NOBODY, type_)


def _items_of_group(read: Callable[..., Any], type_: Any) -> Any:
    """Declare the same of a list of items."""

    async def resolve(root: groups.Group, info: Info, first: int | None = 10) -> Any:
        size = arguments.parse_page_size(first, default=10)
        with _moment(info) as at:
            return await read(
                info.context.queries.reader, root.group_id, size, at=at, as_of=_as_of(root)
            )

    return _resolved(resolve, Whose.NOBODY, list[type_])


async def _get_teachers(root: groups.Group, info: Info) -> list[strawberry.ID] | None:
    if not info.context.is_support:
        return None
    with _moment(info) as at:
        found = await groups.get_teachers(info.context.queries.reader, root.group_id, at=at)
        return [strawberry.ID(teacher) for teacher in found]


async def _get_task_members(
    root: groups.FoundTask, info: Info, first: int | None = 50, after: str | None = UNSET
) -> Any:
    size = arguments.parse_page_size(first)
    place = pagination.decode_key(after, groups.TaskMemberKey)
    _, found = await info.context.task_pages.load((root, size + 1, place))
    info.context.note(member.user_id for member in found[:size])
    return pagination.build_record_page(found, after, size, groups.TaskMemberKey)


async def _count_done(root: groups.FoundTask, info: Info) -> int | None:
    if not 1 <= root.items <= groups.MOST_ITEMS:
        return None
    done, _ = await info.context.task_pages.load((root, 0, None))
    return done


async def _get_task_words(
    root: groups.FoundTask, info: Info, first: int | None = 50, after: str | None = UNSET
) -> Any:
    size = arguments.parse_page_size(first)
    place = pagination.decode_key(after, groups.TaskWordKey)
    read, at = info.context.queries.reader, info.context.at
    members, found = await groups.get_task_words(read, root, first=size + 1, after=place, at=at)
    info.context.note(members)
    page = rows.Page(found[:size], has_next=len(found) > size, total_count=None)
    return pagination.build_page(page, after)


TaskMember = type_of(groups.TaskMember)
GroupTask = type_of(
    groups.GroupTask,
    done=_resolved(_count_done, Whose.NOBODY),
    members=_resolved(_get_task_members, Whose.LISTED, _connection("TaskMember", TaskMember)),
    words=_resolved(
        _get_task_words,
        Whose.LISTED,
        _connection("TaskWord", type_of(groups.TaskWord)),
    ),
)
GroupTaskConnection = _connection("GroupTask", GroupTask)


def _is_present(root: groups.Group, info: Info) -> bool:
    """Return whether the group is that of the query `group` without `asOf`."""
    is_root = info.path.prev is not None and info.path.prev.prev is None
    is_query = info.operation.operation is not OperationType.SUBSCRIPTION
    return is_root and is_query and _as_of(root) is None


async def _get_tasks(
    root: groups.Group, info: Info, first: int | None = 5, after: str | None = UNSET
) -> Any:
    if not _is_present(root, info):
        return None
    size = arguments.parse_tasks_size(first, default=5)
    found = await groups.get_tasks(
        info.context.queries.reader,
        root.group_id,
        first=size + 1,
        after=pagination.decode_key(after, rows.TaskKey),
        is_counted=False,
    )
    return pagination.build_record_page(found, after, size, rows.TaskKey)


def _first_of(name: str, type_: Any, default: int) -> Any:
    """Declare a list of a record, of which the first entries are returned."""

    def resolve(root: Any, first: int | None = default) -> Any:
        return getattr(root, name)[: arguments.parse_page_size(first, default=default)]

    return _resolved(resolve, Whose.NOBODY, list[type_])


Coverage = type_of(
    coverage.Coverage,
    gaps=_first_of("gaps", type_of(coverage.CoverageGap), 20),
)
GroupCoverage = type_of(
    coverage.GroupCoverage,
    members=_first_of("members", type_of(coverage.MemberCoverage), 50),
    gaps=_first_of("gaps", type_of(coverage.GroupGap), 20),
)
CatalogueConnection = _connection("Catalogue", type_of(coverage.CatalogueItem))


async def _get_coverage(
    root: groups.Group, info: Info, items: list[arguments.CoverageItem]
) -> coverage.GroupCoverage | None:
    text = arguments.parse_text(items)
    if not _is_present(root, info):
        return None
    reader = info.context.queries.reader
    await groups.check_size(reader, root.group_id, "coverage", coverage.MOST_MEMBERS)
    found = await coverage.get_group_coverage(reader, root.group_id, text, at=info.context.at)
    info.context.note(member.user_id for member in found.members)
    return found


Group = type_of(
    groups.Group,
    teachers=_resolved(_get_teachers, Whose.NOBODY),
    hardest_items=_items_of_group(groups.get_hardest_items, ItemDifficulty),
    knowledge=_of_group(groups.get_knowledge, type_of(groups.GroupKnowledge)),
    items_fading=_items_of_group(groups.get_items_fading, type_of(groups.ItemFading)),
    weeks=_of_group(groups.get_weeks, list_of(groups.GroupWeek)),
    tasks=_resolved(_get_tasks, Whose.NOBODY, GroupTaskConnection | None),
    coverage=_resolved(_get_coverage, Whose.LISTED, GroupCoverage | None),
)
GroupConnection = _connection("Group", Group, total_count=int)


@strawberry.type
class DeadLetter:
    id: strawberry.ID
    kind: dead_letters.DeadLetterKind
    topic: str | None
    event_id: strawberry.ID | None
    event_type: str | None
    reason: str
    payload: str
    received_at: datetime
    replayed_at: datetime | None


DeadLetterConnection = _connection("DeadLetter", DeadLetter, total_count=int)


async def _sign_url(root: downloads.Download) -> str:
    return await root.sign()


@strawberry.type
class Download:
    url: str = _resolved(_sign_url, Whose.NOBODY)
    expires_at: datetime
    bytes: int
    sha256: str


def _find_download(root: operations.Operation, info: Info) -> Download | None:
    return cast("Download | None", info.context.find_download(root))


def _find_starter(root: operations.Operation) -> strawberry.ID | None:
    is_person = not callers.is_reserved(root.started_by)
    return strawberry.ID(root.started_by) if is_person else None


def _find_subject(root: operations.Operation) -> str | None:
    return root.acts_on


@strawberry.type
class Operation:
    id: strawberry.ID
    kind: operations.OperationKind
    state: operations.OperationState
    started_by: strawberry.ID | None = _resolved(_find_starter, Whose.NOBODY)
    subject: str | None = _resolved(_find_subject, Whose.NOBODY)
    progress: float
    steps: list[type_of(operations.OperationStep)]  # type: ignore[valid-type] # made at run time
    error: str | None
    result: str | None

    download: Download | None = _resolved(_find_download, Whose.LISTED)
    started_at: datetime
    finished_at: datetime | None


async def _wait_until_counted(root: learner_mutations.PublishedEvent) -> bool:
    return await root.recorder.wait_until_counted(root.position)


@strawberry.type
class PublishedEvent:
    event_id: strawberry.ID
    counted: bool = _resolved(_wait_until_counted, Whose.NOBODY)


async def _wait_until_set(root: RecordedTask) -> bool:
    return root.position is None or await root.recorder.wait_until_counted(root.position)


@strawberry.type
class TaskSet:
    list_id: strawberry.ID
    events: int
    counted: bool = _resolved(_wait_until_set, Whose.NOBODY)


OperationConnection = _connection("Operation", Operation)
