"""The root fields of a query; the cache, the compiled path or the executor resolves each field."""

import asyncio
import functools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
import orjson
from graphql import ExecutionResult, OperationType, is_non_null_type, located_error

from progress.errors import RequestRejected, StatementFailed, Unavailable
from progress.query.cache.cache import AnswerCache, ComputedAnswer, Lookup
from progress.query.cache.policy import CacheKey, cache_key
from progress.query.execution import executor, limits
from progress.query.execution.executor import GraphQLRequest
from progress.query.execution.plans import Operation, PlannedField
from progress.query.execution.selections import QUERY, Fallback
from progress.query.graphql.context import Context
from progress.query.read_models import as_of

Values = Mapping[str, Any]
Outcome = bytes | ExecutionResult


class RootField(msgspec.Struct, frozen=True):
    """A planned field with its arguments; `cache_key` is None if the field is not cacheable."""

    planned: PlannedField
    arguments: Values
    user_id: str
    cache_key: CacheKey | None

    @property
    def is_compiled(self) -> bool:
        """True if the compiled path can run the field."""
        compiled = self.planned.compiled
        return compiled is not None and compiled.accepts(self.arguments)


def plan(operation: Operation, sent: Values | None, context: Context) -> list[RootField]:
    """Return the root fields of a query; [] if only the executor can run the operation.

    Raise QueryTooComplex if the query would return too many fields, read too many rows or need too
    many folds.
    """
    if operation.kind is not OperationType.QUERY:
        return []
    try:
        variables = operation.coerce_variables(sent)
        fields = [(field, field.arguments(variables)) for field in operation.root_fields(variables)]
    except Fallback:
        return []
    limits.check_complexity(sum(field.complexity(arguments) for field, arguments in fields))
    limits.check_rows(sum(field.rows_to_read(arguments) for field, arguments in fields))
    folds = {fold for _, arguments in fields if (fold := limits.fold_key(arguments))}
    as_of.check_folds(len(folds))
    try:
        return [_root_field(field, arguments, context) for field, arguments in fields]
    except (Fallback, RequestRejected):
        return []


def _root_field(
    planned: PlannedField, arguments: dict[str, Any] | None, context: Context
) -> RootField:
    if arguments is None:
        raise Fallback
    user_id = context.name_learner(arguments.pop("userId", None))
    key = cache_key(
        planned.declaration.cache, planned.field.name, user_id, arguments, planned.selection
    )
    return RootField(planned, arguments, user_id, key)


class QueryExecution(msgspec.Struct, frozen=True):
    """The execution of one request's root fields."""

    request: GraphQLRequest
    context: Context
    cache: AnswerCache
    lookup: Lookup

    async def run(self, fields: Sequence[RootField]) -> list[Outcome]:
        """Return the JSON of each field, or the executor's result for a field with errors."""
        cached = iter(self.lookup.answers)
        values = [next(cached) if field.cache_key else field.planned.constant for field in fields]
        if None not in values:
            return cast("list[Outcome]", values)
        runs = [self._run(field, value) for field, value in zip(fields, values, strict=True)]
        return await asyncio.gather(*runs) if len(fields) > 1 else [await runs[0]]

    async def _run(self, field: RootField, value: bytes | None) -> Outcome:
        if value is not None:
            return value
        if field.cache_key is None and not field.is_compiled:
            return await self._execute(field)
        try:
            return await self._compute_or_join(field)
        except Unavailable as error:
            return _fail(field, error)  # not run again: a second run would probably fail, too
        except (Fallback, RequestRejected, StatementFailed):
            return await self._execute(field)  # the executor reports the error

    async def _compute_or_join(self, field: RootField) -> bytes:
        # The SELECT reads the learner's version only if Redis did not have it, because reading the
        # version takes 20 % of the SELECT's time.
        versioned = (
            field.planned.returns_version
            and self.lookup.versions.learners.get(field.user_id) is None
        )
        compute = functools.partial(self._compute, field, versioned=versioned)
        if field.cache_key is None:
            return (await compute()).data
        return await self.cache.get_or_compute(
            self.lookup, field.cache_key, compute, returns_version=versioned
        )

    async def _compute(self, field: RootField, *, versioned: bool) -> ComputedAnswer:
        if field.is_compiled and (compiled := field.planned.compiled):
            context = self.context
            return await compiled.run(
                context.queries.reader,
                field.user_id,
                field.arguments,
                context.at,
                versioned=versioned,
            )
        outcome = await self._execute(field)
        if isinstance(outcome, bytes):
            return ComputedAnswer(outcome)
        raise _cause(outcome)

    async def _execute(self, field: RootField) -> Outcome:
        """Run the field with the executor."""
        planned = field.planned
        result = await executor.execute_document(planned.tree, self.request, self.context)
        if result.errors or result.data is None:
            return result
        return orjson.dumps(result.data[planned.field.key])


def _fail(root_field: RootField, cause: Exception) -> ExecutionResult:
    """Return what the executor would return if the field raised this exception."""
    field = root_field.planned.field
    error = located_error(cause, list(field.nodes), [field.key])
    is_non_null = is_non_null_type(QUERY.fields[field.name].type)
    return ExecutionResult(None if is_non_null else {field.key: None}, [error])


def _cause(result: ExecutionResult) -> Exception:
    """Return the first error that is an Unavailable; if there is none, a Fallback.

    After a Fallback, the executor runs the field again.
    """
    causes = [error.original_error for error in result.errors or ()]
    return next((cause for cause in causes if isinstance(cause, Unavailable)), Fallback())
