"""The place of the archive: a bucket, or a folder of the data directory."""

import pytest

from progress import settings
from progress.archive import catalog


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"PROGRESS_DATA_DIR": "/data"}, "/data/archive"),
        ({"ARCHIVE_BUCKET": "logs", "PROGRESS_DATA_DIR": "/data"}, "gs://logs"),
        ({"ARCHIVE_BUCKET": "gs://logs/2026"}, "gs://logs/2026"),
    ],
)
def test_the_archive_is_in_its_bucket_or_in_the_data_directory(
    environment: dict[str, str], expected: str
) -> None:
    assert catalog.location(settings.read(environment)) == expected
