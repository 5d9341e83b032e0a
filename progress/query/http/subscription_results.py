"""What a subscription tells of a state: the executor's very result, at a fraction of its cost."""

from collections.abc import Callable, Coroutine
from typing import Any, cast

import orjson
from graphql import DocumentNode, ExecutionResult, Executor, GraphQLObjectType
from graphql.execution import execute_subscription_event

from progress.query.execution import execute, plans, selections
from progress.query.execution.selections import GRAPHQL, Field
from progress.query.graphql import types
from progress.query.http import responses

_FORMAT = orjson.OPT_UTC_Z
_SUBSCRIPTION = cast("GraphQLObjectType", GRAPHQL.subscription_type)

Rendering = Callable[[object], Coroutine[Any, Any, bytes]]
_Reading = Callable[[Any], Any]


def rendering(tree: DocumentNode, executor: Executor[Any], trace: str) -> Rendering:
    """Writes the result for a state; `trace` is a W3C traceparent."""
    variables = executor.variable_values.coerced
    if any(variables.get(switch) is None for switch in plans.switches(tree)):
        return lambda state: _executed(executor, state, trace)
    fragments = {name: each.definition for name, each in executor.fragments.items()}
    asked = [executor.operation.selection_set]
    (field,) = selections.collected(asked, _SUBSCRIPTION, fragments, variables)
    read, opening = _object(field), b'{"data":{' + orjson.dumps(field.key) + b":"

    async def rendered(state: object) -> bytes:
        return opening + orjson.dumps(read(state), option=_FORMAT) + b"}}"

    return rendered


async def _executed(executor: Executor[Any], state: object, trace: str) -> bytes:
    result = execute_subscription_event(executor.build_per_event_executor(state))
    if not isinstance(result, ExecutionResult):
        result = await result
    return responses.body(execute.told(result, trace))


def _object(field: Field) -> _Reading:
    """Reads what is asked of a row, or of each of several."""
    members = [(each.key, _member(each, field.shape)) for each in field.inside]

    def read(row: object) -> dict[str, Any] | None:
        return None if row is None else {key: member(row) for key, member in members}

    return (lambda rows: [read(row) for row in rows]) if field.is_many else read


def _member(field: Field, parent: str) -> _Reading:
    if field.name == "__typename":
        return lambda _: parent
    name = field.column
    if field.nodes[0].selection_set is None:
        return lambda row: types.read(row, name)
    inside = _object(field)
    return lambda row: inside(getattr(row, name))
