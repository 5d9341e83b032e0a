"""The schema: the query fields in the contract's order, the mutations and the subscriptions.

A decorator declares each field once, with its type, arguments, SQL, cache policy and cost, and with
whose data it returns. Strawberry's resolver, the executor (`progress.query.execution.executor`),
the cache, the limits and the traces of readers read these declarations. A field about one learner
is a single SELECT, unless it needs a resolver of its own. No field that teachers read about a group
is cached, so that they cannot read the data of a learner who has left the group.
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
from progress.operations.records import Operation
from progress.query.cache.keys import CachePolicy
from progress.query.graphql import arguments, descriptions, pagination, types
from progress.query.graphql.context import Info
from progress.query.graphql.mutations import Mutation
from progress.query.graphql.subscriptions import Subscription
from progress.query.graphql.whose import Whose
from progress.query.read_models import administration, groups, rows
from progress.query.read_models.accesses import get_accesses
from progress.query.read_models.rows import Moment, RowQuery

BuildQuery = Callable[..., RowQuery[Any]]


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
_SLIPPED = 45  # It reads the reviews of the items that lapsed.
_DEFAULT_POLICY = CachePolicy(15)


class LearnerQuery(NamedTuple):
    """A function that takes a field's arguments and builds the SELECT about one learner."""

    function: BuildQuery
    parameters: Mapping[str, str]  # the function's parameter names by GraphQL argument

    def build(self, at: datetime, arguments: Mapping[str, Any]) -> RowQuery[Any]:
        """Return the SELECT for these arguments; raise BadInput if an argument is not allowed."""
        names = self.parameters
        return self.call(at, {names[name]: value for name, value in arguments.items()})

    def call(self, at: datetime, arguments: Mapping[str, Any]) -> RowQuery[Any]:
        """Return the SELECT for arguments that have the names of Python's parameters."""
        others = dict(arguments)
        moments = [others.pop(name, None) or None for name in _MOMENTS]  # UNSET: the present
        return self.function(Moment(at, *moments), **others)


_MOMENTS = ("as_of", "known_at")


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


def declare_learner_field(
    type_: object, *, cache: CachePolicy = _DEFAULT_POLICY, cost: Cost = _DEFAULT_COST
) -> Callable[[BuildQuery], Any]:
    """Declare a field about one learner that a single SELECT answers.

    The decorated function checks the arguments and returns the SQL with the values of the SQL's
    parameters. Of a field without arguments, it is that of `rows`, named `select_…`. The function's
    first parameter is the moment. The other parameters declare the field's arguments; the arguments
    `userId`, `asOf` and `knownAt` are added to them.
    """

    def decorate(build_query: BuildQuery) -> Any:
        parameters = [*list(inspect.signature(build_query).parameters.values())[1:], *_PAST]
        names = {_graphql_name(parameter): parameter.name for parameter in parameters}
        query = LearnerQuery(build_query, names)
        is_list = getattr(type_, "__origin__", None) is list

        async def answer(info: Info, learner: str, arguments: dict[str, Any]) -> Any:
            call = query.call(info.context.at, arguments)
            is_learner = info.context.caller.is_learner(learner)
            records = await info.context.queries.run(learner, call, is_learner=is_learner)
            return records if is_list else next(iter(records), None)

        resolve = _resolver(build_query.__name__.removeprefix("select_"), parameters, answer)
        return _add(resolve, Declaration(Whose.LEARNER, cache, cost, query), type_)

    return decorate


def declare_resolved_field(
    type_: object, *, cache: CachePolicy | None = None, cost: Cost = _DEFAULT_COST
) -> Callable[[Callable[..., Any]], Any]:
    """Declare a field about one learner that needs a resolver of its own.

    The decorated function takes the info, the learner and the field's arguments, to which `userId`
    is added. If it also takes the moment, as `Queries` takes it, so are `asOf` and `knownAt`.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        _, _, *own = inspect.signature(function).parameters.values()
        is_dated = any(parameter.name == "moment" for parameter in own)

        async def answer(info: Info, learner: str, arguments: dict[str, Any]) -> Any:
            if is_dated:
                past = {name: arguments.pop(name, None) or None for name in _MOMENTS}
                arguments["moment"] = {"at": info.context.at, **past}
            return await function(info, learner, **arguments)

        parameters = [one for one in own if one.name != "moment"] + _PAST * is_dated
        resolve = _resolver(function.__name__, parameters, answer)
        return _add(resolve, Declaration(Whose.LEARNER, cache, cost), type_)

    return decorate


_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_INFO = inspect.Parameter("info", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Info)
_PAST = [
    inspect.Parameter(name, _KEYWORD, default=UNSET, annotation=datetime | None)
    for name in _MOMENTS
]


def _resolver(
    name: str, parameters: list[inspect.Parameter], answer: Callable[..., Any]
) -> Callable[..., Any]:
    """Return a resolver whose signature tells Strawberry the field's arguments."""

    async def resolve(info: Info, *, user_id: Any = UNSET, **arguments: Any) -> Any:
        learner = await info.context.resolve_learner(user_id)
        return await answer(info, learner, arguments)

    resolve.__name__ = name
    resolve.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            _INFO,
            inspect.Parameter("user_id", _KEYWORD, default=UNSET, annotation=ID | None),
            *(parameter.replace(kind=_KEYWORD) for parameter in parameters),
        ]
    )
    return resolve


def _graphql_name(parameter: inspect.Parameter) -> str:
    for metadata in getattr(parameter.annotation, "__metadata__", ()):
        if name := getattr(metadata, "name", None):
            return str(name)
    return to_camel_case(parameter.name)


From = Annotated[date, strawberry.argument(name="from")]
Past = dict[str, Any]

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
    "__typename",
}


declare_learner_field(
    types.UserProgress | None,
    # `unlearned` depends on the catalogue, and the current streak depends on the local date.
    cache=CachePolicy(10, catalogue=True, clock=True, is_summary=True),
    cost=Cost(30),
)(rows.select_user_progress)


@declare_learner_field(
    types.list_of(rows.DailyStats),
    cache=CachePolicy(15, period="daily"),
)
def daily_stats(
    moment: Moment, *, from_: From, to: date, zero_fill: bool | None = False
) -> RowQuery[rows.DailyStats]:
    arguments.check_range(from_, to)
    return rows.select_daily_stats(moment, from_, to, zero_fill=bool(zero_fill))


@declare_learner_field(
    types.list_of(rows.PeriodStats),
    cache=CachePolicy(60, batch=True, period="weekly", period_days=6),
    cost=Cost(rows_of={"slippedBack": _SLIPPED}, days_per_entry=7),
)
def weekly_stats(
    moment: Moment, *, from_: From, to: date, zero_fill: bool | None = False
) -> RowQuery[rows.PeriodStats]:
    arguments.check_range(from_, to)
    return rows.select_weekly_stats(moment, from_, to, zero_fill=bool(zero_fill))


@declare_learner_field(
    types.list_of(rows.PeriodStats),
    cache=CachePolicy(30, period="monthly", period_days=30),
    cost=Cost(100, rows_per_day=1 / 7, rows_of={"slippedBack": _SLIPPED}, days_per_entry=28),
)
def monthly_stats(moment: Moment, *, from_: From, to: date) -> RowQuery[rows.PeriodStats]:
    arguments.check_range(from_, to)
    return rows.select_monthly_stats(moment, from_, to)


@declare_resolved_field(
    types.ItemStatsConnection,
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
    learner: str,
    moment: Past,
    *,
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
) -> pagination.Page:
    order = order_by or rows.ItemOrder.RECENT
    filter_ = filter or rows.ItemFilter.ALL
    span = None
    if filter_.is_dated:
        if not (from_ and to):
            today = await info.context.queries.get_today(learner, **moment)
            if to and to < today:
                raise BadInput(f"to: expected `from`, too, or a day from {today} on - found {to}")
            from_, to = from_ or today, to or today
        arguments.check_range(from_, to)
        span = (from_, to)
    elif from_ or to:
        raise BadInput(
            f"from, to: expected neither with the filter {filter_} - found {from_ or to}"
        )
    page = await info.context.queries.get_item_stats(
        learner,
        filter=filter_,
        order_by=order,
        level=level or None,
        domain=domain or None,
        list_id=arguments.parse_list("list", list_) if isinstance(list_, str) else None,
        search=arguments.parse_filter("search", search) or "",
        language=arguments.parse_language(language),
        span=span,
        first=arguments.parse_page_size(first),
        after=pagination.decode_ordered_key(after, rows.ItemKey, order),
        is_learner=info.context.caller.is_learner(learner),
        **moment,
    )
    return pagination.build_page(page, after, order)


@declare_learner_field(
    types.ItemStats | None,
    cache=CachePolicy(30, catalogue=True, clock=True, own_words=True),  # as for itemStats
)
def item(moment: Moment, *, item_id: ID) -> RowQuery[rows.ItemStats]:
    return rows.select_item(moment, auth.parse_id("itemId", item_id))


# The batch job counts the catalogue's items, so these rows change only when the job runs. The
# policy therefore needs no `catalogue`.
@declare_learner_field(types.list_of(rows.DomainStats), cache=CachePolicy(60, batch=True))
def domain_stats(moment: Moment, *, language: str | None = UNSET) -> RowQuery[rows.DomainStats]:
    return rows.select_domain_stats(moment, arguments.parse_language(language))


@declare_learner_field(
    types.list_of(rows.LevelStats), cache=CachePolicy(60, batch=True, clock=True)
)
def level_stats(moment: Moment, *, language: str | None = UNSET) -> RowQuery[rows.LevelStats]:
    return rows.select_level_stats(moment, arguments.parse_language(language))


declare_learner_field(
    types.list_of(rows.LearnerLanguage),
    cache=CachePolicy(10, catalogue=True, own_words=True),
    cost=Cost(45),
)(rows.select_languages)


declare_learner_field(types.Streak, cache=CachePolicy(5, clock=True))(rows.select_streak)


@declare_learner_field(
    types.list_of(rows.DueDay),
    # `catalogue`, because archived items are never due.
    cache=CachePolicy(10, catalogue=True, clock=True),
    cost=Cost(75),
)
def due_forecast(moment: Moment, days: int | None = 14) -> RowQuery[rows.DueDay]:
    arguments.check_forecast_year(moment.as_of or moment.known_at or moment.at)
    return rows.select_due_forecast(moment, arguments.parse_forecast_days(days))


@declare_learner_field(
    types.list_of(rows.Retention),
    cache=CachePolicy(15, period="retention", period_days=30),
    cost=Cost(2),
)
def retention(
    moment: Moment,
    *,
    from_: From,
    to: date,
    by: rows.PeriodLength | None = rows.PeriodLength.DAY,
) -> RowQuery[rows.Retention]:
    arguments.check_range(from_, to)
    return rows.select_retention(moment, from_, to, rows.PeriodLength(by or "DAY"))


declare_learner_field(types.list_of(rows.HourlyStats))(rows.select_hourly_stats)


declare_learner_field(
    types.type_of(rows.Workload),
    cache=CachePolicy(10, catalogue=True, clock=True),
    cost=Cost(75),
)(rows.select_workload)


@declare_learner_field(list[date])
def rest_days(moment: Moment, *, from_: From, to: date) -> RowQuery[date]:
    arguments.check_range(from_, to)
    return rows.select_rest_days(moment, from_, to)


declare_learner_field(types.Goal | None, cache=CachePolicy(10, clock=True))(rows.select_goal)


@declare_resolved_field(
    types.ItemHistory, cache=CachePolicy(15, clock=True), cost=Cost(4, entries=1_000)
)
async def item_history(info: Info, learner: str, moment: Past, *, item_id: ID) -> rows.ItemHistory:
    item = auth.parse_id("itemId", item_id)
    return await info.context.queries.get_item_history(learner, item, **moment)


@declare_resolved_field(
    types.Knowledge,
    # `catalogue`, because items have levels, and archived items do not fade.
    cache=CachePolicy(10, catalogue=True, clock=True),
    cost=Cost(45),
)
async def knowledge(
    info: Info,
    learner: str,
    moment: Past,
    *,
    on: date | None = UNSET,
    language: str | None = UNSET,
) -> rows.Knowledge:
    if on:
        arguments.check_years("on", on)
    tag = arguments.parse_language(language)
    return await info.context.queries.get_knowledge(learner, on or None, language=tag, **moment)


@declare_resolved_field(
    types.list_of(rows.KnowledgePoint),
    cache=CachePolicy(15, batch=True, clock=True),
    # If the learner has not studied for years, every week reads the states of all items.
    cost=Cost(60, rows_per_day=1 / 7, days_per_entry=7, entries=731),
)
async def knowledge_curve(
    info: Info, learner: str, *, from_: From, to: date
) -> list[rows.KnowledgePoint]:
    arguments.check_range(from_, to, most=arguments.MAX_CURVE_DAYS)
    return await info.context.queries.get_knowledge_curve(learner, from_, to, at=info.context.at)


@declare_resolved_field(types.SessionConnection, cache=CachePolicy(15), cost=Cost(10))
async def sessions(
    info: Info,
    learner: str,
    moment: Past,
    *,
    first: int | None = 20,
    after: str | None = UNSET,
) -> pagination.Page:
    page = await info.context.queries.get_sessions(
        learner,
        first=arguments.parse_page_size(first, default=20),
        after=pagination.decode_key(after, rows.SessionKey),
        is_counted=any(_selects(node, "totalCount") for node in info.selected_fields),
        **moment,
    )
    return pagination.build_page(page, after)


@declare_resolved_field(
    types.StudySession | None,
    cache=CachePolicy(15, catalogue=True, own_words=True),  # headwords
    cost=Cost(30, entries=1_000),
)
async def session(
    info: Info,
    learner: str,
    moment: Past,
    *,
    id: ID,  # noqa: A002 - the contract's word
) -> rows.StudySession | None:
    return await info.context.queries.get_session(
        learner,
        auth.parse_id("id", id),
        is_learner=info.context.caller.is_learner(learner),
        **moment,
    )


@declare_resolved_field(
    types.list_of(rows.MasteryPoint),
    cache=CachePolicy(15, batch=True, clock=True),
    cost=Cost(21, days_per_entry=7, entries=731),
)
async def mastery_curve(
    info: Info, learner: str, *, from_: From, to: date
) -> list[rows.MasteryPoint]:
    arguments.check_range(from_, to, most=arguments.MAX_CURVE_DAYS)
    return await info.context.queries.get_mastery_curve(learner, from_, to, at=info.context.at)


@declare_resolved_field(
    types.Calibration | None,
    cache=CachePolicy(60, batch=True, clock=True),
    cost=Cost(4, entries=10),
)
async def calibration(info: Info, learner: str) -> rows.Calibration | None:
    return await info.context.queries.get_calibration(learner, at=info.context.at)


@declare(types.Calibration | None, Whose.NOBODY, cost=Cost(1_000, entries=10))
async def calibration_of_all(info: Info) -> rows.Calibration | None:
    info.context.check_support()
    return await info.context.queries.get_calibration_of_all(at=info.context.at)


@declare_learner_field(
    types.list_of(rows.RecallPoint),
    cache=CachePolicy(15, clock=True),
    cost=Cost(8, entries=2_000),
)
def item_forgetting(
    moment: Moment, *, item_id: ID, days: int | None = 30
) -> RowQuery[rows.RecallPoint]:
    arguments.check_forecast_year(moment.as_of or moment.known_at or moment.at)
    item = auth.parse_id("itemId", item_id)
    return rows.select_item_forgetting(moment, item, arguments.parse_days_ahead(days))


@declare_resolved_field(
    types.MilestoneConnection,
    # `batch`, because the batch job computes the levels.
    cache=CachePolicy(15, batch=True),
    cost=Cost(8),
)
async def milestones(
    info: Info,
    learner: str,
    *,
    kinds: list[rows.MilestoneKind] | None = UNSET,
    first: int | None = 50,
    after: str | None = UNSET,
) -> pagination.Page:
    page = await info.context.queries.get_milestones(
        learner,
        kinds=kinds if isinstance(kinds, list) else None,
        first=arguments.parse_page_size(first),
        after=pagination.decode_key(after, rows.MilestoneKey),
    )
    return pagination.build_page(page, after)


@declare_resolved_field(types.type_of(rows.LocalDay), cache=CachePolicy(15))
async def local_day(info: Info, learner: str, *, date: date) -> rows.LocalDay:
    arguments.check_day(date)
    return await info.context.queries.get_local_day(learner, date)


@declare_resolved_field(types.WordListConnection, cache=None, cost=Cost(100))
async def lists(
    info: Info,
    learner: str,
    moment: Past,
    *,
    scale: str | None = UNSET,
    first: int | None = 20,
    after: str | None = UNSET,
) -> pagination.Page:
    caller = info.context.caller
    page = await info.context.queries.get_lists(
        learner,
        scale=arguments.parse_scale(scale),
        first=arguments.parse_lists_size(first),
        after=pagination.decode_key(after, rows.ListKey),
        is_learner=caller.is_learner(learner),
        groups=caller.groups if caller.needs_membership(learner) else None,
        **moment,
    )
    return pagination.build_page(page, after)


@declare_resolved_field(types.WordList | None, cache=None, cost=Cost(100, rows_of={"members": 60}))
async def list_(info: Info, learner: str, moment: Past, *, list_id: ID) -> rows.FoundList | None:
    return await info.context.queries.get_list(
        learner,
        arguments.parse_list("listId", list_id),
        is_learner=info.context.caller.is_learner(learner),
        **moment,
    )


@declare_resolved_field(types.list_of(rows.Scale), cost=Cost(10, entries=100))
async def scales(info: Info, learner: str) -> list[rows.Scale]:
    is_learner = info.context.caller.is_learner(learner)
    return await info.context.queries.get_scales(learner, is_learner=is_learner)


@declare_resolved_field(list[types.ItemList], cost=Cost(2, entries=50))
async def item_lists(info: Info, learner: str, *, item_id: ID) -> list[rows.ItemList]:
    item = auth.parse_id("itemId", item_id)
    is_learner = info.context.caller.is_learner(learner)
    return await info.context.queries.get_item_lists(learner, item, is_learner=is_learner)


@declare_resolved_field(types.LearnerTaskConnection, cost=Cost(100))
async def tasks(
    info: Info,
    learner: str,
    *,
    first: int | None = 20,
    after: str | None = UNSET,
) -> pagination.Page:
    caller, size = info.context.caller, arguments.parse_tasks_size(first)
    found = await info.context.queries.get_tasks(
        learner,
        first=size + 1,
        after=pagination.decode_key(after, rows.TaskKey),
        groups=caller.groups if caller.needs_membership(learner) else None,
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
    cost=Cost(200, rows_of=types.ROWS_OF_GROUP | {"tasks": 0}),  # they are null here
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
    cost=Cost(rows_with={"types": 200}),
)
async def events(
    info: Info,
    user_id: ID | None = UNSET,
    types: list[str] | None = UNSET,
    first: int | None = 50,
    after: str | None = UNSET,
) -> pagination.Page:
    learner = await info.context.resolve_learner(user_id, "audit trail")
    size = arguments.parse_page_size(first)
    events = await info.context.queries.get_recorded_events(
        learner,
        first=size + 1,
        types=arguments.parse_event_types(types if isinstance(types, list) else None),
        before_version=pagination.decode_number(after),
    )
    return pagination.build_keyed_page(events, after, size, lambda event: event.stream_version)


@declare_resolved_field(types.OwnPosts)
async def own_posts(info: Info, learner: str) -> rows.OwnPosts:
    return await info.context.queries.get_own_posts(learner)


@declare(types.AccessConnection, Whose.LEARNER)
async def accesses(
    info: Info, user_id: ID | None = UNSET, first: int | None = 50, after: str | None = UNSET
) -> pagination.Page:
    learner = await info.context.resolve_learner(user_id, "list of readers")
    size = arguments.parse_page_size(first)
    found = await get_accesses(
        info.context.queries.reader,
        learner,
        first=size + 1,
        after=pagination.decode_access(after),
    )
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


declare_learner_field(
    types.list_of(rows.ItemCount),
    cache=CachePolicy(15, clock=True),
    cost=Cost(80, entries=18),
)(rows.select_item_distribution)


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
