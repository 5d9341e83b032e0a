"""What operations of each kind do; any of it may be done again, by another worker."""

import contextlib
import time
from collections.abc import Callable, Iterator
from uuid import UUID

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.telemetry import logs
from progress.adapters.telemetry.logs import Severity
from progress.errors import EventStoreError, OperationEnded, ProgressError, RebuildRunning
from progress.operations import claim
from progress.operations.claim import Work
from progress.projections import batch, notifications, rebuild, replay
from progress.projections.notifications import Publisher

_TIMEOUT_S = 30.0  # seconds until a server that is silent counts as away
_PAUSE = 0.2  # seconds between two looks whether another has ended
_FOLDED = 0.9  # of a rebuild


def carry_out(operation_id: UUID, publisher: Publisher = notifications.DISABLED) -> bool:
    """Whether this worker brought the operation to its end, good or bad.

    False where another works on it, or it had ended before. Raises Unavailable where it is to be
    attempted once more.
    """
    with _closing(_connect(timeout_s=_TIMEOUT_S)) as connection:
        work = claim.take_up(connection, operation_id, publisher)
        if work is None:
            return False
        try:
            work.succeed(_attempted(work))
        except OperationEnded as ended:
            work.end(ended)
            _log("ERROR", work, str(ended))
        else:
            _log("INFO", work, "done")
    return True


def _log(severity: Severity, work: Work, told: str) -> None:
    operation = work.kind.lower()
    outcome = "ok" if severity == "INFO" else "error"
    logs.write(
        severity, f"{operation}: {told}", operation=operation, operation_id=str(work.id),
        outcome=outcome,
    )  # fmt: skip


def _attempted(work: Work) -> object:
    try:
        with database.translate_errors(lambda failure: ProgressError(failure.message)):
            return _PROCEDURES[work.kind](work)
    except OperationEnded:
        raise
    except ProgressError as fault:
        work.fail(fault)


def _run_batch(work: Work) -> object:
    """A whole run of the batch job, after a scheduled one that is at it."""
    work.begin("batch")
    replayed = swept = 0
    with _at_work(work) as connection:
        while True:
            report = batch.run(connection, publisher=work.publisher)
            replayed += report.replayed
            swept += report.swept
            if report.learners is not None:
                break
            work.check_time()
            time.sleep(_PAUSE)
    return {"replayed": replayed, "swept": swept, "learners": report.learners}


def _rebuild(work: Work) -> object:
    """Every projection anew, after another rebuild that is at it."""
    work.begin("fold")

    def reached(folded: int, total: int) -> None:
        work.reached(_FOLDED * folded / max(total, 1))

    def begin_swap(connection: Connection) -> None:
        work.begin("swap")
        work.bound(connection)

    while True:
        try:
            folded = rebuild.run(
                lambda: work.bound(_connect()),
                on_progress=reached,
                on_folded=begin_swap,
                publisher=work.publisher,
            )
        except RebuildRunning:
            work.check_time()
            time.sleep(_PAUSE)
        else:
            return {"events": folded}


def _replay(work: Work) -> object:
    """Each letter; which of them are replayed, and why the others stay."""
    work.begin("replay")
    ids: list[int] = work.arguments["letter_ids"]
    replayed: list[str] = []
    stay: list[dict[str, str]] = []
    with _at_work(work) as connection:
        for done, letter_id in enumerate(ids):
            work.reached(done / len(ids))
            try:
                reason = replay.replay(connection, letter_id, work.publisher)
            except EventStoreError as fault:
                reason = str(fault)
            if reason is None:
                replayed.append(str(letter_id))
            else:
                stay.append({"id": str(letter_id), "reason": reason})
    return {"replayed": replayed, "stay": stay}


_PROCEDURES: dict[str, Callable[[Work], object]] = {
    "RUN_BATCH": _run_batch,
    "REBUILD": _rebuild,
    "REPLAY_DEAD_LETTERS": _replay,
}


@contextlib.contextmanager
def _at_work(work: Work) -> Iterator[Connection]:
    """A connection for the present step."""
    with _closing(_connect()) as connection:
        yield work.bound(connection)


@contextlib.contextmanager
def _closing(connection: Connection) -> Iterator[Connection]:
    try:
        yield connection
    finally:
        database.close(connection)


def _connect(timeout_s: float | None = None) -> Connection:
    return database.connect(settings.current(), name="operation", timeout_s=timeout_s)
