"""Files in the archive's storage that no manifest names."""

from datetime import UTC, datetime, timedelta

from progress.adapters.storage.storage import Storage
from progress.archive import catalog, manifest
from progress.archive.manifest import Manifest

_MAX_AGE = timedelta(days=1)  # longer than an operation may take to publish its files


def remove_old(storage: Storage, published: Manifest) -> int:
    """Remove files that no manifest names and that are over a day old; return their number.

    The caller holds the archive's lock, which a rebuild from the archive also holds while it runs.
    Every file of a rebuild was therefore left by a killed rebuild.
    """
    oldest = datetime.now(UTC) - _MAX_AGE
    named = catalog.list_named(storage, published)
    old = [
        file.path
        for folder in (manifest.FOLDER, manifest.REBUILDS)
        for file in storage.list_tree(folder)
        if file.path not in named and file.written_at < oldest
    ]
    for path in old:
        storage.purge(path)
    return len(old)


def remove_all(storage: Storage, published: Manifest | None) -> int:
    """Remove all generations of every file that no manifest names; return the number of files.

    The caller holds the archive's lock. An operation that has written files but not yet published
    them will find them missing, and writes them again.
    """
    named = catalog.list_named(storage, published) if published else set[str]()
    tree = storage.list_tree(manifest.FOLDER, former=True)
    unnamed = [file.path for file in tree if file.path not in named]
    for path in unnamed:
        storage.purge(path)
    return len(unnamed)
