"""Operations, carried out: one worker for each, its attempts and its end on record.

The worker holds the operation's lock on the connection by which it writes: where that breaks, it
can report nothing any more, and another takes over.
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
from progress.errors import OperationEnded, Unavailable
from progress.projections import notifications
from progress.projections.notifications import Publisher

# The kinds that can be carried out, and their steps in order.
STEPS = {
    "RUN_BATCH": ("batch",),
    "REBUILD": ("fold", "swap"),
    "REPLAY_DEAD_LETTERS": ("replay",),
}

# Below an hour: what carries a step out is a request, which the cloud ends then.
SECONDS = {"batch": 600.0, "fold": 3_000.0, "swap": 300.0, "replay": 600.0}
MOST_ATTEMPTS = 5

_BETWEEN = 1.0  # seconds between two reports of progress
_LONGEST = 2_000  # characters of an error


def unattended(connection: Connection) -> list[UUID]:
    """Operations that are to be done and that nobody works on, oldest first."""
    with database.translate_errors(_translate_read):
        return [row[0] for row in connection.run(blocks("operations/operations")["unattended"])]


def take_up(
    connection: Connection, operation_id: UUID, publisher: Publisher = notifications.DISABLED
) -> "Work | None":
    """The operation, for this connection to work on; None if another does, or it is done."""
    sql = blocks("operations/operations")
    with database.translate_errors(_translate_write):
        if connection.run(sql["lock"], operation_id=operation_id) != [[True]]:
            return None
        taken = connection.run(sql["take up"], operation_id=operation_id)
    if not taken:
        return None
    kind, arguments, version = taken[0]
    publisher.publish_operation(str(operation_id), version)
    return Work(connection, operation_id, kind, arguments, publisher)


class Work:
    """An operation in the hands of its worker."""

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
        self._one_at_a_time = threading.Lock()
        self._step, self._attempts = "", 0
        self._ends_at = self._report_at = 0.0

    def begin(self, step: str) -> None:
        """An attempt of the step; OperationEnded where there were too many already."""
        begun = self._write("begin step", name=step, most_attempts=MOST_ATTEMPTS)
        self._step = step
        if not begun:
            raise OperationEnded("FAILED", f"{step}: {MOST_ATTEMPTS} attempts came to no end")
        self._attempts = begun[0][1]
        self._ends_at = time.monotonic() + SECONDS[step]

    def reached(self, progress: float) -> None:
        """So far; as often as one likes, by any thread. OperationEnded once the time is up."""
        self.check_time()
        with self._one_at_a_time:
            if not progress or time.monotonic() < self._report_at:
                return
            self._report_at = time.monotonic() + _BETWEEN
        self._write("advance", progress=progress)

    def check_time(self) -> None:
        """OperationEnded once the step's time is up."""
        if time.monotonic() >= self._ends_at:
            raise OperationEnded(
                "TIMED_OUT", f"{self._step}: not done within {SECONDS[self._step]:.0f} s"
            )

    def bound(self, connection: Connection) -> Connection:
        """The connection, on which nothing goes on for much longer than the step may."""
        left = max(0.0, self._ends_at - time.monotonic())
        connection.run(blocks("operations/operations")["bounds"])
        connection.run(
            blocks("operations/operations")["within"], milliseconds=f"{left * 1_000 + 100:.0f}"
        )
        return connection

    def succeed(self, result: object) -> None:
        """The end that was wanted; `result` can be written as JSON."""
        self._finish("SUCCEEDED", None, msgspec.json.encode(result).decode())

    def end(self, ended: OperationEnded) -> None:
        """The end that was not."""
        self._finish(ended.state, _mask(str(ended)), None)

    def fail(self, fault: Exception) -> NoReturn:
        """The end of an attempt: OperationEnded where it was the last one or took too long.

        Else Unavailable, so that there will be another.
        """
        self.check_time()
        error = _mask(database.read_failure(fault).message)
        if self._attempts >= MOST_ATTEMPTS:
            raise OperationEnded("FAILED", f"{self._step}: {error}") from fault
        self._write("set back", error=error)
        raise Unavailable(f"{self.kind}, attempt {self._attempts}: {error}") from fault

    def _finish(self, state: str, error: str | None, result: str | None) -> None:
        self._write("finish", state=state, error=error, result=result)

    def _write(self, block: str, **values: object) -> list[list[Any]]:
        with database.translate_errors(_translate_write), self._one_at_a_time:
            rows: list[list[Any]] = self._connection.run(
                blocks("operations/operations")[block], operation_id=self.id, **values
            )
        for version, *_ in rows:
            if version is not None:
                self.publisher.publish_operation(str(self.id), version)
        return rows


def _translate_read(failure: Failure) -> Unavailable:
    return Unavailable(f"the operations cannot be read: {_mask(failure.message)}")


def _translate_write(failure: Failure) -> Unavailable:
    return Unavailable(f"the operation cannot be written to: {_mask(failure.message)}")


def _mask(message: str) -> str:
    """Return the message without addresses, cut to its longest length."""
    return masking.mask_shapes(message)[:_LONGEST]
