"""Operations and their progress, as the query API reads them."""

from collections.abc import Sequence
from uuid import UUID

from progress.operations import records
from progress.operations.records import Operation
from progress.query.read_models.reader import Reader

_FILE = "operations/operations"


async def get_operation(reader: Reader, operation_id: UUID) -> Operation | None:
    operations = await get_operations_by_id(reader, [operation_id])
    return operations[0] if operations else None


async def get_operations_by_id(reader: Reader, operation_ids: Sequence[UUID]) -> list[Operation]:
    """Return the operations with these ids; ignore ids that no operation has."""
    rows = await reader.fetch(_FILE, "operations by id", operation_ids=list(operation_ids))
    return [records.from_row(dict(row)) for row in rows]


async def get_operations(
    reader: Reader, *, first: int, before: int | None = None
) -> list[Operation]:
    """Return the newest operations, at most `first`.

    With `before`, return only operations with a lower number.
    """
    rows = await reader.fetch(_FILE, "newest operations", first=first, before=before)
    return [records.from_row(dict(row)) for row in rows]


async def get_operation_versions(reader: Reader, operation_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return the version of each existing operation, for callers that wait for a change."""
    ids = list(operation_ids)
    rows = await reader.fetch(_FILE, "operation versions", operation_ids=ids)
    return {UUID(row["id"]): row["version"] for row in rows}
