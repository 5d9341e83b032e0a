"""The parts of a query: its root fields, each answered by itself, kept by itself, and joined."""

import asyncio
import contextlib
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import msgspec
import orjson
from graphql import OperationType

from progress.api import executor, limits
from progress.api.context import Context
from progress.api.executor import Asked
from progress.api.plans import Operation, Root
from progress.api.selections import Unusual
from progress.caching import cache
from progress.caching.cache import Cache, Computed, Looked, Question
from progress.errors import Refused, Unavailable

Values = Mapping[str, Any]


class Part(msgspec.Struct, frozen=True):
    """A root field with its arguments; `question` is None where the answer is not kept."""

    root: Root
    arguments: Values
    user_id: str
    question: Question | None


def split(operation: Operation, given: Values | None, context: Context) -> list[Part]:
    """The parts of a query; none where it is no query, or unusual, or refused.

    TooComplex where its lists are too long in all.
    """
    if operation.kind is not OperationType.QUERY:
        return []
    try:
        variables = operation.variables(given)
        asked = [(root, root.arguments(variables)) for root in operation.roots(variables)]
    except Unusual:
        return []
    limits.check_complexity(sum(root.complexity(arguments) for root, arguments in asked))
    try:
        return [_part(root, arguments, context) for root, arguments in asked]
    except (Unusual, Refused):
        return []


def _part(root: Root, given: dict[str, Any] | None, context: Context) -> Part:
    if given is None:
        raise Unusual
    user_id = context.learner(given.pop("userId", None))
    question = cache.question(root.field.name, user_id, given, root.told)
    return Part(root, given, user_id, question)


class Joint(msgspec.Struct, frozen=True):
    """What the parts of one request share."""

    asked: Asked
    context: Context
    cache: Cache
    looked: Looked

    async def answered(self, parts: Sequence[Part]) -> bytes | None:
        """The data of all the parts, None where one has none."""
        kept = iter(self.looked.found)
        found = [next(kept) if part.question else part.root.constant for part in parts]
        if None in found:
            waiting = [self._tried(*each) for each in zip(parts, found, strict=True)]
            found = await asyncio.gather(*waiting) if len(parts) > 1 else [await waiting[0]]
        if not parts or None in found:
            return None
        entries = [
            part.root.opening + (data or b"") for part, data in zip(parts, found, strict=True)
        ]
        return b"{" + b",".join(entries) + b"}"

    async def _tried(self, part: Part, found: bytes | None) -> bytes | None:
        """Its answer; None where the executor has to find what is wrong, and to tell it."""
        if found is not None:
            return found
        with contextlib.suppress(Unusual, Refused, Unavailable, asyncpg.PostgresError):
            return await self._answer(part)
        return None

    async def _answer(self, part: Part) -> bytes:
        tells = part.root.tells
        compute = functools.partial(self._computed, part, tells=tells)
        if part.question is None:
            return (await compute()).data
        return await self.cache.answer(self.looked, part.question, compute, tells=tells)

    async def _computed(self, part: Part, *, tells: bool) -> Computed:
        compiled = part.root.compiled
        if compiled is None or not compiled.takes(part.arguments):
            return Computed(await self._executed(part.root))
        return await compiled.answered(part.user_id, part.arguments, self.context.at, tells=tells)

    async def _executed(self, root: Root) -> bytes:
        """The part as the executor answers it; Unusual where there are errors."""
        result = await executor.executed(root.tree, self.asked, self.context)
        if result.errors or result.data is None:
            raise Unusual
        return orjson.dumps(result.data[root.field.key])
