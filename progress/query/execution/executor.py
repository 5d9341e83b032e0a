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
from progress.query.cache.responses import ComputedEntry, Lookup, ResponseCache
from progress.query.execution import fields
from progress.query.execution.compiled import InvalidRows
from progress.query.execution.fields import Place, RequestedField
from progress.query.graphql.context import Context


class _ResolverFailed(Exception):
    """There are errors instead of a result that can be cached."""


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
    _found: Mapping[Place, bytes | None]
    _cache: ResponseCache
    _lookup: Lookup

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

    def answer_alone(
        self, asked: Sequence[RequestedField], cache: ResponseCache, lookup: Lookup
    ) -> None:
        """Answer these fields with what `lookup` has found for their keys; compute the others."""
        self._fields = {field.planned.place: field for field in asked}
        cached = (field.planned.place for field in asked if field.cache_key)
        self._found = dict(zip(cached, lookup.entries, strict=True))
        self._cache, self._lookup = cache, lookup

    async def run(self) -> ExecutionResult:
        """Run the operation once."""
        result = self.execute_operation()
        if self.is_awaitable(result):
            result = await result
        if self._fields:  # the executor refers to itself, and lives until a garbage collection
            self._found, self._lookup.entries = {}, []
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
        data = self._found.get(place)
        if data is not None:
            return orjson.Fragment(data)
        return self._answer(
            field, Call(parent_type, source, field_details_list, path, position_context)
        )

    async def _answer(self, field: RequestedField, call: Call) -> Any:
        try:
            return orjson.Fragment(await self._compute_or_join(field, call))
        except Unavailable as error:  # the resolver does not run: it would probably fail, too
            return_type = field.planned.definition.type
            self.handle_field_error(error, return_type, call.details, call.path)
        except (_ResolverFailed, InvalidRows, RequestRejected, StatementFailed):
            return await self.resolve(call)

    async def resolve(self, call: Call) -> Any:
        """Return the value that graphql-core makes of the resolver's result."""
        value = super().execute_field(*call)
        return await value if self.is_awaitable(value) else value

    async def _compute_or_join(self, field: RequestedField, call: Call) -> bytes:
        # The SELECT reads the learner's version only if Redis did not have it, because reading the
        # version takes 20 % of the SELECT's time.
        versioned = (
            field.compiled is not None
            and field.planned.returns_version
            and self._lookup.versions.learners.get(field.user_id) is None
        )
        compute = functools.partial(self._compute, field, call, versioned=versioned)
        if field.cache_key is None:
            return (await compute()).data
        return await self._cache.get_or_compute(
            self._lookup, field.cache_key, compute, returns_version=versioned
        )

    async def _compute(
        self, field: RequestedField, call: Call, *, versioned: bool
    ) -> ComputedEntry:
        """Return the field's JSON. Raise an error that other requests, which wait for it, share."""
        context: Context = self.context_value
        if field.compiled:
            return await field.compiled.run(
                context.queries.reader,
                field.user_id,
                field.arguments,
                context.at,
                versioned=versioned,
            )
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
        return ComputedEntry(orjson.dumps(value))
