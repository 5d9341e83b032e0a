"""The traces that a response leaves: the learners whose data it holds, and who reads it.

They are on disk before the response leaves. A field that ended in an error holds no data.
"""

from collections.abc import Sequence

from graphql import ExecutionResult

from progress.query.execution import fields
from progress.query.execution.fields import Place, RequestedField
from progress.query.graphql.context import Context
from progress.query.graphql.whose import Whose


async def write(asked: Sequence[RequestedField], context: Context, result: ExecutionResult) -> None:
    """Write who reads the result of these fields; raise Unavailable if this is impossible."""
    if not (context.noted or context.noted_trails or any(field.learner for field in asked)):
        return  # as most requests: about the caller
    named: dict[Whose, set[str]] = {
        Whose.LEARNER: {*context.noted},
        Whose.TRAIL: {*context.noted_trails},
    }
    context.noted.clear()
    context.noted_trails.clear()
    for field in asked:
        planned = field.planned
        learners = named.get(planned.whose) if planned.is_answer else None
        if learners is not None and field.learner and _holds(result, planned.place):
            learners.add(field.learner)
    await context.trace.write(context.caller, *named.values())


def _holds(result: ExecutionResult, place: Place) -> bool:
    """Return whether the result has the value of this field, which may be null, and no error."""
    holder = fields.value_at(result, place[:-1])
    if holder is None:
        return False
    return holder[place[-1]] is not None or all(
        tuple(error.path or ())[: len(place)] != place for error in result.errors or ()
    )
