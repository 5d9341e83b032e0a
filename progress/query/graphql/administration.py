"""The fields that administrators read: dead letters and operations."""

from strawberry import ID, UNSET

from progress.adapters.pubsub.undelivered import Undelivered
from progress.event_store.dead_letter_record import DeadLetterKind
from progress.operations.records import Operation, OperationKind
from progress.query.graphql import arguments, pagination, types
from progress.query.graphql.context import Info
from progress.query.graphql.fields import Cost, declare
from progress.query.read_models import dead_letters as letters
from progress.query.read_models import operations as started


@declare(types.DeadLetterConnection, "Administrators only.", cost=Cost(50))
async def dead_letters(
    info: Info,
    kind: DeadLetterKind | None = UNSET,
    first: int | None = 50,
    after: str | None = UNSET,
) -> pagination.Page:
    """List the open dead letters, newest first, then the replayed ones; omit discarded ones."""
    info.context.check_admin()
    page = await letters.get_dead_letters(
        info.context.queries.reader,
        kind=kind or None,
        first=arguments.parse_page_size(first),
        after=pagination.decode_letter_cursor(pagination.text_or_none(after)),
    )
    entries = ((pagination.encode_letter_cursor(key), letter) for key, letter in page.items)
    return pagination.build_page(entries, has_next=page.has_next, total=page.total_count)


async def get_operation(info: Info, operation_id: str) -> Operation | None:
    """Return an operation; None if it does not exist or the caller may not see it."""
    operation = await started.get_operation(
        info.context.queries.reader, arguments.parse_operation_id(operation_id)
    )
    return operation if info.context.is_admin or _is_own(operation, info) else None


def _is_own(operation: Operation | None, info: Info) -> bool:
    """Return whether the caller requested the operation or owns the record that it exports."""
    if operation is None:
        return False
    is_export = operation.kind is OperationKind.EXPORT_USER
    caller = info.context.caller.user_id
    return caller in operation.requesters or (is_export and caller == operation.subject)


@declare(types.Operation | None, "Administrators, and the learner who started it.")
async def operation(info: Info, id: ID) -> Operation | None:  # noqa: A002 - the contract's name
    return await get_operation(info, id)


@declare(
    list[types.Undelivered] | None,
    "Administrators only. Counts are up to 3 minutes old; null if Cloud Monitoring does not reply.",
)
async def undelivered(info: Info) -> list[Undelivered] | None:
    """Return the number of undelivered messages of each Pub/Sub subscription."""
    info.context.check_admin()
    return await info.context.undelivered.get() if info.context.undelivered else None


@declare(types.OperationConnection, "Administrators only.")
async def operations(
    info: Info, first: int | None = 20, after: str | None = UNSET
) -> pagination.Page:
    """List operations, newest first."""
    info.context.check_admin()
    size = arguments.parse_page_size(first, default=20)
    newest = await started.get_operations(
        info.context.queries.reader,
        first=size + 1,
        before=pagination.decode_number_cursor(pagination.text_or_none(after)),
    )
    entries = (
        (pagination.encode_number_cursor(operation.number), operation)
        for operation in newest[:size]
    )
    return pagination.build_page(entries, has_next=len(newest) > size)
