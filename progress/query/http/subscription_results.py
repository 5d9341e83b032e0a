"""Results of a subscription: the same JSON as the executor's, but written without the executor."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, cast

import orjson
from graphql import (
    DocumentNode,
    ExecutionResult,
    Executor,
    FieldNode,
    GraphQLObjectType,
    located_error,
)
from graphql.execution import execute_subscription_event

from progress.errors import RequestRejected
from progress.query.execution import execute, plans, selections
from progress.query.execution.access_log import RequestLog
from progress.query.execution.selections import GRAPHQL, Field
from progress.query.graphql import types
from progress.query.http import responses

_FORMAT = orjson.OPT_UTC_Z
_SUBSCRIPTION = cast("GraphQLObjectType", GRAPHQL.subscription_type)

_RESOLVED = {"download"}  # fields that a resolver computes, because records do not have them

SubscriptionResult = Callable[[object], Coroutine[Any, Any, bytes]]
_Getter = Callable[[Any], Any]


def compile_result(
    tree: DocumentNode, executor: Executor[Any], log: RequestLog
) -> SubscriptionResult:
    """Return a function that converts a state to the JSON of the subscription's result."""
    variables = executor.variable_values.coerced

    def execute_event(state: object) -> Coroutine[Any, Any, bytes]:
        return _execute(executor, state, log)

    if any(variables.get(name) is None for name in plans.directive_variables(tree)):
        return execute_event
    fragments = {name: fragment.definition for name, fragment in executor.fragments.items()}
    selected = [executor.operation.selection_set]
    (field,) = selections.collect_fields(selected, _SUBSCRIPTION, fragments, variables)
    if any(member.name in _RESOLVED for member in field.selections):
        return execute_event
    get, json_prefix = _compile_object(field), b'{"data":{' + orjson.dumps(field.key) + b":"

    async def write(state: object) -> bytes:
        return json_prefix + orjson.dumps(get(state), option=_FORMAT) + b"}}"

    return write


def write_error(executor: Executor[Any], error: RequestRejected, log: RequestLog) -> bytes:
    """Return the JSON of a result that reports the error at the subscription's field."""
    node = next(_field_nodes(executor))
    located = located_error(error, [node], [(node.alias or node.name).value])
    return responses.body(execute.to_response(ExecutionResult(None, [located]), log))


def _field_nodes(executor: Executor[Any]) -> Iterator[FieldNode]:
    """Yield the nodes of the subscription's field, which may be in fragments."""
    fragments = {name: fragment.definition for name, fragment in executor.fragments.items()}
    variables = executor.variable_values.coerced
    selected = [executor.operation.selection_set]
    for field in selections.collect_fields(selected, _SUBSCRIPTION, fragments, variables):
        yield from field.nodes


async def _execute(executor: Executor[Any], state: object, log: RequestLog) -> bytes:
    result = execute_subscription_event(executor.build_per_event_executor(state))
    if not isinstance(result, ExecutionResult):
        result = await result
    return responses.body(execute.to_response(result, log))


def _compile_object(field: Field) -> _Getter:
    """Return a function that reads the selected members of a row, or of each row of a list."""
    members = [
        (member.key, _compile_member(member, field.type_name)) for member in field.selections
    ]

    def get(row: object) -> dict[str, Any] | None:
        return None if row is None else {key: get_member(row) for key, get_member in members}

    return (lambda rows: [get(row) for row in rows]) if field.is_list else get


def _compile_member(field: Field, parent: str) -> _Getter:
    if field.name == "__typename":
        return lambda _: parent
    name = field.column
    if field.nodes[0].selection_set is None:
        return lambda row: types.read_field(row, name)
    get = _compile_object(field)
    return lambda row: get(getattr(row, name))
