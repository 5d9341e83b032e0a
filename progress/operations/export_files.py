"""The files that operations export: their storage and their names.

An export is one object, named after its operation. The object exists only once it is complete, and
the bucket deletes it after a week.
"""

from datetime import timedelta
from uuid import UUID

import msgspec

from progress.settings import Settings

LIFETIME = timedelta(days=7)  # the bucket's lifecycle rule


class ExportedFile(msgspec.Struct, frozen=True):
    """The result of an export: the object, and the name under which it is downloaded."""

    object: str
    file: str
    bytes: int
    sha256: str


def location(settings: Settings) -> str:
    """Return the storage of the exports: the bucket, or a folder on this machine."""
    if settings.exports_bucket:
        return f"gs://{settings.exports_bucket}"
    return f"{settings.progress_data_dir}/exports"


def object_name(operation_id: UUID) -> str:
    """Return the object of an operation; a repeated step replaces it."""
    return f"{operation_id}.zip"
