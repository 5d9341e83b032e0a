"""The parts of a query: its root fields, each answered by itself, kept by itself, and joined."""

import asyncio
import functools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import asyncpg
import msgspec
import orjson
from graphql import ExecutionResult, OperationType, is_non_null_type, located_error

from progress.errors import RequestRejected, Unavailable
from progress.query.cache.cache import AnswerCache, ComputedAnswer, Lookup
from progress.query.cache.policy import CacheKey, cache_key
from progress.query.execution import executor, limits
from progress.query.execution.executor import Asked
from progress.query.execution.plans import Operation, Root
from progress.query.execution.selections import QUERY, Unusual
from progress.query.graphql.context import Context
from progress.query.read_models import as_of

Values = Mapping[str, Any]
Outcome = bytes | ExecutionResult


class Part(msgspec.Struct, frozen=True):
    """A root field with its arguments; `cache_key` is None where the answer is not cached."""

    root: Root
    arguments: Values
    user_id: str
    cache_key: CacheKey | None

    @property
    def is_compiled(self) -> bool:
        """Whether one SELECT answers it."""
        return self.root.compiled is not None and self.root.compiled.takes(self.arguments)


def split(operation: Operation, given: Values | None, context: Context) -> list[Part]:
    """The parts of a query; none where it is no query, or unusual, or refused.

    QueryTooComplex where its lists are too long in all, or it reads or folds too much.
    """
    if operation.kind is not OperationType.QUERY:
        return []
    try:
        variables = operation.variables(given)
        asked = [(root, root.arguments(variables)) for root in operation.roots(variables)]
    except Unusual:
        return []
    limits.check_complexity(sum(root.complexity(arguments) for root, arguments in asked))
    limits.check_reading(sum(limits.reading(root.field.name, given) for root, given in asked))
    as_of.check_folds(len({each for _, arguments in asked if (each := limits.fold(arguments))}))
    try:
        return [_part(root, arguments, context) for root, arguments in asked]
    except (Unusual, RequestRejected):
        return []


def _part(root: Root, given: dict[str, Any] | None, context: Context) -> Part:
    if given is None:
        raise Unusual
    user_id = context.learner(given.pop("userId", None))
    key = cache_key(root.field.name, user_id, given, root.told)
    return Part(root, given, user_id, key)


class Joint(msgspec.Struct, frozen=True):
    """What the parts of one request share."""

    asked: Asked
    context: Context
    cache: AnswerCache
    lookup: Lookup

    async def outcomes(self, parts: Sequence[Part]) -> list[Outcome]:
        """The data of each part, or the executor's result where that has errors."""
        kept = iter(self.lookup.answers)
        found = [next(kept) if part.cache_key else part.root.constant for part in parts]
        if None not in found:
            return cast("list[Outcome]", found)
        waiting = [self._outcome(*each) for each in zip(parts, found, strict=True)]
        return await asyncio.gather(*waiting) if len(parts) > 1 else [await waiting[0]]

    async def _outcome(self, part: Part, found: bytes | None) -> Outcome:
        if found is not None:
            return found
        if part.cache_key is None and not part.is_compiled:
            return await self._executed(part)
        try:
            return await self._answer(part)
        except Unavailable as fault:
            return _failed(part, fault)  # it was asked until the deadline: it is not asked again
        except (Unusual, RequestRejected, asyncpg.PostgresError):
            return await self._executed(part)  # it finds what is wrong, and tells it

    async def _answer(self, part: Part) -> bytes:
        # A version that Redis had labels the answer: to read it again is a fifth of the statement.
        returns_version = (
            part.root.returns_version and self.lookup.versions.learners.get(part.user_id) is None
        )
        compute = functools.partial(self._computed, part, returns_version=returns_version)
        if part.cache_key is None:
            return (await compute()).data
        return await self.cache.get_or_compute(
            self.lookup, part.cache_key, compute, returns_version=returns_version
        )

    async def _computed(self, part: Part, *, returns_version: bool) -> ComputedAnswer:
        if part.is_compiled and (compiled := part.root.compiled):
            at = self.context.at
            return await compiled.answered(
                part.user_id, part.arguments, at, returns_version=returns_version
            )
        outcome = await self._executed(part)
        if isinstance(outcome, bytes):
            return ComputedAnswer(outcome)
        raise _cause(outcome)

    async def _executed(self, part: Part) -> Outcome:
        """The part as the executor answers it."""
        result = await executor.executed(part.root.tree, self.asked, self.context)
        if result.errors or result.data is None:
            return result
        return orjson.dumps(result.data[part.root.field.key])


def _failed(part: Part, fault: Exception) -> ExecutionResult:
    """The executor's result for a part whose field fails."""
    field = part.root.field
    error = located_error(fault, list(field.nodes), [field.key])
    is_null = is_non_null_type(QUERY.fields[field.name].type)
    return ExecutionResult(None if is_null else {field.key: None}, [error])


def _cause(result: ExecutionResult) -> Exception:
    """Unavailable where that is among the errors; Unusual where the executor has to tell them."""
    causes = [each.original_error for each in result.errors or ()]
    return next((each for each in causes if isinstance(each, Unavailable)), Unusual())
