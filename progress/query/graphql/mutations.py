"""The mutations. Each is committed before its response; long work becomes an operation."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
import strawberry
from strawberry import ID, UNSET

from progress import auth
from progress.adapters.pubsub import wakeups
from progress.errors import BadInput, Forbidden, InstanceUnavailable, NotFound, RateLimited
from progress.operations import export_files, records
from progress.operations.export_files import (
    MAX_BYTES,
    Estimate,
    FileFormat,
    StatisticsArguments,
    StatisticsTable,
)
from progress.operations.records import ARCHIVE_SUBJECT, PLANS, Operation, OperationKind
from progress.query import own_events
from progress.query.graphql import arguments, learner_mutations, types
from progress.query.graphql.context import Info
from progress.query.graphql.learner_mutations import PublishedEvent
from progress.query.graphql.task_mutations import RecordedTask, TaskCall
from progress.query.graphql.whose import Whose
from progress.query.read_models import administration

_MAX_EXPORTS = 5  # exports of a learner's record within 24 hours


def _mutation(type_: object, whose: Whose) -> Callable[[Any], Any]:
    """Declare a mutation of this type; the method returns a record with the type's fields."""
    field: Callable[[Any], Any] = strawberry.field(graphql_type=type_, metadata={"whose": whose})
    return field


@strawberry.type
class Mutation:
    @_mutation(types.Operation, Whose.NOBODY)
    async def rebuild_projections(self, info: Info, idempotency_key: ID) -> Operation:
        info.context.check_admin()
        return await _start(info, OperationKind.REBUILD, idempotency_key, subject="read models")

    @_mutation(types.Operation, Whose.NOBODY)
    async def run_batch(self, info: Info, idempotency_key: ID) -> Operation:
        info.context.check_admin()
        return await _start(info, OperationKind.RUN_BATCH, idempotency_key, subject="batch")

    @_mutation(types.Operation, Whose.NOBODY)
    async def replay_dead_letters(
        self, info: Info, ids: list[ID], idempotency_key: ID
    ) -> Operation:
        info.context.check_admin()
        numbers = await _existing_letters(info, ids)
        return await _start(
            info, OperationKind.REPLAY_DEAD_LETTERS, idempotency_key, letter_ids=numbers
        )

    @_mutation(int, Whose.NOBODY)
    async def discard_dead_letters(self, info: Info, ids: list[ID], reason: str) -> int:
        info.context.check_admin()
        text = arguments.parse_reason(reason)
        numbers = await _existing_letters(info, ids)
        rows = await info.context.queries.reader.fetch(
            "event_store/dead_letters", "discard letters", letter_ids=numbers, reason=text
        )
        discarded: int = rows[0]["discarded"]
        return discarded

    @_mutation(types.Operation, Whose.NOBODY)
    async def archive_events(
        self,
        info: Info,
        before: datetime,
        idempotency_key: ID,
    ) -> Operation:
        info.context.check_admin()
        return await _start(
            info, OperationKind.ARCHIVE, idempotency_key, subject=ARCHIVE_SUBJECT, before=before
        )

    @_mutation(types.Operation, Whose.NOBODY)
    async def erase_user(self, info: Info, user_id: ID, idempotency_key: ID) -> Operation:
        info.context.check_admin()
        learner = auth.parse_id("userId", user_id)
        auth.parse_id("idempotencyKey", idempotency_key)
        if erased := await _find_erasure(info, learner):
            return erased
        return await _start(
            info, OperationKind.ERASE_USER, idempotency_key, subject=learner, user_id=learner
        )

    @_mutation(types.Operation, Whose.LEARNER)
    async def export_user(
        self, info: Info, *, user_id: ID | None = UNSET, idempotency_key: ID
    ) -> Operation:
        learner = _authorize_export(info, user_id)
        await _check_record(info, learner)
        return await _start(
            info,
            OperationKind.EXPORT_USER,
            idempotency_key,
            subject=learner,
            daily_limit=None if info.context.is_admin else _MAX_EXPORTS,
            user_id=learner,
        )

    @_mutation(types.Operation, Whose.NOBODY)
    async def export_statistics(
        self,
        info: Info,
        *,
        table: StatisticsTable,
        from_: Annotated[date | None, strawberry.argument(name="from")] = UNSET,
        to: date | None = UNSET,
        learners: list[ID] | None = UNSET,
        format: FileFormat | None = FileFormat.CSV,  # noqa: A002 - the contract's word
        idempotency_key: ID,
    ) -> Operation:
        info.context.check_support()
        request = _parse_statistics(
            table,
            format or FileFormat.CSV,
            learners if isinstance(learners, list) else None,
            from_ or None,
            to or None,
        )
        await _check_statistics(info, request)
        return await _start(
            info,
            OperationKind.EXPORT_STATISTICS,
            idempotency_key,
            subject=info.context.caller.user_id,
            is_shared=False,
            role=info.context.caller.role,  # the worker writes whose rows the caller reads
            **msgspec.structs.asdict(request),
        )

    @_mutation(types.PublishedEvent, Whose.NOBODY)
    async def set_goal(
        self, info: Info, answers_per_day: int, idempotency_key: ID
    ) -> PublishedEvent:
        given = {"answers_per_day": answers_per_day}
        return await _record(info, "setGoal", idempotency_key, "GoalSet", **given)

    @_mutation(types.PublishedEvent, Whose.NOBODY)
    async def take_rest_day(self, info: Info, date: date, idempotency_key: ID) -> PublishedEvent:
        given = {"date": date.isoformat()}
        return await _record(info, "takeRestDay", idempotency_key, "RestDayTaken", **given)

    @_mutation(types.PublishedEvent, Whose.NOBODY)
    async def set_item_aside(
        self, info: Info, item_id: ID, aside: bool, idempotency_key: ID
    ) -> PublishedEvent:
        kind = "ItemSetAside" if aside else "ItemResumed"
        given = {"item_id": auth.parse_id("itemId", item_id)}
        return await _record(info, "setItemAside", idempotency_key, kind, **given)

    @_mutation(types.PublishedEvent, Whose.NOBODY)
    async def retract_event(self, info: Info, event_id: ID, idempotency_key: ID) -> PublishedEvent:
        given = {"retracted_event_id": auth.parse_id("eventId", event_id)}
        return await _record(info, "retractEvent", idempotency_key, "EventRetracted", **given)

    @_mutation(types.TaskSet, Whose.NOBODY)
    async def set_task(
        self, info: Info, *, group_id: ID, name: str, item_ids: list[ID], due_on: date,
        idempotency_key: ID,
    ) -> RecordedTask:  # fmt: skip
        given = {"name": name, "item_ids": item_ids, "due_on": due_on}
        return await _set(info, "setTask", group_id, idempotency_key, **given)

    @_mutation(types.TaskSet, Whose.NOBODY)
    async def assign_list(
        self, info: Info, group_id: ID, list_id: ID, due_on: date, idempotency_key: ID
    ) -> RecordedTask:
        given = {"list_id": list_id, "due_on": due_on}
        return await _set(info, "assignList", group_id, idempotency_key, **given)

    @_mutation(types.TaskSet, Whose.NOBODY)
    async def unassign_list(
        self, info: Info, group_id: ID, list_id: ID, idempotency_key: ID
    ) -> RecordedTask:
        return await _set(info, "unassignList", group_id, idempotency_key, list_id=list_id)

    @_mutation(types.Operation, Whose.NOBODY)
    async def cancel_operation(
        self,
        info: Info,
        id: ID,  # noqa: A002 - the contract's word
    ) -> Operation:
        operation = await _existing_operation(info, arguments.parse_operation_id(id))
        cancelled = await _change(
            info, "cancel", UUID(operation.id), caller=info.context.caller.user_id
        )
        if cancelled is None:
            raise BadInput(
                f"id: expected an unfinished operation before its point of no return - found one "
                f"that is {operation.state}"
            )
        return cancelled

    @_mutation(types.Operation, Whose.NOBODY)
    async def retry_operation(
        self,
        info: Info,
        id: ID,  # noqa: A002 - the contract's word
    ) -> Operation:
        info.context.check_admin()
        operation = await _existing_operation(info, arguments.parse_operation_id(id))
        limit_s = PLANS[operation.kind].time_limit_s
        retried = await _change(info, "retry", UUID(operation.id), time_limit_s=limit_s)
        if retried is None:
            raise BadInput(
                "id: expected an operation that failed after its point of no return, and no other "
                "unfinished operation about the same subject - found an operation that is "
                f"{operation.state}"
            )
        return retried


async def _record(
    info: Info, mutation: str, given_key: ID, event_type: str, **data: object
) -> PublishedEvent:
    key = auth.parse_id("idempotencyKey", given_key)
    event = learner_mutations.build(info.context.caller.user_id, mutation, key, event_type, **data)
    if info.context.events is None:
        raise InstanceUnavailable("only the query function records events")
    return await info.context.events.record(event, info.context.at)


async def _set(info: Info, mutation: str, group_id: ID, key: ID, **given: Any) -> RecordedTask:
    info.context.caller.check_group(group_id)
    call = TaskCall(info.context.caller.user_id, mutation, key, group_id, **given).check()
    if info.context.tasks is None:
        raise InstanceUnavailable("only the query function records events")
    return await info.context.tasks.record(call, info.context.reader, info.context.at)


async def _find_erasure(info: Info, learner: str) -> Operation | None:
    """Return the operation that erased the learner; raise NotFound for an unknown learner."""
    reader = info.context.queries.reader
    rows = await reader.fetch("operations/erasure_rows", "find erasure", learner=learner)
    if operation_id := rows[0]["operation_id"]:
        return await _existing_operation(info, operation_id)
    if not rows[0]["is_known"]:
        raise NotFound("userId: expected a learner with events - found none")
    return None


async def _start(
    info: Info,
    kind: OperationKind,
    key: str,
    *,
    subject: str | None = None,
    daily_limit: int | None = None,
    is_shared: bool = True,
    **parameters: object,
) -> Operation:
    """Start an operation, or find an existing one; call a worker if the operation is unfinished.

    Return the caller's existing operation of this kind with this key, or else an unfinished
    operation of this kind about this subject. Raise BadInput if an older operation conflicts (see
    `_check_accepted`). Raise NotFound for an erased caller or learner. Raise RateLimited if the
    caller has started `daily_limit` operations about the subject within 24 hours. Failed operations
    do not count.
    """
    values = records.accept_values(
        kind,
        caller=info.context.caller.user_id,
        key=auth.parse_id("idempotencyKey", key),
        subject=subject,
        daily_limit=daily_limit,
        **parameters,
    )
    reader = info.context.queries.reader
    (accepted,) = await reader.fetch("operations/operations", "accept", **values)
    _check_accepted(kind, accepted, daily_limit=daily_limit, is_shared=is_shared)
    if not accepted["is_finished"]:
        called = [accepted["operation_id"]]
        await own_events.wake(wakeups.send_operations, called)
    return await _existing_operation(info, accepted["operation_id"])


def _check_accepted(
    kind: OperationKind, accepted: Mapping[str, Any], *, daily_limit: int | None, is_shared: bool
) -> None:
    """Raise RateLimited above the daily limit, NotFound for the erased, BadInput for a conflict.

    An older operation conflicts if it has the same key, but other arguments. Without `is_shared`,
    an unfinished operation conflicts if it has the same subject, but other arguments.
    """
    if accepted["retry_after_s"] is not None:
        reason = f"expected at most {daily_limit} exports within 24 hours: try again later"
        raise RateLimited(reason, accepted["retry_after_s"])
    if accepted["operation_id"] is None:
        raise NotFound("expected a caller and a learner who are not erased")
    if not accepted["is_same"] and accepted["by_key"]:
        raise BadInput(
            f"idempotencyKey: expected a new key - found the key of another {kind}, "
            f"{accepted['operation_id']}, with other arguments"
        )
    if not accepted["is_same"] and not is_shared:
        raise BadInput(
            f"expected one unfinished {kind} at a time - found {accepted['operation_id']}: "
            "wait until it ends, or cancel it"
        )


async def _change(info: Info, block: str, operation_id: UUID, **values: object) -> Operation | None:
    """Run the SQL block and call a worker; return None if the block changed nothing."""
    rows = await info.context.queries.reader.fetch(
        "operations/operations", block, operation_id=operation_id, **values
    )
    if rows[0]["version"] is None:
        return None
    await own_events.wake(wakeups.send_operations, [operation_id])
    return await _existing_operation(info, operation_id)


async def _existing_operation(info: Info, operation_id: UUID) -> Operation:
    """Return the operation; raise NotFound if it is missing or the caller may not see it."""
    operation = await info.context.find_operation(str(operation_id))
    if operation is None:
        raise NotFound(f"id: expected the id of an operation - found {operation_id}")
    return operation


async def _existing_letters(info: Info, ids: list[ID]) -> list[int]:
    """Return the numbers of the dead letters; raise NotFound if a dead letter does not exist."""
    numbers = arguments.parse_letter_ids(ids)
    if unknown := await administration.list_unknown_ids(info.context.queries.reader, numbers):
        listed = ", ".join(map(str, unknown))
        raise NotFound(f"ids: expected ids of dead letters - found unknown ids {listed}")
    return numbers


def _authorize_export(info: Info, user_id: ID | None) -> str:
    """Return the requested learner; raise Forbidden if the caller may not export the record."""
    caller = info.context.caller
    learner = auth.parse_id("userId", user_id) if isinstance(user_id, str) else caller.user_id
    if caller.role == "support":
        raise Forbidden("support may not export a record")
    if learner != caller.user_id and not info.context.is_admin:
        raise Forbidden("a learner may export their own record only")
    return learner


async def _check_record(info: Info, learner: str) -> None:
    rows = await info.context.queries.reader.fetch(
        "operations/export_user", "check", learner=learner
    )
    if not rows[0]["is_known"]:
        raise NotFound("userId: expected a learner with events - found none")
    estimate = export_files.estimate_user(rows[0]["events"], rows[0]["event_bytes"])
    advice = "ask the operator for a copy of the log"
    _check_estimate("userId", estimate, OperationKind.EXPORT_USER, advice)


def _parse_statistics(
    table: StatisticsTable,
    format_: FileFormat,
    learners: list[ID] | None,
    first_day: date | None,
    last_day: date | None,
) -> StatisticsArguments:
    if first_day and last_day and first_day > last_day:
        raise BadInput(f"from: expected a day not later than `to` - found {first_day}, {last_day}")
    if (first_day or last_day) and not table.has_days:
        raise BadInput(f"from, to: expected only with DAILY or WEEKLY - found with {table}")
    return StatisticsArguments(
        table, format_, arguments.parse_learners(learners), first_day, last_day
    )


async def _check_statistics(info: Info, request: StatisticsArguments) -> None:
    rows = await info.context.queries.reader.fetch(
        "operations/export_statistics",
        f"estimate {request.table.lower()}",
        learners=request.learners,
        first_day=request.first_day,
        last_day=request.last_day,
    )
    expected = export_files.read_rows(msgspec.json.decode(rows[0][0]))
    estimate = export_files.estimate_statistics(request.table, request.format, expected)
    advice = "choose fewer days or learners, and make several requests"
    arguments_ = "from, to, learners" if request.table.has_days else "learners"
    _check_estimate(arguments_, estimate, OperationKind.EXPORT_STATISTICS, advice)


def _check_estimate(names: str, estimate: Estimate, kind: OperationKind, advice: str) -> None:
    max_seconds = PLANS[kind].steps[0].timeout_s
    if estimate.seconds > max_seconds or estimate.bytes > MAX_BYTES:
        raise BadInput(
            f"{names}: expected an export of at most {max_seconds:,.0f} s and 1 GiB - found about "
            f"{estimate.seconds:,.0f} s and {estimate.bytes / MAX_BYTES:.1f} GiB: {advice}"
        )
