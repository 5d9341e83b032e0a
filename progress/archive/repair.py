"""Replace lost files of the archive: write their ranges again, from the log."""

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import catalog, check, manifest, plan, publishing, ranges
from progress.archive.catalog import Published
from progress.archive.log_rows import Positions
from progress.archive.manifest import RangeEntry
from progress.errors import ArchiveDamaged


def write_lost_ranges(connection: Connection, storage: Storage, current: Published) -> Published:
    """Rewrite each range that has lost a file, and return the archive's current manifest.

    A file is lost if it is missing, or if its size differs from the size in the manifest.

    The caller holds the archive's lock.
    """
    sizes = {file.path: file.bytes for file in storage.list_tree(manifest.FOLDER)}
    for entry in current.manifest.ranges:
        if not _is_whole(storage, entry, sizes):
            current = _write_again(connection, storage, current, entry)
    return current


def _is_whole(storage: Storage, entry: RangeEntry, sizes: dict[str, int]) -> bool:
    try:
        return not check.find_missing(catalog.read_range(storage, entry), sizes)
    except ArchiveDamaged:
        return False


def _write_again(
    connection: Connection, storage: Storage, current: Published, lost: RangeEntry
) -> Published:
    """Write the range again, as several ranges if it is longer than a full range."""
    buckets = current.manifest.buckets
    entries = [
        ranges.write_verified(connection, storage, positions, buckets)
        for positions in plan.split(Positions(lost.first, lost.last))
    ]
    return publishing.publish(connection, storage, current, entries, buckets)
