"""The fields that can be answered alone, from the cache or by one SELECT: root fields and parts.

A part is a field of `learner`, which names the learner and the moment for all of its parts
(`Declaration.has_parts`). It has the arguments of both fields. Costs, limits and cache keys are
those of a field, not of its place: a part has those of the root field with the same name.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from graphql import ExecutionResult, Executor, GraphQLError, get_argument_values
from graphql.execution import VariableValues
from graphql.pyutils import Path

from progress.auth import Caller
from progress.errors import RequestRejected
from progress.query.cache.keys import CacheKey, cache_key
from progress.query.execution import limits, selection
from progress.query.execution.compiled import Columns, find_columns
from progress.query.execution.selection import Field
from progress.query.graphql.arguments import parse_language
from progress.query.graphql.schema import FIELDS, UNDECLARED, LearnerQuery
from progress.query.read_models import as_of, groups
from progress.query.read_models.reader import Reader

Place = tuple[str | int, ...]  # the response keys from the root to a root field or a part
Values = Mapping[str, Any]
Compiled = tuple[LearnerQuery, Columns]
Shares = Mapping[str, groups.Share]  # see `groups.get_shares`

_OF_GROUPS = ("group", "groups", "learners")  # fields whose rows depend on the size of groups


def place_of(path: Path) -> Place | None:
    """Return the place of a root field, or of a field of a root field; None for other fields."""
    parent = path.prev
    if parent is None:
        return (path.key,)
    return (parent.key, path.key) if parent.prev is None else None


def value_at(result: ExecutionResult, place: Place) -> Any:
    """Return the value at this place; None where the value, or that of a parent, is null."""
    value: Any = result.data
    for key in place:
        value = value[key] if value else None
    return value


class PlannedField:
    """A root field or a part, and what does not depend on the arguments."""

    def __init__(self, field: Field, parent: Field | None = None) -> None:
        self.name, self.definition = field.name, field.definition
        self._fields = (parent, field) if parent else (field,)
        self.place: Place = tuple(each.key for each in self._fields)
        self.selection = field.canonical_text()
        declaration = FIELDS.get(field.name, UNDECLARED)
        self.cost, self.whose = declaration.cost, declaration.whose
        # False for `learner` itself, and for its id and the name of its type.
        self.is_answer = not (declaration.has_parts or (parent and declaration is UNDECLARED))
        self.cache = declaration.cache if field.is_valid else None
        self.compiled: Compiled | None = None  # None if the field's resolver must run
        columns = find_columns(field) if declaration.sql and field.is_valid else None
        if declaration.sql and columns:
            self.compiled = declaration.sql, columns
        self._weight, self._entry_weight = limits.weigh(field)
        self._nested_rows, self._entry_rows = limits.rows_of_selections(self.cost.rows_of, field)
        asked = [each for each in field.selections if each.name == "tasks"]  # of a group
        self.tasks = len(asked)
        # The words of the tasks cost as much as their members.
        self.task_reads = self.tasks + sum(each.count("words") for each in asked)
        self.texts = sum(each.name == "coverage" for each in (field, *field.selections))

    def arguments(self, variables: VariableValues) -> dict[str, Any] | None:
        """Return the arguments that have a value or a default, by name.

        Return None if a value is invalid; graphql-core reports the error, and reads nothing.
        """
        arguments: dict[str, Any] = {}
        try:
            for field in self._fields:
                if field.definition.args:
                    arguments |= get_argument_values(field.definition, field.node, variables)
        except GraphQLError:
            return None
        return arguments

    def complexity(self, arguments: Values) -> int:
        """Return the maximum number of fields that this field adds to the response."""
        if not self._entry_weight:
            return self._weight
        return self._weight + self._entry_weight * limits.count_entries(self.cost, arguments)

    def rows_to_read(self, arguments: Values, shares: Shares | None = None) -> int:
        """Return the number of rows that the field may read, in thousands.

        Without the shares of groups, each may be large.
        """
        rows: float = self._nested_rows + limits.rows_to_read(self.cost, arguments)
        entries: float = limits.count_entries(self.cost, arguments) if self._entry_rows else 0
        if shares is not None and self.name in _OF_GROUPS:
            if "groupId" in arguments:
                share = shares.get(arguments["groupId"], groups.Share())
                rows -= self.tasks * self.cost.rows_of.get("tasks", 0)
                rows = rows * share.size + self.task_reads * share.task_rows
            else:
                sizes = sorted((share.size for share in shares.values()), reverse=True)
                entries = sum(sizes[: int(entries)])
        return round(rows + self._entry_rows * entries)


def plan(executor: Executor[Any]) -> tuple[PlannedField, ...]:
    """Return the root fields and the parts of an operation, in the order of the response.

    Return none if graphql-core cannot collect the root fields; it then reports the error.
    """
    try:
        return tuple(_plan(selection.collect(executor)))
    except GraphQLError:
        return ()


def _plan(roots: Sequence[Field]) -> Iterator[PlannedField]:
    for root in roots:
        if FIELDS.get(root.name, UNDECLARED).has_parts:
            yield PlannedField(msgspec.structs.replace(root, selections=()))
            yield from (PlannedField(part, root) for part in root.selections)
        else:
            yield PlannedField(root)


class RequestedField(msgspec.Struct, frozen=True):
    """A planned field with its arguments, for every caller or (see `request`) for one.

    `learner` is the argument `userId`, if it has a value. `cache_key` is None if the field is not
    cacheable, and `compiled` if its resolver must run, as for each field about the past.
    """

    planned: PlannedField
    learner: str | None
    arguments: Values
    user_id: str = ""  # the learner whom the field is about
    is_learner: bool = False  # whether the caller is the learner
    cache_key: CacheKey | None = None
    compiled: Compiled | None = None

    async def select(self, compiled: Compiled, reader: Reader, at: datetime) -> bytes:
        """Return the field's JSON; raise InvalidRows if graphql-core would report an error."""
        sql, columns = compiled
        query = sql.build(self.user_id, at, self.arguments, is_learner=self.is_learner)
        columns.check_types(await reader.column_types(query.file, query.block))
        parameters = {**query.parameters, "now": query.moment.now}
        rows = await reader.fetch_columns(query.file, query.block, columns.text, parameters)
        return columns.to_json(rows)


def coerce(plan: Sequence[PlannedField], variables: VariableValues) -> tuple[RequestedField, ...]:
    """Return the fields whose arguments are valid."""
    coerced = []
    for planned in plan:
        arguments = planned.arguments(variables)
        if arguments is not None:
            coerced.append(RequestedField(planned, arguments.pop("userId", None), arguments))
    return tuple(coerced)


def check_cost(coerced: Sequence[RequestedField], shares: Shares | None = None) -> None:
    """Raise QueryTooComplex if a query of these fields would cost too much.

    It may not return too many fields, read too many rows or ask about too many moments. `shares`
    are those that `rows_to_read` takes.
    """
    complexity = rows = 0
    moments = set()
    for field in coerced:
        complexity += field.planned.complexity(field.arguments)
        rows += field.planned.rows_to_read(field.arguments, shares)
        if moment := limits.moment_key(field.learner, field.arguments):
            moments.add(moment)
    limits.check_complexity(complexity)
    limits.check_texts(sum(field.planned.texts for field in coerced))
    as_of.check_moments(len(moments))
    limits.check_rows(rows, len(moments))


def groups_of(coerced: Sequence[RequestedField]) -> set[str | None]:
    """Return the groups of these fields; None stands for a list of all groups."""
    return {each.arguments.get("groupId") for each in coerced if each.planned.name in _OF_GROUPS}


def request(coerced: Sequence[RequestedField], caller: Caller) -> list[RequestedField]:
    """Return the caller's fields, without those whose resolvers must run or say what is wrong."""
    return [field for each in coerced if (field := _request(each, caller))]


def _normalize(arguments: Values) -> Values:
    """Return arguments with a language in the form in which equal ones share an entry."""
    language = parse_language(arguments["language"])
    others = {name: value for name, value in arguments.items() if name != "language"}
    return others if language is None else {**others, "language": language}


def _request(coerced: RequestedField, caller: Caller) -> RequestedField | None:
    planned = coerced.planned
    if not (planned.cache or planned.compiled):
        return None
    try:
        user_id = caller.authorize(coerced.learner)
        arguments = coerced.arguments
        if "language" in arguments:
            arguments = _normalize(arguments)
    except RequestRejected:
        return None
    is_past = arguments.get("asOf") is not None or arguments.get("knownAt") is not None
    compiled = None if is_past else planned.compiled
    of = planned.cache, planned.name, user_id, arguments, planned.selection
    is_learner = caller.is_learner(user_id)
    key = cache_key(*of, is_learner=is_learner)
    if not (key or compiled):
        return None
    return RequestedField(planned, coerced.learner, arguments, user_id, is_learner, key, compiled)
