"""Files in the archive's storage that no manifest names."""

from datetime import UTC, datetime, timedelta

from progress.adapters.storage.storage import Storage
from progress.archive import catalog, manifest
from progress.archive.manifest import Manifest

_MAX_AGE = timedelta(days=1)  # every operation publishes its files in less time


def remove_old(storage: Storage, published: Manifest) -> int:
    """Remove files that no manifest names and that are over a day old; return their number.

    The caller holds the archive's lock. A rebuild from the archive holds the same lock while it
    runs. No rebuild is therefore running now, and the folder of rebuilds holds only files that
    killed rebuilds have left.
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

    The caller holds the archive's lock. The removed files may belong to an operation that was
    interrupted before it published them. When this operation continues, it writes them again.
    """
    named = catalog.list_named(storage, published) if published else set[str]()
    tree = storage.list_tree(manifest.FOLDER, former=True)
    unnamed = [file.path for file in tree if file.path not in named]
    for path in unnamed:
        storage.purge(path)
    return len(unnamed)
