"""Erasures after a restore: erase the learners whom the ledger names and the log still contains.

Learners' ids are hashed with a secret key. A log restored from a backup has the same key as the
ledger. A new log, for example one filled from the archive, has another key. `apply` replaces this
key with the ledger's key. If the new log already has erasures of its own, `apply` raises
ProgressError instead.
"""

import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple
from uuid import UUID, uuid4

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.adapters.terminal import ReportProgress
from progress.archive import erasure_ledger
from progress.errors import ArchiveRunning, AttemptFailed, OperationClaimed, ProgressError
from progress.event_store import dead_letters
from progress.operations import erasure_rows, records, runner
from progress.operations.records import OperationKind, OperationState

_FILE = "recovery/ledger_erasures"
TIME_LIMIT_S = records.PLANS[OperationKind.ERASE_USER].time_limit_s
_POLL_INTERVAL_S = 0.5  # The pause while another worker erases or archives.
_WORKERS = 4  # the number of erasures that run at the same time


class Result(NamedTuple):
    """The numbers of erased learners, and of digests that belong to no learner in this log."""

    erased: int
    unknown: int


def find_missing(connection: Connection, digests: Collection[str]) -> list[str]:
    """Return the digests of learners whom the database does not record as erased."""
    rows = database.run(connection, _FILE, "missing", digests=list(digests))
    return [digest for (digest,) in rows]


def find_left(connection: Connection) -> dict[str, str]:
    """Return the erased learners of whom the log still has rows, by their digests.

    Leave out a learner whose erasure is unfinished or can be resumed.
    """
    return dict(database.run(connection, _FILE, "left"))


def count_abandoned(connection: Connection) -> int:
    """Return the number of erasures that a killed `apply` has left unfinished."""
    values = {"caller": records.COMMAND_LINE}
    count: int = database.run(connection, _FILE, "abandoned", **values)[0][0]
    return count


def count_overdue(connection: Connection) -> int:
    """Return the number of erasures without time left, to which `apply` gives time again."""
    count: int = database.run(connection, _FILE, "overdue")[0][0]
    return count


def apply(connection: Connection, archive: Storage, on_progress: ReportProgress) -> Result:
    """Run ERASE_USER to its end for every erased learner of whom this log still has rows.

    What was restored is accepted anew: an erasure that is unfinished or has timed out is carried
    out, too, and has TIME_LIMIT_S from now on.

    Record the digests of the ledger first, so that later events of the learners are dropped, and
    erase the dead letters about these learners. Raise ProgressError if an erasure fails, but only
    after all erasures have ended.
    """
    missing = record(connection, archive)
    left = find_left(connection)
    _redact_letters(connection)
    started = {_start(connection, learner) for learner in left.values()}
    anew = database.run(connection, _FILE, "accept anew", time_limit_s=TIME_LIMIT_S)
    operation_ids = {*started, *(operation_id for (operation_id,) in anew)}
    unknown = [digest for digest in missing if digest not in left]
    done = 0
    with ThreadPoolExecutor(_WORKERS) as workers:
        # The last step waits for requests that began before. So, wait once for all erasures.
        for before in ("close", None):
            for _ in workers.map(partial(_run, before), operation_ids):
                done += 1
                on_progress(done, 2 * len(operation_ids))
    _check_success(connection, operation_ids)
    return Result(len(operation_ids), len(unknown))


def record(connection: Connection, archive: Storage) -> list[str]:
    """Record the erasures of the ledger; return the digests that were not recorded before.

    Withdraw what RETENTION_MONTHS has announced, because the log may lack an event since.
    """
    database.run(connection, _FILE, "withdraw announcements")
    _adopt_key(connection, archive)
    missing = find_missing(connection, erasure_ledger.read_digests(archive))
    for digest in missing:
        entry = erasure_ledger.read_entry(archive, digest)
        database.run(connection, _FILE, "record", **msgspec.structs.asdict(entry))
    return missing


def forbid(connection: Connection) -> None:
    """Hide the erased learners of whom the log still has rows, in the caller's transaction.

    Append a deletion of each one with events, so that no fold counts these, and erase their dead
    letters; the rest has no readers.
    """
    database.run(connection, _FILE, "forbid")
    _redact_letters(connection)


def _redact_letters(connection: Connection) -> None:
    dead_letters.record_owners(connection)
    erasure_rows.redact_letters(connection, None, lambda: None)


def forget(connection: Connection, digests: Collection[str]) -> int:
    """Delete erased learners from the read models of the search path; return their number.

    A learner counts as erased if the ledger (`digests`) or the log records the erasure.
    """
    count: int = database.run(connection, _FILE, "forget", digests=list(digests))[0][0]
    return count


def _adopt_key(connection: Connection, archive: Storage) -> None:
    """Adopt the ledger's key; raise ProgressError if this log has digests made with another key."""
    key = erasure_ledger.read_key(archive)
    if key is None or key == erasure_rows.read_key(connection):
        return
    if database.run(connection, _FILE, "has erasures")[0][0]:
        raise ProgressError(
            "the ledger of erasures in the archive belongs to another log: check ARCHIVE_BUCKET"
        )
    database.run(connection, _FILE, "replace key", inner=key.inner, outer=key.outer)


def _start(connection: Connection, learner: str) -> UUID:
    return records.accept(
        connection,
        OperationKind.ERASE_USER,
        caller=records.COMMAND_LINE,
        key=str(uuid4()),
        subject=learner,
        user_id=learner,
    )


def _run(before: str | None, operation_id: UUID) -> None:
    while True:
        try:
            runner.run(operation_id, before=before)
            return
        except (OperationClaimed, ArchiveRunning):
            time.sleep(_POLL_INTERVAL_S)
        except AttemptFailed:
            continue


def _check_success(connection: Connection, operation_ids: Collection[UUID]) -> None:
    operations = [records.get_operation(connection, number) for number in operation_ids]
    failed = [o for o in operations if o and o.state != OperationState.SUCCEEDED]
    if failed:
        raise ProgressError(
            f"{len(failed)} of {len(operations)} erasures failed, the first one is "
            f"{failed[0].id}, {failed[0].state}: {failed[0].error}"
        )
