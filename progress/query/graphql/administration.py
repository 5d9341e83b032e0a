"""What administrators read: dead letters and operations; an operation also who started it."""

from typing import Any

from strawberry import ID, UNSET

from progress.event_store.dead_letter_record import DeadLetterKind
from progress.operations.records import Operation
from progress.query.graphql import arguments, pagination
from progress.query.graphql.context import Info
from progress.query.read_models import dead_letters as letters
from progress.query.read_models import operations


async def dead_letters(
    info: Info,
    kind: DeadLetterKind | None = UNSET,
    first: int | None = 50,
    after: str | None = UNSET,
) -> pagination.Page:
    """Those that wait, newest first, then those replayed; the discarded ones are left out."""
    info.context.check_admin()
    found = await letters.get_dead_letters(
        kind=kind or None,
        first=arguments.page_size(first),
        after=pagination.letter_key(_given(after)),
    )
    entries = ((pagination.letter_cursor(key), letter) for key, letter in found.letters)
    return pagination.page(entries, has_next=found.has_next, total=found.total_count)


async def operation(info: Info, id: ID) -> Operation | None:  # noqa: A002 - the contract's word
    """An operation; for whoever may not see it, as if there were none."""
    found = await operations.get_operation(arguments.operation_id(id))
    mine = found is not None and found.started_by == info.context.caller.user_id
    return found if mine or info.context.is_admin else None


async def all_operations(
    info: Info, first: int | None = 20, after: str | None = UNSET
) -> pagination.Page:
    """Newest first."""
    info.context.check_admin()
    size = arguments.page_size(first, default=20)
    found = await operations.get_operations(first=size + 1, before=pagination.number(_given(after)))
    entries = ((pagination.number_cursor(each.number), each) for each in found[:size])
    return pagination.page(entries, has_next=len(found) > size)


def _given(text: Any) -> str | None:
    return text if isinstance(text, str) else None
