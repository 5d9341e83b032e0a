"""Operations, read by the query API: what was started, and how far it is."""

from collections.abc import Sequence
from uuid import UUID

from progress.operations import records
from progress.operations.records import Operation
from progress.query.read_models import reader

_FILE = "operations/operations"


async def get_operation(operation_id: UUID) -> Operation | None:
    """Return one operation, or None if no operation has this id."""
    found = await get_some_operations([operation_id])
    return found[0] if found else None


async def get_some_operations(operation_ids: Sequence[UUID]) -> list[Operation]:
    """Return the operations with these ids, without the ids that no operation has."""
    rows = await reader.rows(_FILE, "operations by id", operation_ids=list(operation_ids))
    return [records.from_row(dict(row)) for row in rows]


async def get_operations(*, first: int, before: int | None = None) -> list[Operation]:
    """Return the newest operations with a number below `before`, at most `first`."""
    rows = await reader.rows(_FILE, "newest operations", first=first, before=before)
    return [records.from_row(dict(row)) for row in rows]


async def get_operation_versions(operation_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return the version of each existing operation, for callers that wait for a change."""
    ids = list(operation_ids)
    rows = await reader.rows(_FILE, "operation versions", operation_ids=ids)
    return {UUID(row["id"]): row["version"] for row in rows}
