"""The table of the root query fields. Each field is declared once, by a decorator.

A declaration holds the field's SQL, parameters, type, cache policy and cost. Strawberry's resolver,
the compiled path (`progress.query.execution.compiled`), the cache and the limits read this table.
"""

import inspect
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import strawberry
from strawberry import ID, UNSET
from strawberry.utils.str_converters import to_camel_case

from progress.query.cache.policy import CachePolicy
from progress.query.graphql.context import Info
from progress.query.read_models.rows import RowQuery

BuildQuery = Callable[..., RowQuery[Any]]


class Cost(NamedTuple):
    """The number of rows that a field reads, in thousands, and the length of its list.

    The numbers are for a learner with 200,000 events and 20,000 items; `bench/expensive.py`
    measures them. `rows_with` contains the additional rows that a field reads if an argument is
    given. If several such arguments are given, only the largest number counts. `rows_of` contains
    the additional rows that each selection of a nested list reads.
    """

    rows: int = 1
    rows_with: Mapping[str, int] = {}
    rows_per_day: float = 0  # Thousands of rows for each day of the range.
    rows_of: Mapping[str, int] = {}
    days_per_entry: int = 1  # The smallest number of days between two entries of the list.
    entries: int | None = None  # The length of the list, if no argument limits it.


_DEFAULT_COST = Cost()


class LearnerQuery(NamedTuple):
    """A function that takes a field's arguments and builds the SELECT about one learner."""

    function: BuildQuery
    parameters: Mapping[str, str]  # the function's parameter names by GraphQL argument

    def build(self, at: datetime, arguments: Mapping[str, Any]) -> RowQuery[Any]:
        """Return the SELECT for these arguments; raise BadInput if an argument is not allowed."""
        names = self.parameters
        return self.function(at, **{names[name]: value for name, value in arguments.items()})


class Declaration(NamedTuple):
    """The cache policy, the cost and the SQL of a root query field."""

    cache: CachePolicy | None = None  # None: not cached
    cost: Cost = _DEFAULT_COST
    sql: LearnerQuery | None = None  # if None, only the executor runs the field


FIELDS: dict[str, Declaration] = {}
RESOLVED: dict[str, Any] = {}  # Strawberry's fields by Python name, in the order of the schema
UNDECLARED = Declaration()  # __typename, __schema, __type


def declare(
    type_: object, *, cache: CachePolicy | None = None, cost: Cost = _DEFAULT_COST
) -> Callable[[Callable[..., Any]], Any]:
    """Declare a field that only the executor runs. The decorated function is its resolver."""

    def decorate(resolve: Callable[..., Any]) -> Any:
        return _add(resolve, Declaration(cache, cost), type_)

    return decorate


def _add(resolve: Callable[..., Any], declaration: Declaration, type_: object) -> Any:
    name = resolve.__name__
    FIELDS[to_camel_case(name)] = declaration
    RESOLVED[name] = strawberry.field(resolve, graphql_type=type_)
    return RESOLVED[name]


def declare_learner_field(
    type_: object, *, cache: CachePolicy, cost: Cost = _DEFAULT_COST
) -> Callable[[BuildQuery], Any]:
    """Declare a field about one learner that the compiled path resolves with a single SELECT.

    The decorated function checks the arguments and returns the SQL with the values of the SQL's
    parameters. The function's first parameter is the current time. The other parameters declare the
    field's arguments; the argument `userId` is added to them.
    """

    def decorate(build_query: BuildQuery) -> Any:
        parameters = list(inspect.signature(build_query).parameters.values())[1:]
        names = {_graphql_name(parameter): parameter.name for parameter in parameters}
        resolve = _resolver(
            build_query, parameters, is_list=getattr(type_, "__origin__", None) is list
        )
        declaration = Declaration(cache, cost, LearnerQuery(build_query, names))
        return _add(resolve, declaration, type_)

    return decorate


def _resolver(
    build_query: BuildQuery, parameters: list[inspect.Parameter], *, is_list: bool
) -> Callable[..., Any]:
    """Return a resolver whose signature tells Strawberry the field's arguments."""

    async def resolve(_: object, info: Info, user_id: Any = UNSET, **arguments: Any) -> Any:
        context = info.context
        learner = await context.resolve_learner(user_id)
        records = await context.queries.run(learner, build_query(context.at, **arguments))
        return records if is_list else next(iter(records), None)

    keyword = inspect.Parameter.KEYWORD_ONLY
    resolve.__name__ = build_query.__name__
    resolve.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY),
            inspect.Parameter("info", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Info),
            inspect.Parameter("user_id", keyword, default=UNSET, annotation=ID | None),
            *(parameter.replace(kind=keyword) for parameter in parameters),
        ]
    )
    return resolve


def _graphql_name(parameter: inspect.Parameter) -> str:
    for metadata in getattr(parameter.annotation, "__metadata__", ()):
        if name := getattr(metadata, "name", None):
            return str(name)
    return to_camel_case(parameter.name)
