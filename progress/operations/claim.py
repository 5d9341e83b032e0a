"""Claim an operation and record its steps, its progress and its end.

One worker at a time runs an operation. It holds the operation's lock on the connection on which it
writes. If that connection breaks, the worker cannot write any more, and another worker can claim
the operation.
"""

import contextlib
import threading
import time
from collections import Counter
from typing import Any, NoReturn
from uuid import UUID

import msgspec

from progress import masking
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection, Failure
from progress.adapters.postgres.statements import blocks
from progress.errors import (
    AttemptFailed,
    DatabaseUnavailable,
    OperationClaimed,
    OperationEnded,
    ProgressError,
    Unavailable,
)
from progress.operations.records import PLANS, Step
from progress.projections import notifications
from progress.projections.notifications import Publisher
from progress.projections.replacement import Replacement

MAX_ATTEMPTS = 5

_COMPENSATION_TIMEOUT_S = 600.0
_REPORT_INTERVAL_S = 1.0
_MAX_ERROR_LENGTH = 2_000  # characters
_FILE = "operations/operations"

# Attempts that an outage ended, and that do not count. They are recorded with the next attempt,
# because the outage kept the database from recording them.
_uncounted: Counter[tuple[UUID, str]] = Counter()


def list_unclaimed(connection: Connection) -> list[UUID]:
    """Return the unfinished operations that no worker has claimed, oldest first."""
    with database.translate_errors(_translate_read):
        return [row[0] for row in connection.run(blocks(_FILE)["list unclaimed"])]


def delete_old(connection: Connection) -> None:
    """Delete the operations that finished more than 400 days ago."""
    with database.translate_errors(_translate_write):
        connection.run(blocks(_FILE)["delete old"])


def claim(
    connection: Connection, operation_id: UUID, publisher: Publisher = notifications.DISABLED
) -> "ClaimedOperation | None":
    """Claim the operation for this connection; None if it has finished or does not exist.

    Raise OperationClaimed if another worker runs it.
    """
    sql = blocks(_FILE)
    with database.translate_errors(_translate_write):
        if connection.run(sql["lock operation"], operation_id=operation_id) != [[True]]:
            raise OperationClaimed(f"another worker runs the operation {operation_id}")
        rows = connection.run(sql["claim"], operation_id=operation_id)
        if not rows:
            return None
        steps = connection.run(sql["steps"], operation_id=operation_id)
    publisher.publish_operation(str(operation_id), rows[0][0])
    return ClaimedOperation(connection, operation_id, rows[0][1:], steps, publisher)


class ClaimedOperation:
    """An operation that this worker has claimed; its methods write to its record."""

    replacement: Replacement  # what a rebuild's first step leaves for the second
    archive: Connection | None = None  # the connection that holds the archive's lock

    def __init__(
        self,
        connection: Connection,
        operation_id: UUID,
        row: list[Any],
        steps: list[list[Any]],
        publisher: Publisher,
    ) -> None:
        self.id, self.publisher, self._connection = operation_id, publisher, connection
        self.kind, self.arguments, self.is_irrevocable, failing_state, error = row
        self.plan = PLANS[self.kind]
        # Set while the operation is compensated: the failure that is recorded afterwards.
        self.end = OperationEnded(failing_state, error) if failing_state else None
        self.begun = [name for name, _, _, is_begun in steps if is_begun]
        self.outcomes = {name: outcome for name, state, outcome, _ in steps if state == "SUCCEEDED"}
        self.step, self.attempt = self.plan.steps[0], 0
        self.resources = contextlib.ExitStack()  # open until this worker ends
        self._lock = threading.Lock()
        self._expires_at = self._next_report_at = 0.0
        if self.plan.restarts and len(self.outcomes) < len(steps) and not self.end:
            self.outcomes.clear()
            self._write("restart")

    def next_step(self) -> Step | None:
        """Return the first incomplete step; None if all are complete."""
        return next((step for step in self.plan.steps if step.name not in self.outcomes), None)

    def begin_step(self, step: Step) -> None:
        """Begin an attempt at the step; raise OperationEnded if the operation must not continue."""
        rows = self._write(
            "begin step", step=step.name, is_final=step.is_final, max_attempts=MAX_ATTEMPTS,
            uncounted=_uncounted.pop((self.id, step.name), 0),
        )  # fmt: skip
        self._begin(step, rows[0][1] if rows else 0, step.timeout_s)
        if not rows:
            text = f"{step.name}: {MAX_ATTEMPTS} attempts did not finish"
            raise self._find_interruption() or OperationEnded("FAILED", text)
        self.is_irrevocable = self.is_irrevocable or step.is_final
        self.begun.append(step.name)

    def complete_step(self, outcome: object) -> None:
        """Record the success of the current step; `outcome` must be serializable as JSON."""
        self._set_step("SUCCEEDED", outcome=msgspec.json.encode(outcome).decode())
        self.outcomes[self.step.name] = outcome

    def report_progress(self, progress: float) -> None:
        """Record the progress, at most once a second; raise OperationEnded if the work must stop.

        Any thread may call this method at any time.
        """
        if progress and self._is_time_to_report():
            self._write("record progress", progress=progress)
            self._raise_if_interrupted()

    def wait(self, seconds: float) -> None:
        """Sleep; raise OperationEnded if the work must stop."""
        time.sleep(seconds)
        if self._is_time_to_report():
            self._raise_if_interrupted()

    def _is_time_to_report(self) -> bool:
        self.raise_if_expired()
        with self._lock:
            if time.monotonic() < self._next_report_at:
                return False
            self._next_report_at = time.monotonic() + _REPORT_INTERVAL_S
        return True

    def _raise_if_interrupted(self) -> None:
        interruption = None if self.end else self._find_interruption()
        if interruption:
            raise interruption

    def raise_if_expired(self) -> None:
        """Raise OperationEnded if the time of the attempt is over."""
        if time.monotonic() >= self._expires_at:
            raise OperationEnded(
                "TIMED_OUT", f"{self.step.name}: not done within {self.step.timeout_s:.0f} s"
            )

    def with_deadline(self, connection: Connection) -> Connection:
        """Return the connection with its statements limited to the attempt's remaining time."""
        remaining_s = max(0.0, self._expires_at - time.monotonic())
        connection.run(blocks(_FILE)["detect dead clients"])
        connection.run(
            blocks(_FILE)["set statement timeout"], milliseconds=f"{remaining_s * 1_000 + 100:.0f}"
        )
        return connection

    def fail_attempt(self, error: ProgressError) -> NoReturn:
        """Record a failed attempt, and raise AttemptFailed, so that another attempt follows.

        Raise OperationEnded after the last attempt, or if the attempt's time is over.
        """
        text = _mask(database.read_failure(error).message)
        self.raise_if_expired()
        if self.attempt >= MAX_ATTEMPTS:
            raise OperationEnded("FAILED", f"{self.step.name}: {text}") from error
        self._set_step("COMPENSATING" if self.end else "PENDING", error=text)
        raise AttemptFailed(f"{self.kind}, attempt {self.attempt}: {text}") from error

    def postpone_attempt(self, outage: Unavailable) -> NoReturn:
        """Record that an outage ended the attempt, which does not count; raise the outage."""
        if database.read_failure(outage.__cause__ or outage).is_refusal:
            self.raise_if_expired()  # the server cancelled a statement that took too long
        try:
            self._set_step(
                "COMPENSATING" if self.end else "PENDING", error=_mask(str(outage)), uncounted=1
            )
        except DatabaseUnavailable:
            _uncounted[self.id, self.step.name] += 1
        raise outage

    def begin_compensation(self, end: OperationEnded) -> None:
        """Record that compensation begins; after it, the operation ends with `end`."""
        self.end = end
        self._write(
            "compensate", state=end.state, error=_mask(str(end)), cancelled_by=end.cancelled_by
        )

    def begin_compensating(self, step: Step) -> None:
        """Begin an attempt to compensate the step; raise OperationEnded if no attempt is left."""
        rows = self._write("begin compensation", step=step.name)
        self._begin(step, rows[0][1], _COMPENSATION_TIMEOUT_S)
        if self.attempt > MAX_ATTEMPTS:
            raise OperationEnded("FAILED", f"{step.name}: {MAX_ATTEMPTS} attempts did not finish")

    def complete_compensation(self, end: OperationEnded) -> None:
        """Record that all effects of the step are undone."""
        self._write("end compensation", step=self.step.name, state=end.state)

    def succeed(self) -> None:
        """Record success; the outcome of the last step is the result."""
        result = self.outcomes[self.plan.steps[-1].name]
        self._finish("SUCCEEDED", None, msgspec.json.encode(result).decode())

    def record_end(self, end: OperationEnded) -> None:
        """Record that the operation failed or timed out."""
        self._finish(end.state, _mask(str(end)), None, end.cancelled_by)

    def _begin(self, step: Step, attempt: int, timeout_s: float) -> None:
        self.step, self.attempt = step, attempt
        self._expires_at = time.monotonic() + timeout_s

    def _find_interruption(self) -> OperationEnded | None:
        """Return how the operation ends if it was cancelled or its time is over; else None."""
        is_cancelled, is_expired = self._write("interruption")[0][1:]
        if is_expired:
            hours = self.plan.time_limit_s / 3_600
            return OperationEnded("TIMED_OUT", f"not done within {hours:.0f} h of its acceptance")
        return OperationEnded("FAILED", "cancelled") if is_cancelled else None

    def _set_step(
        self,
        state: str,
        *,
        error: str | None = None,
        outcome: str | None = None,
        uncounted: int = 0,
    ) -> None:
        self._write(
            "set step", step=self.step.name, state=state, error=error, outcome=outcome,
            uncounted=uncounted,
        )  # fmt: skip

    def _finish(
        self, state: str, error: str | None, result: str | None, cancelled_by: str | None = None
    ) -> None:
        self._write("finish", state=state, error=error, result=result, cancelled_by=cancelled_by)

    def _write(self, block: str, **values: object) -> list[list[Any]]:
        """Run the block; publish the version in the first column of each row that it returns."""
        with database.translate_errors(_translate_write), self._lock:
            rows: list[list[Any]] = self._connection.run(
                blocks(_FILE)[block], operation_id=self.id, **values
            )
        for version, *_ in rows or []:
            if version is not None:
                self.publisher.publish_operation(str(self.id), version)
        return rows or []


def _translate_read(failure: Failure) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"the operations cannot be read: {_mask(failure.message)}")


def _translate_write(failure: Failure) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"the operation cannot be written: {_mask(failure.message)}")


def _mask(message: str) -> str:
    """Return the message with addresses masked, cut to a fixed length."""
    return masking.mask_shapes(message)[:_MAX_ERROR_LENGTH]
