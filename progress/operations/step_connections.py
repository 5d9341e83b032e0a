"""Connections with time limits, and parsed arguments, for the steps of operations."""

import contextlib
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.errors import OperationEnded
from progress.operations.claim import ClaimedOperation
from progress.operations.records import OperationState

T = TypeVar("T")


@contextlib.contextmanager
def open_connection(timeout_s: float | None = None) -> Iterator[Connection]:
    """Open a connection for a worker that runs operations, and close it after the block."""
    connection = connect(timeout_s)
    try:
        yield connection
    finally:
        database.close(connection)


@contextlib.contextmanager
def connection_for(operation: ClaimedOperation) -> Iterator[Connection]:
    """Open a connection whose statements end within the time of the current attempt at a step."""
    with open_connection() as connection:
        yield limit_statements(connection, operation)


def connect(timeout_s: float | None = None) -> Connection:
    """Open a connection for a worker that runs operations."""
    return database.connect(settings.current(), name="operation", timeout_s=timeout_s)


def limit_statements(connection: Connection, operation: ClaimedOperation) -> Connection:
    """Limit the connection's statements to the attempt's remaining time; return the connection."""
    milliseconds = f"{1_000 * operation.remaining_s() + 100:.0f}"
    connection.run(blocks("operations/executor")["limit statements"], milliseconds=milliseconds)
    return connection


def parse_arguments(operation: ClaimedOperation, type_: type[T]) -> T:
    """Return the arguments; raise OperationEnded if they are invalid."""
    try:
        return msgspec.convert(operation.arguments, type_)
    except msgspec.ValidationError as error:
        raise OperationEnded(OperationState.FAILED, f"unreadable arguments: {error}") from error
