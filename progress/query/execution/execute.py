"""From a GraphQL request to its answer: the data as JSON, and the errors in the API's codes.

Each root field of a query is a part that is answered by itself: kept, compiled, or by the executor.
The executor answers the whole of an unusual request, and each part in which something goes wrong,
so that what is said of an error is always the executor's. No part is answered again that had no
answer from the database.
"""

import functools
from collections.abc import Sequence
from typing import Any

import msgspec
import orjson
from graphql import ExecutionResult, GraphQLError, OperationType

from progress.errors import Forbidden, QueryTooComplex
from progress.query.cache.cache import AnswerCache
from progress.query.cache.versions import ProjectedTo
from progress.query.execution import access_log, documents, executor, root_fields
from progress.query.execution import errors as graphql_errors
from progress.query.execution.documents import Document
from progress.query.execution.executor import Asked
from progress.query.execution.root_fields import Joint, Outcome, Part
from progress.query.graphql import types
from progress.query.graphql.context import Context

__all__ = ["Answer", "Asked", "answered", "is_query", "told"]


class Answer(msgspec.Struct, frozen=True):
    """A GraphQL response in its parts; `data` is JSON, None where there is to be no such entry.

    `executed` is false where the request was refused before execution.
    """

    data: bytes | None
    errors: list[dict[str, Any]] = []
    extensions: dict[str, Any] = {}
    executed: bool = True


def is_query(asked: Asked, *, introspection: bool) -> bool:
    """Whether it only reads; true also for what is not understood, which the answer will say."""
    document = documents.read(asked.query, introspection=introspection)
    return document.is_query(asked.operation_name)


async def answered(
    asked: Asked,
    context: Context,
    *,
    cache: AnswerCache,
    introspection: bool,
    trace: str,
    bypass: bool = False,
) -> Answer:
    """The response; each error has a code, and one of ours is masked and logged.

    RateLimited where the caller has asked too often. With `bypass` no cached answer is used.
    `trace` is a W3C traceparent.
    """
    document = documents.read(asked.query, introspection=introspection)
    asks = _asks(document, asked, context)
    pieces = [] if isinstance(asks, Answer) else asks
    keys = [part.cache_key for part in pieces if part.cache_key]
    caller = context.caller.user_id if not asked.is_counted else None
    lookup = await cache.lookup(caller, keys, at=context.at, bypass=bypass)
    if isinstance(asks, Answer):
        return asks
    answer = await _joined(document, pieces, Joint(asked, context, cache, lookup), trace)
    if keys and not answer.errors:  # what cannot be answered could not have been kept
        access_log.note_cache(lookup.result)
    return answer


async def _joined(document: Document, pieces: Sequence[Part], joint: Joint, trace: str) -> Answer:
    """The answer of all the parts; the executor's where there are none."""
    is_constant = bool(pieces) and all(part.root.constant for part in pieces)
    projected_to = None if is_constant else await joint.cache.versions.projected_to()
    if pieces:
        answer = _merged(pieces, await joint.outcomes(pieces), trace)
    else:
        answer = told(await executor.executed(document.whole, joint.asked, joint.context), trace)
    if is_constant:
        return answer
    # A hit where all that can be kept was: some questions are about the very moment.
    is_hit = bool(pieces) and not answer.errors and joint.lookup.result == "hit"
    told_more = _extensions(projected_to, is_hit=is_hit)
    return Answer(answer.data, answer.errors, told_more, answer.executed)


def _merged(pieces: Sequence[Part], outcomes: Sequence[Outcome], trace: str) -> Answer:
    """The answer of the parts: no data where one of them may not be null and is."""
    entries: list[bytes] = []
    errors: list[GraphQLError] = []
    for part, outcome in zip(pieces, outcomes, strict=True):
        if isinstance(outcome, bytes):
            entries.append(part.root.opening + outcome)
            continue
        errors += outcome.errors or ()
        if outcome.data is None:
            return _erred(None, errors, trace)
        entries.append(part.root.opening + orjson.dumps(outcome.data[part.root.field.key]))
    return _erred(b"{" + b",".join(entries) + b"}", errors, trace)


def _erred(data: bytes | None, errors: Sequence[GraphQLError], trace: str) -> Answer:
    """The answer with its errors told; without data where one of them is FORBIDDEN."""
    if any(isinstance(fault.original_error, Forbidden) for fault in errors):
        data = None
    return Answer(
        b"null" if data is None else data, [graphql_errors.told(each, trace) for each in errors]
    )


def _asks(document: Document, asked: Asked, context: Context) -> list[Part] | Answer:
    """The parts of what is asked, none where it has none; or the answer where it is refused."""
    if document.tree is None:
        return Answer(None, document.errors, executed=False)
    operation = document.operation(asked.operation_name)
    if operation is None:
        return []
    if operation.kind is OperationType.MUTATION:
        access_log.note_kind("mutation")
    if operation.kind is OperationType.SUBSCRIPTION and context.live_queries is None:
        return _refusal([GraphQLError("expected a query: subscriptions are for /graphql/stream")])
    try:
        return root_fields.split(operation, asked.variables, context)
    except QueryTooComplex as fault:
        return _refusal([GraphQLError(str(fault), original_error=fault)])


@functools.lru_cache(maxsize=4)  # it changes once a second
def _extensions(projected_to: ProjectedTo | None, *, is_hit: bool) -> dict[str, Any]:
    """The cache's part in the answer, and how far the projections had come at least."""
    found: dict[str, Any] = {"cache": "HIT" if is_hit else "MISS"}
    if projected_to is not None:
        time = projected_to.time and types.written(projected_to.time)
        found["projectedTo"] = {"position": projected_to.position, "time": time}
    return found


def told(result: ExecutionResult, trace: str) -> Answer:
    """The answer that a result comes to; `trace` is a W3C traceparent."""
    if not result.errors:
        return Answer(orjson.dumps(result.data))
    if all(fault.path is None for fault in result.errors):  # variables, the operation's name
        return _refusal(result.errors)
    data = None if result.data is None else orjson.dumps(result.data)
    return _erred(data, result.errors, trace)


def _refusal(found: Sequence[GraphQLError]) -> Answer:
    """The answer to a request that is none."""
    return Answer(None, [graphql_errors.refused(each) for each in found], executed=False)
