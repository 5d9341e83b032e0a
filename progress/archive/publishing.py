"""Read the archive's manifest, check that it belongs to the log, and publish new manifests."""

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import catalog, log_rows
from progress.archive.catalog import Published
from progress.archive.manifest import Log, Manifest, RangeEntry
from progress.errors import ProgressError


def open_published(connection: Connection, storage: Storage) -> Published | None:
    """Return the archive of this log; None if there is no archive yet.

    Raise ProgressError if the archive is a copy of another log.
    """
    current = catalog.read(storage)
    if current:
        check_log(connection, current.manifest)
        catalog.settle(storage, current.manifest)
    return current


def check_log(connection: Connection, archived: Manifest) -> None:
    """Raise ProgressError if the archive is not a copy of this log."""
    found = log_rows.identify(connection)
    is_same = found is not None and found[0].recorded_at == archived.log.recorded_at
    # Do not compare the id of an emptied event: this id is new, but the manifest may still have
    # the old one.
    if found and not found[1]:
        is_same = is_same and found[0].id == archived.log.id
    is_same = is_same and log_rows.find_end(connection) >= archived.upto
    # A log that was restored to an earlier time may hold other events at the archived positions.
    if not is_same or log_rows.are_changed(connection, archived.checkpoints):
        raise ProgressError("the archive is a copy of another log: use another bucket or folder")


def publish(
    connection: Connection,
    storage: Storage,
    current: Published | None,
    entries: list[RangeEntry],
    buckets: int,
) -> Published:
    """Publish a manifest that adds `entries`, and omits the old ranges that overlap them."""
    published = current.manifest.ranges if current else []
    new = {(entry.first, entry.last) for entry in entries}
    kept = [old for old in published if not any(a <= old.last and old.first <= b for a, b in new)]
    every = sorted([*kept, *entries], key=lambda entry: entry.first)
    upto = every[-1].last
    return catalog.publish(
        storage,
        Manifest(
            log=_identity(connection),
            buckets=current.manifest.buckets if current else buckets,
            upto=upto,
            ranges=every,
            checkpoints=log_rows.read_checkpoints(connection, upto),
        ),
        current,
    )


def _identity(connection: Connection) -> Log:
    found = log_rows.identify(connection)
    if found is None:
        raise ProgressError("the log is empty")
    return found[0]
