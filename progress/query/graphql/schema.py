"""The schema: the query fields in the contract's order, the mutations and the subscriptions.

A decorator declares each field once, with its type, arguments, SQL, cache policy and cost, and with
whose data it returns. Strawberry's resolver, the executor (`progress.query.execution.executor`),
the cache, the limits and the traces of readers read these declarations. A field about one learner
is a query of `rows`, unless it needs a resolver of its own. No field that teachers read about a
group is cached, so that they cannot read the data of a learner who has left the group.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Annotated, Any, NamedTuple

import strawberry
from strawberry import ID, UNSET
from strawberry.schema.config import StrawberryConfig
from strawberry.types import get_object_definition
from strawberry.types.nodes import SelectedField, Selection
from strawberry.utils.str_converters import to_camel_case

from progress import auth
from progress.adapters.cloud_scheduler import Schedule
from progress.adapters.pubsub.undelivered import Undelivered
from progress.errors import BadInput
from progress.event_store.dead_letter_record import DeadLetterKind
from progress.event_store.intake import Intake
from progress.operations.records import Operation
from progress.query.cache.keys import CachePolicy
from progress.query.graphql import arguments, descriptions, pagination, types
from progress.query.graphql.arguments import Argument
from progress.query.graphql.context import Info
from progress.query.graphql.mutations import Mutation
from progress.query.graphql.subscriptions import Subscription
from progress.query.graphql.whose import Whose
from progress.query.read_models import administration, groups, rows
from progress.query.read_models.accesses import get_accesses, get_accesses_of
from progress.query.read_models.coverage import CatalogueKey, Coverage, get_catalogue, get_coverage


class Cost(NamedTuple):
    """The number of rows that a field reads, in thousands, and the length of its list.

    The numbers are for a learner with 200,000 events and 20,000 items; `tests/query/expensive.py`
    measures them. `rows_with` contains the additional rows that a field reads if an argument is
    given, or has this value of an enum. If several such arguments are given, only the largest
    number counts. `rows_of` contains the additional rows that each selection of a field below
    reads. Rows of groups are those of a large group.
    """

    rows: int = 1
    rows_with: Mapping[str, int] = {}
    rows_per_day: float = 0  # Thousands of rows for each day of the range.
    rows_of: Mapping[str, int] = {}
    days_per_entry: int = 1  # The smallest number of days between two entries of the list.
    entries: int | None = None  # The length of the list, if no argument limits it.


_DEFAULT_COST = Cost()
_LEARNER = "learner-"  # begins the name of a learner's stream
_SLIPPED = 45  # It reads the reviews of the items that lapsed.
_DEFAULT_POLICY = CachePolicy(15)


class LearnerQuery(NamedTuple):
    """A query about one learner (`rows`), and the arguments that a field of GraphQL has for it."""

    query: rows.Declared[..., Any]
    arguments: Mapping[str, tuple[str, Argument]]  # the query's parameters by GraphQL argument
    known: Mapping[str, Callable[["Info", str], object]]  # those that are no arguments
    most_days: int  # of a range

    def build(
        self, learner: str, at: datetime, given: Mapping[str, Any], **known: object
    ) -> rows.Query[Any]:
        """Return the query; raise BadInput if an argument of those `given` is not allowed."""
        values: dict[str, Any] = {n: known[n] for n in known if n in self.known}
        for name, value in given.items():
            parameter, argument = self.arguments[name]
            values[parameter] = argument.parse(value)
        if "start_date" in values:
            arguments.check_range(values["start_date"], values["end_date"], self.most_days)
        if "days" in values:
            arguments.check_forecast_year(values.get("as_of") or values.get("known_at") or at)
        return self.query(learner, at=at, **values)


class Declaration(NamedTuple):
    """Whose data a root field returns; of a query field, the cache policy, the cost and the SQL."""

    whose: Whose
    cache: CachePolicy | None = None  # None: not cached
    cost: Cost = _DEFAULT_COST
    sql: LearnerQuery | None = None  # if None, the field's resolver always runs
    has_parts: bool = False  # names the learner and the moment for its fields, see execution.fields


FIELDS: dict[str, Declaration] = {}
RESOLVED: dict[str, Any] = {}  # Strawberry's fields by Python name, in the order of the schema
UNDECLARED = Declaration(Whose.NOBODY)  # __typename, __schema, __type


def declare(
    type_: object,
    whose: Whose,
    *,
    cache: CachePolicy | None = None,
    cost: Cost = _DEFAULT_COST,
    has_parts: bool = False,
    deprecated: str | None = None,
) -> Callable[[Callable[..., Any]], Any]:
    """Declare a field without SQL. The decorated function is its resolver.

    `deprecated` is the reason why the field should not be used any more.
    """

    def decorate(resolve: Callable[..., Any]) -> Any:
        declaration = Declaration(whose, cache, cost, has_parts=has_parts)
        return _add(resolve, declaration, type_, deprecated)

    return decorate


def _add(
    resolve: Callable[..., Any],
    declaration: Declaration,
    type_: object,
    deprecated: str | None = None,
) -> Any:
    name = resolve.__name__.rstrip("_")  # `groups_`, beside the module `groups`
    FIELDS[to_camel_case(name)] = declaration
    RESOLVED[name] = strawberry.field(resolve, graphql_type=type_, deprecation_reason=deprecated)
    return RESOLVED[name]


def declare_query(
    query: rows.Declared[..., Any],
    type_: object = None,
    *,
    cache: CachePolicy | None = _DEFAULT_POLICY,
    cost: Cost = _DEFAULT_COST,
    most_days: int = arguments.MAX_RANGE_DAYS,
    **given: Argument,
) -> None:
    """Declare a field about one learner, which has the name, arguments and result of a query.

    The arguments are those `given` or in `arguments.OF_LEARNERS`; `userId` is added. `type_` is for
    results that are no records. If the rows are the result, now and in the past, they are compiled.
    """
    own = [name for name in query.parameters if name not in ("user_id", *_KNOWN)]
    taken = {
        name: (arguments.OF_LEARNERS | given)[name] for name in own + _MOMENTS * query.is_dated
    }
    asked = {one.name or to_camel_case(name): (name, one) for name, one in taken.items()}
    known = {name: find for name, find in _KNOWN.items() if name in query.parameters}
    field = LearnerQuery(query, asked, known, most_days)
    sql = field if query.has_rows and query.is_dated else None
    declaration = Declaration(Whose.LEARNER, cache, cost, sql)
    _add(_resolver(field), declaration, type_ or types.of(query.result))


def _resolver(field: LearnerQuery) -> Callable[..., Any]:
    """Return a resolver whose signature tells Strawberry the field's arguments."""

    async def resolve(info: Info, *, user_id: Any = UNSET, **values: Any) -> Any:
        learner = await info.context.resolve_learner(user_id)
        known = {name: find(info, learner) for name, find in field.known.items()}
        given = {names[name]: value for name, value in values.items()}
        query = field.build(learner, info.context.at, given, **known)
        result = await info.context.queries.run(query)
        is_page = isinstance(result, rows.Page)
        return pagination.build_page(result, values.get("after")) if is_page else result

    names = {parameter: name for name, (parameter, _) in field.arguments.items()}
    resolve.__name__ = field.query.name
    resolve.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("info", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Info),
            _parameter("user_id", Argument(ID | None, UNSET)),
            *(_parameter(*argument) for argument in field.arguments.values()),
        ]
    )
    return resolve


_MOMENTS = ["as_of", "known_at"]
# The parameters of queries that are no arguments.
_KNOWN: dict[str, Callable[[Info, str], object]] = {
    "is_learner": lambda info, learner: info.context.caller.is_learner(learner),
    "reader": lambda info, _: info.context.reader,
    "groups": lambda info, learner: info.context.find_groups(learner),
    "is_counted": lambda info, _: any(
        _selects(node, "totalCount") for node in info.selected_fields
    ),
}


def _parameter(name: str, argument: Argument) -> inspect.Parameter:
    type_: Any = argument.type
    if argument.name:
        type_ = Annotated[type_, strawberry.argument(name=argument.name)]
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=argument.default, annotation=type_)


# Fields that do not need the members' standings.
_CHEAP = {
    "groupId",
    "name",
    "teachers",
    "hardestItems",
    "knowledge",
    "itemsFading",
    "weeks",
    "tasks",
    "coverage",
    "__typename",
}


declare_query(
    rows.user_progress,
    # `unlearned` depends on the catalogue, and the current streak depends on the local date.
    cache=CachePolicy(10, catalogue=True, clock=True, is_summary=True),
    cost=Cost(30),
)
declare_query(rows.daily_stats, cache=CachePolicy(15, period="daily"))
declare_query(
    rows.weekly_stats,
    cache=CachePolicy(60, batch=True, period="weekly", period_days=6),
    cost=Cost(rows_of={"slippedBack": _SLIPPED}, days_per_entry=7),
)
declare_query(
    rows.monthly_stats,
    cache=CachePolicy(30, period="monthly", period_days=30),
    cost=Cost(100, rows_per_day=1 / 7, rows_of={"slippedBack": _SLIPPED}, days_per_entry=28),
)


@declare(
    types.ItemStatsConnection,
    Whose.LEARNER,
    # `catalogue`, because the catalogue contains headwords, levels and domains. `except_for`,
    # because the set of DUE items depends on the current time. `except_with`, because lists are not
    # the learner's. `clock`, because estimates of recall depend on the local date.
    cache=CachePolicy(
        10,
        catalogue=True,
        clock=True,
        except_for=("filter", "DUE"),
        except_with="list",
        own_words=True,
    ),
    cost=Cost(
        45,
        rows_with={
            **dict.fromkeys(("level", "domain", "list", "search", "language"), 55),
            "SLIPPED_BACK": _SLIPPED,
        },
    ),
)
async def item_stats(
    info: Info,
    *,
    user_id: ID | None = UNSET,
    filter: rows.ItemFilter | None = rows.ItemFilter.ALL,  # noqa: A002 - the contract's word
    order_by: rows.ItemOrder | None = rows.ItemOrder.RECENT,
    level: rows.CefrLevel | None = UNSET,
    domain: rows.Domain | None = UNSET,
    list_: Annotated[ID | None, strawberry.argument(name="list")] = UNSET,
    search: str | None = UNSET,
    language: str | None = UNSET,
    from_: Annotated[date | None, strawberry.argument(name="from")] = UNSET,
    to: date | None = UNSET,
    first: int | None = 50,
    after: str | None = UNSET,
    as_of: datetime | None = UNSET,
    known_at: datetime | None = UNSET,
) -> pagination.Page:
    learner = await info.context.resolve_learner(user_id)
    moment = rows.Past(at=info.context.at, as_of=as_of or None, known_at=known_at or None)
    order, filter_ = order_by or rows.ItemOrder.RECENT, filter or rows.ItemFilter.ALL
    page = await info.context.queries.get_item_stats(
        learner,
        filter=filter_,
        order_by=order,
        level=level or None,
        domain=domain or None,
        list_id=arguments.parse_list("list", list_) if isinstance(list_, str) else None,
        search=arguments.parse_filter("search", search) or "",
        language=arguments.parse_language(language),
        span=await _find_span(info, learner, moment, filter_, (from_, to)),
        first=arguments.parse_page_size(first),
        after=pagination.decode_ordered_key(after, rows.ItemKey, order),
        is_learner=info.context.caller.is_learner(learner),
        reader=info.context.reader,
        **moment,
    )
    return pagination.build_page(page, after, order)


async def _find_span(
    info: Info,
    learner: str,
    moment: rows.Past,
    filter_: rows.ItemFilter,
    days: tuple[date | None, date | None],
) -> tuple[date, date] | None:
    """Return the first and the last day of a dated filter: those that are given, or today."""
    first, last = days
    if not filter_.is_dated:
        if first or last:
            found = f"with the filter {filter_} - found {first or last}"
            raise BadInput(f"from, to: expected neither {found}")
        return None
    if not (first and last):
        today = await info.context.queries.get_today(learner, **moment)
        if last and last < today:
            raise BadInput(f"to: expected `from`, too, or a day from {today} on - found {last}")
        first, last = first or today, last or today
    arguments.check_range(first, last)
    return first, last


declare_query(
    rows.item,
    cache=CachePolicy(30, catalogue=True, clock=True, own_words=True),  # as for itemStats
)
# The batch job counts the catalogue's items, so these rows change only when the job runs. The
# policy therefore needs no `catalogue`.
declare_query(rows.domain_stats, cache=CachePolicy(60, batch=True))
declare_query(rows.level_stats, cache=CachePolicy(60, batch=True, clock=True))
declare_query(rows.languages, cache=CachePolicy(10, catalogue=True, own_words=True), cost=Cost(45))
declare_query(rows.streak, cache=CachePolicy(5, clock=True))
declare_query(rows.streak_days, cache=CachePolicy(15, clock=True), most_days=400)
declare_query(
    rows.due_forecast,
    # `catalogue`, because archived items are never due.
    cache=CachePolicy(10, catalogue=True, clock=True),
    cost=Cost(75),
    days=arguments.counted("days", 14, most=arguments.MAX_FORECAST_DAYS),
)
declare_query(
    rows.retention, cache=CachePolicy(15, period="retention", period_days=30), cost=Cost(2)
)
declare_query(rows.hourly_stats)
declare_query(rows.workload, cache=CachePolicy(10, catalogue=True, clock=True), cost=Cost(75))
declare_query(rows.rest_days)
declare_query(rows.goal, cache=CachePolicy(10, clock=True))
declare_query(
    rows.item_history,
    cache=CachePolicy(15, clock=True),
    cost=Cost(4, entries=1_000),
)
declare_query(
    rows.knowledge,
    # `catalogue`, because items have levels, and archived items do not fade.
    cache=CachePolicy(10, catalogue=True, clock=True),
    cost=Cost(45),
)
declare_query(
    rows.knowledge_curve,
    cache=CachePolicy(15, batch=True, clock=True),
    # If the learner has not studied for years, every week reads the states of all items.
    cost=Cost(60, rows_per_day=1 / 7, days_per_entry=7, entries=731),
    most_days=arguments.MAX_CURVE_DAYS,
)
declare_query(
    rows.sessions,
    types.SessionConnection,
    cost=Cost(10),
    first=arguments.counted("first", 20),
    after=pagination.cursor(rows.SessionKey),
)
declare_query(
    rows.session,
    cache=CachePolicy(15, catalogue=True, own_words=True),  # headwords
    cost=Cost(30, entries=1_000),
)
declare_query(
    rows.mastery_curve,
    cache=CachePolicy(15, batch=True, clock=True),
    cost=Cost(21, days_per_entry=7, entries=731),
    most_days=arguments.MAX_CURVE_DAYS,
)
declare_query(
    rows.calibration,
    cache=CachePolicy(60, batch=True, clock=True),
    cost=Cost(4, entries=10),
)


@declare(types.Calibration | None, Whose.NOBODY, cost=Cost(1_000, entries=10))
async def calibration_of_all(info: Info) -> rows.Calibration | None:
    info.context.check_support()
    return await info.context.queries.get_calibration_of_all(at=info.context.at)


declare_query(
    rows.item_forgetting,
    cache=CachePolicy(15, clock=True),
    cost=Cost(8, entries=2_000),
    days=arguments.counted("days", 30, least=0, most=365),
)
declare_query(
    rows.milestones,
    types.MilestoneConnection,
    # `batch`, because the batch job computes the levels.
    cache=CachePolicy(15, batch=True),
    cost=Cost(8),
    after=pagination.cursor(rows.MilestoneKey),
)
declare_query(rows.local_day)
declare_query(
    rows.lists,
    types.WordListConnection,
    cache=None,
    cost=Cost(100),
    first=arguments.counted("first", 20, most=50),
    after=pagination.cursor(rows.ListKey),
)
declare_query(
    rows.list_,
    types.WordList | None,
    cache=None,
    cost=Cost(100, rows_of={"members": 60}),
)
declare_query(rows.scales, cache=None, cost=Cost(10, entries=100))
declare_query(rows.item_lists, cache=None, cost=Cost(2, entries=50))


@declare(types.Coverage, Whose.LEARNER, cost=Cost(2, entries=1))
async def coverage(
    info: Info,
    *,
    user_id: ID | None = UNSET,
    items: list[arguments.CoverageItem],
    as_of: datetime | None = UNSET,
    known_at: datetime | None = UNSET,
) -> Coverage:
    learner = await info.context.resolve_learner(user_id)
    moment = rows.Moment(info.context.at, as_of or None, known_at or None)
    is_learner, text = info.context.caller.is_learner(learner), arguments.parse_text(items)
    reader = info.context.queries.reader
    return await get_coverage(reader, learner, text, moment, is_learner=is_learner)


@declare(types.CatalogueConnection, Whose.NOBODY, cost=Cost(300))
async def catalogue(
    info: Info, language: str | None = UNSET, first: int | None = 1_000, after: str | None = UNSET
) -> pagination.Page:
    size = arguments.parse_catalogue_size(first)
    found = await get_catalogue(
        info.context.queries.reader,
        arguments.parse_language(language),
        first=size + 1,
        after=pagination.decode_key(after, CatalogueKey),
    )
    return pagination.build_record_page(found, after, size, CatalogueKey)


@declare(types.type_of(Intake), Whose.NOBODY, cost=Cost(120, entries=60))
async def intake(info: Info) -> Intake:
    info.context.check_support()
    return await administration.get_intake(info.context.queries.reader, at=info.context.at)


@declare(types.LearnerTaskConnection, Whose.LEARNER, cost=Cost(100))
async def tasks(
    info: Info,
    *,
    user_id: ID | None = UNSET,
    first: int | None = 20,
    after: str | None = UNSET,
) -> pagination.Page:
    learner = await info.context.resolve_learner(user_id)
    size = arguments.parse_tasks_size(first)
    found = await info.context.queries.get_tasks(
        learner,
        first=size + 1,
        after=pagination.decode_key(after, rows.TaskKey),
        groups=info.context.find_groups(learner),
        at=info.context.at,
    )
    return pagination.build_record_page(found, after, size, rows.TaskKey)


class LearnerMoment(NamedTuple):
    """The learner and the moment that `learner` names for its parts."""

    id: ID
    as_of: datetime | None
    known_at: datetime | None


def _part(name: str) -> Any:
    """Return the root field of this name as a field of `LearnerRecord`, which may be null."""
    resolve_root = RESOLVED[name].base_resolver.wrapped_func

    async def resolve(root: LearnerMoment, info: Info, **arguments: Any) -> Any:
        learner, *times = root
        moment = dict(zip(_MOMENTS, times, strict=True)) if "as_of" in taken else {}
        if any(times) and not moment:
            return None  # the field is about the present only
        return await resolve_root(info=info, user_id=learner, **moment, **arguments)

    taken = inspect.signature(resolve_root).parameters
    resolve.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("root", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            *(each for key, each in taken.items() if key not in ("user_id", *_MOMENTS)),
        ]
    )
    type_ = RESOLVED[name].type_annotation.annotation
    return strawberry.field(resolve, graphql_type=type_ | None, metadata={"whose": Whose.LEARNER})


_PARTS = (
    *("user_progress", "streak", "goal", "workload"),
    *("daily_stats", "weekly_stats", "monthly_stats", "retention"),
    *("domain_stats", "level_stats", "languages"),
    *("due_forecast", "hourly_stats", "knowledge", "sessions", "lists", "tasks", "item_stats"),
)
LearnerRecord = strawberry.type(
    type(
        "LearnerRecord",
        (),
        {"__annotations__": {"id": ID}, **{name: _part(name) for name in _PARTS}},
    )
)


# The parts cost and are cached as root fields, and leave the traces.
@declare(LearnerRecord | None, Whose.LEARNER, cost=Cost(0), has_parts=True)
async def learner(
    info: Info,
    *,
    user_id: ID | None = UNSET,
    as_of: datetime | None = UNSET,
    known_at: datetime | None = UNSET,
) -> LearnerMoment:
    named = await info.context.resolve_learner(user_id)
    return LearnerMoment(ID(named), as_of or None, known_at or None)


@declare(
    types.Group | None,
    Whose.NOBODY,
    cost=Cost(types.GROUP_ROWS, rows_of=types.ROWS_OF_GROUP),
)
async def group(info: Info, group_id: ID, as_of: datetime | None = UNSET) -> groups.Group | None:
    group_id, reader = info.context.authorize_group(group_id), info.context.queries.reader
    if as_of:
        arguments.check_forecast_year(as_of)
        await groups.check_past(reader, group_id)
        return await groups.get_group(reader, group_id, at=info.context.at, as_of=as_of)
    # Read the members only if a selected number needs them: reading takes most of the query's time.
    if not _selects_standing(info.selected_fields):
        return await groups.find_name(reader, group_id)
    return await groups.get_group(reader, group_id, at=info.context.at)


def _selects_standing(nodes: Iterable[Selection]) -> bool:
    """Return whether groups' selections may include a number computed from all members."""
    selected = [one for node in nodes for one in node.selections]
    return not all(isinstance(one, SelectedField) and one.name in _CHEAP for one in selected)


@declare(types.LearnerConnection, Whose.LISTED, cost=Cost(350, rows_of={"since": 1}))
async def learners(
    info: Info,
    *,
    group_id: ID,
    order_by: groups.LearnerOrder | None = groups.LearnerOrder.AT_RISK,
    first: int | None = 50,
    after: str | None = UNSET,
    as_of: datetime | None = UNSET,
) -> pagination.Page:
    group_id = info.context.authorize_group(group_id)
    order = order_by or groups.LearnerOrder.AT_RISK
    if as_of:
        arguments.check_forecast_year(as_of)
        await groups.check_past(info.context.queries.reader, group_id)
    page = await groups.get_learners(
        info.context.queries.reader,
        group_id,
        order_by=order,
        first=arguments.parse_page_size(first),
        after=pagination.decode_ordered_key(after, groups.LearnerKey, order),
        estimates=any(_selects(node, "expectedKnown") for node in info.selected_fields),
        last_answers=any(_selects(node, "lastAnsweredAt") for node in info.selected_fields),
        weeks=any(_selects(node, "weeks") for node in info.selected_fields),
        at=info.context.at,
        as_of=as_of or None,
    )
    info.context.note(learner.user_id for _, learner in page.items)
    return pagination.build_page(page, after, order)


def _selects(node: Selection, name: str) -> bool:
    """Return whether the selection or one inside it is a field of this name."""
    return any(_find(node, name))


def _find(node: Selection, name: str) -> Iterator[SelectedField]:
    """Yield the fields of this name: the selection, and those inside it."""
    if isinstance(node, SelectedField) and node.name == name:
        yield node
    for inner in node.selections:
        yield from _find(inner, name)


@declare(
    types.GroupConnection,
    Whose.NOBODY,
    cost=Cost(200, rows_of=types.ROWS_OF_GROUP | {"tasks": 0, "coverage": 0}),  # null
)
async def groups_(
    info: Info,
    text: str | None = UNSET,
    first: int | None = 50,
    after: str | None = UNSET,
) -> pagination.Page:
    info.context.check_support()
    nodes = [node for one in info.selected_fields for node in _find(one, "node")]
    page = await groups.get_groups(
        info.context.queries.reader,
        arguments.parse_filter("text", text),
        first=arguments.parse_page_size(first),
        after=pagination.decode_key(after, groups.GroupKey),
        standings=_selects_standing(nodes),
        at=info.context.at,
    )
    return pagination.build_page(page, after)


@declare(
    types.ItemDifficultyConnection,
    Whose.NOBODY,
    cost=Cost(200, rows_with={"level": 20, "domain": 20}),
)
async def item_difficulty(
    info: Info,
    *,
    level: rows.CefrLevel | None = UNSET,
    domain: rows.Domain | None = UNSET,
    first: int | None = 50,
    after: str | None = UNSET,
) -> pagination.Page:
    info.context.caller.check_teacher()
    page = await groups.get_item_difficulty(
        info.context.queries.reader,
        level=level or None,
        domain=domain or None,
        first=arguments.parse_page_size(first),
        after=pagination.decode_key(after, rows.ItemKey),
    )
    return pagination.build_page(page, after)


@declare(
    types.EventConnection,
    Whose.TRAIL,
    cost=Cost(rows_with=dict.fromkeys(("types", "itemId", "sessionId"), 200)),
)
async def events(
    info: Info,
    *,
    user_id: ID | None = UNSET,
    types: list[str] | None = UNSET,
    day: date | None = UNSET,
    item_id: ID | None = UNSET,
    session_id: ID | None = UNSET,
    event_id: ID | None = UNSET,
    first: int | None = 50,
    after: str | None = UNSET,
) -> pagination.Page:
    names = arguments.parse_event_types(types if isinstance(types, list) else None)
    if event_id:
        others = user_id or after or day or item_id or session_id
        return await _find_event(info, event_id, names, alone=not others)
    learner = await info.context.resolve_learner(user_id, "audit trail")
    size = arguments.parse_page_size(first)
    events = await info.context.queries.get_recorded_events(
        learner,
        first=size + 1,
        types=names,
        day=arguments.parse_day("day", day),
        item_id=auth.parse_id("itemId", item_id) if isinstance(item_id, str) else None,
        session_id=auth.parse_id("sessionId", session_id) if isinstance(session_id, str) else None,
        before_version=pagination.decode_number(after),
    )
    return pagination.build_keyed_page(events, after, size, lambda event: event.stream_version)


async def _find_event(
    info: Info, event_id: str, types: list[str] | None, *, alone: bool
) -> pagination.Page:
    """Return a page of the one event of this id; it leaves the trace of its learner's trail."""
    info.context.check_support()
    if not alone:
        raise BadInput("eventId: expected no other argument beside it than types")
    found = await administration.get_recorded_event(
        info.context.queries.reader, auth.parse_id("eventId", event_id), types
    )
    for event in found:
        if event.stream_id.startswith(_LEARNER):
            info.context.noted_trails.add(event.stream_id.removeprefix(_LEARNER))
    return pagination.build_keyed_page(found, None, 1, lambda event: event.stream_version)


declare_query(rows.own_posts, cache=None)


@declare(types.AccessConnection, Whose.LEARNER)
async def accesses(
    info: Info,
    *,
    user_id: ID | None = UNSET,
    read_by: ID | None = UNSET,
    first: int | None = 50,
    after: str | None = UNSET,
) -> pagination.Page:
    context, size = info.context, arguments.parse_page_size(first)
    reader, place = context.queries.reader, pagination.decode_access(after)
    if read_by:
        context.check_admin()
        if user_id:
            raise BadInput("readBy: expected no userId beside it")
        account = auth.parse_id("readBy", read_by)
        found = await get_accesses_of(reader, account, first=size + 1, after=place)
        context.note(access.user_id for access in found[:size])
    else:
        learner = await context.resolve_learner(user_id, "list of readers")
        found = await get_accesses(reader, learner, first=size + 1, after=place)
    return pagination.build_keyed_page(found, after, size, lambda access: access)


@declare(list[types.ProjectionStatus], Whose.NOBODY, cost=Cost(30))
async def projection_status(info: Info) -> list[rows.ProjectionStatus]:
    return await info.context.queries.get_projection_status(at=info.context.at)


@declare(types.DeadLetterConnection, Whose.NOBODY, cost=Cost(50))
async def dead_letters(
    info: Info,
    kind: DeadLetterKind | None = UNSET,
    reason: str | None = UNSET,
    first: int | None = 50,
    after: str | None = UNSET,
) -> pagination.Page:
    """List the open dead letters, newest first, then the replayed ones; omit discarded ones."""
    info.context.check_admin()
    page = await administration.get_dead_letters(
        info.context.queries.reader,
        kind=kind or None,
        reason=arguments.parse_filter("reason", reason),
        first=arguments.parse_page_size(first),
        after=pagination.decode_key(after, administration.LetterKey),
    )
    return pagination.build_page(page, after)


@declare(types.list_of(administration.DeadLetterReason), Whose.NOBODY)
async def dead_letter_reasons(info: Info) -> list[administration.DeadLetterReason]:
    info.context.check_admin()
    return await administration.get_dead_letter_reasons(info.context.queries.reader)


@declare(list[types.LearnerName], Whose.LISTED, cost=Cost(200))
async def search_learners(
    info: Info, text: str, first: int | None = 20
) -> list[groups.LearnerName]:
    info.context.check_support()
    found = await groups.search_learners(
        info.context.queries.reader,
        arguments.parse_id_search(text),
        first=arguments.parse_page_size(first, default=20),
    )
    info.context.note(learner.user_id for learner in found)
    return found


@declare(types.Operation | None, Whose.NOBODY)
async def operation(info: Info, id: ID) -> Operation | None:  # noqa: A002 - the contract's name
    return await info.context.find_operation(id)


@declare(types.OperationConnection, Whose.NOBODY)
async def operations(
    info: Info, first: int | None = 20, after: str | None = UNSET
) -> pagination.Page:
    info.context.check_admin()
    size = arguments.parse_page_size(first, default=20)
    newest = await administration.get_operations(
        info.context.queries.reader,
        first=size + 1,
        before=pagination.decode_number(after),
    )
    return pagination.build_keyed_page(newest, after, size, lambda operation: operation.number)


@declare(
    list[types.Undelivered] | None,
    Whose.NOBODY,
)
async def undelivered(info: Info) -> list[Undelivered] | None:
    info.context.check_admin()
    outside = info.context.outside
    return await outside.undelivered.get() if outside else None


@declare(types.list_of(administration.Arrivals), Whose.NOBODY, cost=Cost(entries=24))
async def arrivals(info: Info) -> list[administration.Arrivals]:
    info.context.check_admin()
    return await administration.get_arrivals(info.context.queries.reader, at=info.context.at)


declare_query(rows.item_distribution, cache=CachePolicy(15, clock=True), cost=Cost(80, entries=18))


@declare(list[ID], Whose.NOBODY, cost=Cost(20), deprecated="Use groups, which finds names, too.")
async def search_groups(info: Info, text: str, first: int | None = 20) -> list[str]:
    info.context.check_support()
    return await groups.search_groups(
        info.context.queries.reader,
        arguments.parse_id_search(text),
        first=arguments.parse_page_size(first, default=20),
    )


@declare(types.list_of(administration.BlockingSession), Whose.NOBODY)
async def blocking_sessions(info: Info) -> list[administration.BlockingSession]:
    info.context.check_admin()
    return await administration.get_blocking_sessions(info.context.queries.reader)


@declare(types.list_of(administration.Shard), Whose.NOBODY, cost=Cost(30, entries=16))
async def shards(info: Info) -> list[administration.Shard]:
    info.context.check_admin()
    return await administration.get_shards(info.context.queries.reader)


@declare(types.list_of(Schedule) | None, Whose.NOBODY)
async def schedules(info: Info) -> list[Schedule] | None:
    info.context.check_admin()
    return await info.context.outside.schedules.get() if info.context.outside else None


@declare(types.type_of(administration.Release) | None, Whose.NOBODY)
async def release(info: Info) -> administration.Release | None:
    info.context.check_admin()
    return await administration.get_release(info.context.queries.reader)


for _type in (Mutation, Subscription):
    for _field in get_object_definition(_type, strict=True).fields:
        FIELDS[to_camel_case(_field.name)] = Declaration(_field.metadata["whose"])

SCHEMA = strawberry.Schema(
    strawberry.type(type("Query", (), RESOLVED)),
    Mutation,
    subscription=Subscription,
    config=StrawberryConfig(scalar_map=arguments.SCALARS, default_resolver=types.read_field),
)
# Strawberry has no public name for it, and SCHEMA.execute() would parse every document again.
GRAPHQL = SCHEMA._schema  # noqa: SLF001
descriptions.describe(GRAPHQL)
