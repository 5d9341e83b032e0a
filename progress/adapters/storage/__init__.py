"""Files in a folder or in a Cloud Storage bucket."""

from pathlib import Path

from progress.adapters.storage.storage import Folder, Storage
from progress.errors import ProgressError


def open_storage(location: str) -> Storage:
    """Open `gs://bucket/prefix` or a folder; raise ProgressError if `location` is neither."""
    if location.startswith("gs://"):
        from progress.adapters.storage.bucket import Bucket  # takes 300 ms

        return Bucket(location)
    # An empty location comes from an unset variable.
    if not location or "://" in location or location.startswith(("gs:", "gs/")):
        raise ProgressError(f"{location!r}: expected a folder, or gs://bucket/prefix")
    return Folder(Path(location))
