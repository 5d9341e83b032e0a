"""Advisory locks and large objects of analysts, who could stop the service with them."""

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection, Failure
from progress.adapters.telemetry import logs
from progress.errors import DatabaseUnavailable

_FILE = "event_store/analysts"


def end_locks(connection: Connection) -> None:
    """End the sessions of analysts that hold an advisory lock or wait for one; log their number."""
    ended, kept = _run(connection, "end locks")
    if ended:
        logs.write("WARNING", f"ended {ended} sessions of analysts that held advisory locks")
    if kept:
        found = f"{kept} sessions of analysts hold advisory locks, which may stop ingest and folds"
        logs.write("ERROR", f"{found}: grant pg_signal_backend to the database's owner")


def remove_objects(connection: Connection) -> None:
    """Remove large objects of analysts, which would fill the disk; log their number."""
    removed, kept = _run(connection, "remove objects")
    if removed:
        logs.write("WARNING", f"removed {removed} large objects of analysts")
    if kept:
        found = f"{kept} large objects of analysts remain"
        logs.write("WARNING", f"{found}: connect as their owner, and remove them with lo_unlink")


def _run(connection: Connection, block: str) -> tuple[int, int]:
    def translate(failure: Failure) -> DatabaseUnavailable:
        return DatabaseUnavailable(f"what analysts hold is not known: {failure.message}")

    with database.translate_errors(translate):
        done, kept = database.run(connection, _FILE, block)[0]
    return done, kept
