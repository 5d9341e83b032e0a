"""Claim an operation and record its attempts, its progress and its end.

One worker runs an operation at a time. It holds the operation's lock on the connection that it
writes with: when that connection breaks, the worker can report nothing more, and another takes
over.
"""

import threading
import time
from typing import Any, NoReturn
from uuid import UUID

import msgspec

from progress import masking
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection, Failure
from progress.adapters.postgres.statements import blocks
from progress.errors import AttemptFailed, DatabaseUnavailable, OperationEnded
from progress.projections import notifications
from progress.projections.notifications import Publisher

# Below an hour: each step runs within one request, which Cloud Run ends after an hour.
STEP_TIMEOUT_S = {"batch": 600.0, "fold": 3_000.0, "swap": 300.0, "replay": 600.0}
MAX_ATTEMPTS = 5

_REPORT_INTERVAL_S = 1.0
_MAX_ERROR_LENGTH = 2_000  # characters
_FILE = "operations/operations"


def list_unclaimed(connection: Connection) -> list[UUID]:
    """Return the unfinished operations that no worker has claimed, oldest first."""
    with database.translate_errors(_translate_read):
        return [row[0] for row in connection.run(blocks(_FILE)["list unclaimed"])]


def claim(
    connection: Connection, operation_id: UUID, publisher: Publisher = notifications.DISABLED
) -> "ClaimedOperation | None":
    """Claim the operation for this connection; None if it is claimed or finished."""
    sql = blocks(_FILE)
    with database.translate_errors(_translate_write):
        if connection.run(sql["lock operation"], operation_id=operation_id) != [[True]]:
            return None
        rows = connection.run(sql["claim"], operation_id=operation_id)
    if not rows:
        return None
    kind, arguments, version = rows[0]
    publisher.publish_operation(str(operation_id), version)
    return ClaimedOperation(connection, operation_id, kind, arguments, publisher)


class ClaimedOperation:
    """An operation that this worker has claimed."""

    def __init__(
        self,
        connection: Connection,
        operation_id: UUID,
        kind: str,
        arguments: dict[str, Any],
        publisher: Publisher,
    ) -> None:
        self.id, self.kind, self.arguments = operation_id, kind, arguments
        self._connection, self.publisher = connection, publisher
        self._lock = threading.Lock()
        self._step, self._attempts = "", 0
        self._expires_at = self._next_report_at = 0.0

    def begin_step(self, step: str) -> None:
        """Begin an attempt of the step; OperationEnded if no attempt is left."""
        rows = self._write("begin step", name=step, most_attempts=MAX_ATTEMPTS)
        self._step = step
        if not rows:
            raise OperationEnded("FAILED", f"{step}: {MAX_ATTEMPTS} attempts did not finish")
        self._attempts = rows[0][1]
        self._expires_at = time.monotonic() + STEP_TIMEOUT_S[step]

    def report_progress(self, progress: float) -> None:
        """Record the progress, at most once a second; OperationEnded if the step's time is over.

        Any thread may call it, as often as it likes.
        """
        self.raise_if_expired()
        with self._lock:
            if not progress or time.monotonic() < self._next_report_at:
                return
            self._next_report_at = time.monotonic() + _REPORT_INTERVAL_S
        self._write("record progress", progress=progress)

    def raise_if_expired(self) -> None:
        """Raise OperationEnded if the step's time is over."""
        if time.monotonic() >= self._expires_at:
            raise OperationEnded(
                "TIMED_OUT", f"{self._step}: not done within {STEP_TIMEOUT_S[self._step]:.0f} s"
            )

    def with_deadline(self, connection: Connection) -> Connection:
        """Return the connection with its statements limited to the step's remaining time."""
        remaining_s = max(0.0, self._expires_at - time.monotonic())
        connection.run(blocks(_FILE)["detect dead clients"])
        connection.run(
            blocks(_FILE)["set statement timeout"], milliseconds=f"{remaining_s * 1_000 + 100:.0f}"
        )
        return connection

    def succeed(self, result: object) -> None:
        """Record success; `result` must be serializable as JSON."""
        self._finish("SUCCEEDED", None, msgspec.json.encode(result).decode())

    def record_end(self, end: OperationEnded) -> None:
        """Record an end without success."""
        self._finish(end.state, _mask(str(end)), None)

    def fail_attempt(self, error: Exception) -> NoReturn:
        """Record a failed attempt, and raise AttemptFailed to request another.

        Raises OperationEnded after the last attempt, or if the step's time is over.
        """
        self.raise_if_expired()
        text = _mask(database.read_failure(error).message)
        if self._attempts >= MAX_ATTEMPTS:
            raise OperationEnded("FAILED", f"{self._step}: {text}") from error
        self._write("record failed attempt", error=text)
        raise AttemptFailed(f"{self.kind}, attempt {self._attempts}: {text}") from error

    def _finish(self, state: str, error: str | None, result: str | None) -> None:
        self._write("finish", state=state, error=error, result=result)

    def _write(self, block: str, **values: object) -> list[list[Any]]:
        with database.translate_errors(_translate_write), self._lock:
            rows: list[list[Any]] = self._connection.run(
                blocks(_FILE)[block], operation_id=self.id, **values
            )
        for version, *_ in rows:
            if version is not None:
                self.publisher.publish_operation(str(self.id), version)
        return rows


def _translate_read(failure: Failure) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"the operations cannot be read: {_mask(failure.message)}")


def _translate_write(failure: Failure) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"the operation cannot be written: {_mask(failure.message)}")


def _mask(message: str) -> str:
    """Return the message with addresses masked, cut to a fixed length."""
    return masking.mask_shapes(message)[:_MAX_ERROR_LENGTH]
