"""The executor: graphql-core's, except for the values of fields that can be answered alone.

The value of such a field is JSON from the cache or from one SELECT. orjson inserts it into the
response as it is. If it cannot be computed, the field's resolver runs, so that each error comes
from graphql-core.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import orjson
from graphql import ExecutionResult, Executor, GraphQLError, GraphQLObjectType
from graphql.execution.collect_fields import FieldDetails
from graphql.pyutils import Path

from progress.errors import RequestRejected, StatementFailed, Unavailable
from progress.query.cache.responses import Compute, Lookup, ResponseCache
from progress.query.execution import fields
from progress.query.execution.compiled import InvalidRows
from progress.query.execution.fields import Compiled, Place, RequestedField
from progress.query.graphql.context import Context


class _ResolverFailed(Exception):
    """There are errors instead of a result that can be cached."""


class Answers:
    """The fields of a request that can be answered alone, and their values as far as known."""

    def __init__(
        self,
        asked: Sequence[RequestedField],
        context: Context,
        cache: ResponseCache,
        lookup: Lookup,
    ) -> None:
        """`lookup` has looked up the cacheable ones of these fields."""
        self._context, self._cache, self._lookup = context, cache, lookup
        entries = iter(lookup.entries)
        self.fields = {field.planned.place: field for field in asked}
        self.found = {
            field.planned.place: entry
            for field in asked
            if field.cache_key and (entry := next(entries)) is not None
        }

    async def select(self, field: RequestedField, compiled: Compiled) -> bytes:
        """Return the JSON of a field with SQL."""
        of = compiled, self._context.queries.reader, self._context.at
        return await self.share(field, functools.partial(field.select, *of))

    async def share(self, field: RequestedField, compute: Compute) -> bytes:
        """Compute the field's JSON, or share the computation of another request."""
        if field.cache_key is None:
            return await compute()
        return await self._cache.get_or_compute(self._lookup, field.cache_key, compute)


class Call(NamedTuple):
    """The arguments of `execute_field`."""

    parent_type: GraphQLObjectType
    source: Any
    details: list[FieldDetails]
    path: Path
    position: None


class FieldExecutor(Executor[None]):
    """graphql-core's executor; it overrides `execute_field`, which is not public."""

    _fields: Mapping[Place, RequestedField] = {}
    _answers: Answers

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # No resolver uses these bound methods. With them, the executor would refer to itself, and
        # live until a garbage collection.
        self.async_helpers = cast("Any", None)

    def copy_for(self, context: Context) -> "FieldExecutor":
        """Return an executor of the same operation with the same variables."""
        return type(self)(
            self.schema,
            self.fragment_definitions,
            self.fragments,
            None,
            context,
            self.operation,
            self.variable_values,
            self.field_resolver,
            self.type_resolver,
            self.subscribe_field_resolver,
        )

    async def run(self, answers: Answers) -> ExecutionResult:
        """Run the operation once, with these answers."""
        self._fields, self._answers = answers.fields, answers
        result = self.execute_operation()
        if self.is_awaitable(result):
            result = await result
        return cast("ExecutionResult", result)

    def execute_field(
        self,
        parent_type: GraphQLObjectType,
        source: Any,
        field_details_list: list[FieldDetails],
        path: Path,
        position_context: None,
    ) -> Any:
        """Return the field's value, or an awaitable of it."""
        place = fields.place_of(path)
        field = self._fields.get(place) if place else None
        if place is None or field is None:
            return super().execute_field(
                parent_type, source, field_details_list, path, position_context
            )
        data = self._answers.found.get(place)
        if data is not None:
            return orjson.Fragment(data)
        return self._answer(
            field, Call(parent_type, source, field_details_list, path, position_context)
        )

    async def _answer(self, field: RequestedField, call: Call) -> Any:
        try:
            if field.compiled:
                data = await self._answers.select(field, field.compiled)
            else:
                data = await self._answers.share(field, functools.partial(self._compute, call))
            return orjson.Fragment(data)
        except Unavailable as error:  # the resolver does not run: it would probably fail, too
            return_type = field.planned.definition.type
            self.handle_field_error(error, return_type, call.details, call.path)
        except (_ResolverFailed, InvalidRows, RequestRejected, StatementFailed):
            return await self.resolve(call)

    async def resolve(self, call: Call) -> Any:
        """Return the value that graphql-core makes of the resolver's result."""
        value = super().execute_field(*call)
        return await value if self.is_awaitable(value) else value

    async def _compute(self, call: Call) -> bytes:
        """Return the field's JSON. Raise an error that other requests, which wait for it, share."""
        apart = cast("FieldExecutor", self.build_per_event_executor(self.root_value))
        errors = apart.collected_errors.errors  # the copy collects its own errors
        try:
            value = await apart.resolve(call)
        except GraphQLError as error:
            errors.append(error)
        causes = [error.original_error for error in errors]
        if causes:
            raise next(
                (cause for cause in causes if isinstance(cause, Unavailable)), _ResolverFailed()
            )
        return orjson.dumps(value)
