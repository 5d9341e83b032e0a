"""The mutations: each is on disk before it is answered; what takes long is an operation."""

import asyncio
import contextlib
from datetime import datetime
from uuid import UUID

import msgspec
import strawberry
from strawberry import ID, UNSET

from progress.adapters.pubsub import wakeups
from progress.errors import BadInput, Forbidden, NotFound
from progress.operations.records import STEPS, Operation, OperationKind
from progress.query.graphql import arguments, types
from progress.query.graphql.context import Info, answers
from progress.query.read_models import dead_letters, reader
from progress.query.read_models.operations import get_operation

_SECONDS = 3.0  # for a command to be published


@strawberry.type
class Mutation:
    @answers(
        types.Operation,
        "Each starts an operation and answers at once; its progress is read with operation(id).",
    )
    async def rebuild_projections(self, info: Info, idempotency_key: ID) -> Operation:
        info.context.check_admin()
        return await _start(info, OperationKind.REBUILD, idempotency_key)

    @answers(types.Operation)
    async def run_batch(self, info: Info, idempotency_key: ID) -> Operation:
        info.context.check_admin()
        return await _start(info, OperationKind.RUN_BATCH, idempotency_key)

    @answers(types.Operation)
    async def replay_dead_letters(
        self, info: Info, ids: list[ID], idempotency_key: ID
    ) -> Operation:
        info.context.check_admin()
        numbers = await _letters(ids)
        return await _start(
            info, OperationKind.REPLAY_DEAD_LETTERS, idempotency_key, letter_ids=numbers
        )

    @answers(int)
    async def discard_dead_letters(self, info: Info, ids: list[ID], reason: str) -> int:
        info.context.check_admin()
        why = arguments.reason(reason)
        numbers = await _letters(ids)
        found = await reader.rows(
            "event_store/dead_letters", "discard all", letter_ids=numbers, reason=why
        )
        discarded: int = found[0]["discarded"]
        return discarded

    @answers(types.Operation)
    async def archive_events(
        self,
        info: Info,
        before: datetime,  # noqa: ARG002 - the contract's
        idempotency_key: ID,
    ) -> Operation:
        info.context.check_admin()
        return _not_there_yet(OperationKind.ARCHIVE, idempotency_key)

    @answers(types.Operation)
    async def erase_user(self, info: Info, user_id: ID, idempotency_key: ID) -> Operation:
        info.context.check_admin()
        arguments.identity("userId", user_id)
        return _not_there_yet(OperationKind.ERASE_USER, idempotency_key)

    @answers(types.Operation, "A learner may export their own record.")
    async def export_user(
        self, info: Info, *, user_id: ID | None = UNSET, idempotency_key: ID
    ) -> Operation:
        asked = arguments.identity("userId", user_id) if isinstance(user_id, str) else None
        if asked not in (None, info.context.caller.user_id) and not info.context.is_admin:
            raise Forbidden("a learner may export their own record only")
        return _not_there_yet(OperationKind.EXPORT_USER, idempotency_key)


async def _start(info: Info, kind: OperationKind, key: str, **given: object) -> Operation:
    """The operation that is on disk now, and its worker called, unless it is done already."""
    found = await reader.rows(
        "operations/operations",
        "accept",
        kind=kind,
        started_by=info.context.caller.user_id,
        key=arguments.identity("idempotencyKey", key),
        arguments=msgspec.json.encode(given).decode(),
        steps=list(STEPS[kind]),
    )
    accepted = found[0]
    if not accepted["is_same"]:
        raise BadInput(
            f"idempotencyKey: expected one of its own - found that of another {kind}, "
            f"{accepted['operation_id']}, with other arguments"
        )
    if not accepted["is_finished"]:
        await _call_worker(accepted["operation_id"])
    started = await get_operation(accepted["operation_id"])
    if started is None:
        raise NotFound(f"the operation {accepted['operation_id']} was erased meanwhile")
    return started


async def _call_worker(operation_id: UUID) -> None:
    """It waits a few seconds at most: a command that is lost is sent again by the batch job."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SECONDS):
            await asyncio.to_thread(wakeups.send_operations, [operation_id])


async def _letters(ids: list[ID]) -> list[int]:
    """The numbers of letters that there are."""
    numbers = arguments.letter_ids(ids)
    if unknown := await dead_letters.unknown_letters(numbers):
        told = ", ".join(map(str, unknown))
        raise NotFound(f"ids: expected ids of dead letters - found {told}, which no letter has")
    return numbers


def _not_there_yet(kind: OperationKind, key: str) -> Operation:
    arguments.identity("idempotencyKey", key)
    raise NotFound(f"operations of the kind {kind} are not there yet: nothing was started")
