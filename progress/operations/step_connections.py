"""What the steps of operations share: a connection with a time limit, and parsed arguments."""

import contextlib
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import OperationEnded
from progress.operations.claim import ClaimedOperation
from progress.operations.records import OperationState

T = TypeVar("T")


@contextlib.contextmanager
def connection_for(operation: ClaimedOperation) -> Iterator[Connection]:
    """Open a connection for the current attempt at a step."""
    connection = connect()
    try:
        yield operation.with_deadline(connection)
    finally:
        database.close(connection)


def connect() -> Connection:
    """Open a connection of an operation's worker."""
    return database.connect(settings.current(), name="operation")


def parse_arguments(operation: ClaimedOperation, type_: type[T]) -> T:
    """Return the arguments; raise OperationEnded if they are invalid."""
    try:
        return msgspec.convert(operation.arguments, type_)
    except msgspec.ValidationError as error:
        raise OperationEnded(OperationState.FAILED, f"unreadable arguments: {error}") from error
