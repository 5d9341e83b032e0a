"""Claim an operation, record its steps, its progress and its end, and open its connections.

One worker at a time runs an operation. The worker's connection holds the operation's advisory lock,
and the worker writes on the same connection. If that connection breaks, the worker cannot write any
more, and another worker can claim the operation.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from progress import masking, settings
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection, Failure
from progress.errors import (
    DatabaseUnavailable,
    OperationClaimed,
    OperationEnded,
    ProgressError,
    RebuildRunning,
)
from progress.operations.records import PLANS, OperationState, Step

T = TypeVar("T")

MAX_ATTEMPTS = 5
RETRY_INTERVAL_S = 0.2  # the pause between tries to do what another worker prevents

_COMPENSATION_TIMEOUT_S = 600.0
_REPORT_INTERVAL_S = 1.0
_MAX_ERROR_LENGTH = 2_000  # characters
_FILE = "operations/operations"

# If an outage ends an attempt, `fail_step` subtracts the attempt from the number of attempts in the
# database. If the database is unavailable, `fail_step` cannot do so. In this case, the step's next
# attempt is not counted. This set lists the steps whose next attempt is not counted: the
# operation's id, the step's name, and True if the attempt is to undo the step.
_uncounted: set[tuple[UUID, str, bool]] = set()


def claim(connection: Connection, operation_id: UUID) -> "ClaimedOperation | None":
    """Claim the operation; return None if the operation has finished or does not exist.

    Raise OperationClaimed if another worker runs the operation.
    """
    with database.translate_errors(translate):
        if not database.run(connection, _FILE, "lock operation", operation_id=operation_id)[0][0]:
            raise OperationClaimed(f"another worker runs the operation {operation_id}")
        rows = database.run(connection, _FILE, "claim", operation_id=operation_id)
    return ClaimedOperation(connection, operation_id, rows[0]) if rows else None


def translate(failure: Failure) -> ProgressError:
    """Return DatabaseUnavailable if the failure is transient, else a plain ProgressError."""
    return failure.to_unavailable() or ProgressError(failure.message)


class ClaimedOperation:
    """An operation that this worker has claimed; the methods write to its rows in the database."""

    handover: Any = None  # An object that a step passes to later steps in the same worker.

    def __init__(self, connection: Connection, operation_id: UUID, row: list[Any]) -> None:
        self.id, self._connection = operation_id, connection
        self.kind, self.arguments, self.is_irrevocable, state, error, self.outcomes, *steps = row
        self.begun, names = (set[str](some or []) for some in steps)
        # An operation that older code accepted may lack some of the plan's steps.
        self.steps = [step for step in PLANS[self.kind].steps if step.name in names]
        # The failure that is recorded after the compensation; None if nothing is compensated.
        self.end = OperationEnded(state, error) if state else None
        self.resources = contextlib.ExitStack()  # closed after this worker's last step
        self.step, self.attempt = self.steps[0], 0
        self._lock, self._timeout_s = threading.Lock(), 0.0
        self._expires_at, self._next_report_at = 0.0, 0.0
        if PLANS[self.kind].restarts and len(self.outcomes) < len(self.steps) and not self.end:
            self.outcomes.clear()
            self._write("restart")

    def remaining_steps(self) -> list[Step]:
        """Return the incomplete steps or, during a compensation, the steps to undo."""
        if self.end:
            return [step for step in reversed(self.steps) if step.name in self.begun]
        return [step for step in self.steps if step.name not in self.outcomes]

    def begin_step(self, step: Step) -> None:
        """Begin an attempt to run the step or, during a compensation, to undo the step.

        Raise OperationEnded if no attempt is left, or if the operation is cancelled or expired.
        """
        self._timeout_s = _COMPENSATION_TIMEOUT_S if self.end else step.timeout_s
        self.step, self._expires_at = step, time.monotonic() + self._timeout_s
        key = (self.id, step.name, bool(self.end))
        state = "COMPENSATING" if self.end else "RUNNING"
        counts = self._record_step(state, count=int(key not in _uncounted))
        _uncounted.discard(key)
        if not counts:
            self._raise_if_interrupted()
            raise OperationEnded("FAILED", f"{step.name}: {MAX_ATTEMPTS} attempts did not finish")
        self.attempt = counts[1] if self.end else counts[0]
        self.is_irrevocable |= step.is_final
        self.begun.add(step.name)

    def complete_step(self, outcome: object) -> None:
        """Mark the step as complete, and record its outcome.

        During a compensation, mark the step as undone instead.
        """
        if self.end:
            self._record_step("PENDING")
        else:
            self._record_step("SUCCEEDED", outcome=outcome)
            self.outcomes[self.step.name] = outcome

    def fail_step(self, error: ProgressError, *, is_outage: bool = False) -> None:
        """Record why the attempt failed.

        If an outage ended the attempt, the attempt does not count towards MAX_ATTEMPTS. Without an
        outage, raise OperationEnded if this was the step's last attempt.
        """
        if self.attempt >= MAX_ATTEMPTS and not is_outage:
            raise OperationEnded("FAILED", f"{self.step.name}: {error}") from error
        state = "COMPENSATING" if self.end else "PENDING"
        try:
            self._record_step(state, count=-1 if is_outage else 0, error=error)
        except DatabaseUnavailable:
            if is_outage:
                _uncounted.add((self.id, self.step.name, bool(self.end)))

    def begin_compensation(self, end: OperationEnded) -> None:
        """Record that the compensation begins; after it, the operation ends with `end`."""
        if not self.end:
            self.end = end
            self._set_state("COMPENSATING", end)

    def finish(self, end: OperationEnded | None) -> None:
        """End the operation with the failure `end`.

        If `end` is None, the operation succeeds. Its result is the last step's outcome.
        """
        outcome = None if end else self.outcomes[self.steps[-1].name]
        self._set_state(end.state if end else "SUCCEEDED", end, outcome)

    def report_progress(self, progress: float = 0.0) -> None:
        """Record the progress, at most once a second; raise OperationEnded if the work must stop.

        Any thread may call this method at any time.
        """
        self.raise_if_expired()
        with self._lock:
            if time.monotonic() >= self._next_report_at:
                self._next_report_at = time.monotonic() + _REPORT_INTERVAL_S
                self._raise_if_interrupted(progress)

    def call_without_rebuild(self, call: Callable[[], T]) -> T:
        """Call the function again and again while it raises RebuildRunning; return its result."""
        while True:
            try:
                return call()
            except RebuildRunning as error:
                self.wait(cause=error)

    def wait(
        self, seconds: float = RETRY_INTERVAL_S, *, cause: ProgressError | None = None
    ) -> None:
        """Sleep; raise OperationEnded if the work must stop. If it timed out, name the cause."""
        time.sleep(seconds)
        try:
            self.report_progress()
        except OperationEnded as end:
            if cause is None or end.state != "TIMED_OUT":
                raise
            raise OperationEnded(end.state, f"{end}; {cause}") from None

    def raise_if_expired(self) -> None:
        """Raise OperationEnded if the time of the attempt is over."""
        if not self.remaining_s():
            text = f"{self.step.name}: not done within {self._timeout_s:.0f} s"
            raise OperationEnded("TIMED_OUT", text)

    def remaining_s(self) -> float:
        """Return the seconds until the time of the attempt is over; 0 if it is over."""
        return max(0.0, self._expires_at - time.monotonic())

    def _raise_if_interrupted(self, progress: float = 0.0) -> None:
        is_expired, cancelled_by = self._write("record progress", progress=progress)
        if is_expired:
            hours = PLANS[self.kind].time_limit_s / 3_600
            raise OperationEnded("TIMED_OUT", f"not done within {hours:.0f} h of its acceptance")
        if cancelled_by is not None:
            raise OperationEnded("FAILED", "cancelled", cancelled_by=cancelled_by)

    def _record_step(self, state: str, *, count: int = 0, **values: Any) -> list[Any]:
        return self._write(
            "record step", step=self.step.name, state=state, max_attempts=MAX_ATTEMPTS,
            attempts=0 if self.end else count, compensations=count if self.end else 0,
            is_final=self.step.is_final and not self.end, **values,
        )  # fmt: skip

    def _set_state(self, state: str, end: OperationEnded | None, outcome: object = None) -> None:
        self._write(
            "set state", state=state, failing_state=end and end.state, error=end, outcome=outcome,
            cancelled_by=end and end.cancelled_by,
        )  # fmt: skip

    def _write(
        self, block: str, *, error: object = None, outcome: object = None, **values: object
    ) -> list[Any]:
        """Run a block of the SQL file; return the resulting row, or an empty list."""
        text = None if error is None else masking.mask_shapes(str(error))[:_MAX_ERROR_LENGTH]
        json = None if outcome is None else msgspec.json.encode(outcome).decode()
        values |= {"operation_id": self.id, "error": text, "outcome": json}
        with database.translate_errors(translate):
            rows = database.run(self._connection, _FILE, block, **values)
        return rows[0] if rows else []


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
    database.run(connection, _FILE, "limit statements", milliseconds=milliseconds)
    return connection


def parse_arguments(operation: ClaimedOperation, type_: type[T]) -> T:
    """Return the arguments; raise OperationEnded if they are invalid."""
    try:
        return msgspec.convert(operation.arguments, type_)
    except msgspec.ValidationError as error:
        raise OperationEnded(OperationState.FAILED, f"unreadable arguments: {error}") from error
