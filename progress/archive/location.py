"""The location of the archive: a bucket, or a folder in the data directory."""

from progress.adapters import storage
from progress.adapters.storage.storage import Storage
from progress.settings import Settings


def location(settings: Settings) -> str:
    """Return the archive's location: the bucket, or a folder on this machine."""
    bucket = settings.archive_bucket
    if not bucket:
        return f"{settings.progress_data_dir}/archive"
    return bucket if bucket.startswith("gs://") else f"gs://{bucket}"


def open_archive(settings: Settings) -> Storage:
    """Open the archive's storage; raise ProgressError if its location is invalid."""
    return storage.open_storage(location(settings))
