"""The ledger beside the archive has an entry for each erased learner's digest."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from progress.adapters import storage
from progress.adapters.storage.storage import Storage
from progress.errors import ProgressError
from progress.operations import erasure_ledger
from progress.operations.erasure_ledger import Entry
from tests.support import cloud_storage

ENTRY = Entry("ab" * 32, "5f0c1f0e-6a43-4c0e-9a53-0d2c6c1c7a11", datetime(2026, 11, 21, tzinfo=UTC))


@pytest.fixture(params=["a folder", "a bucket"])
def archive(
    request: pytest.FixtureRequest, tmp_path: Path, bucket: cloud_storage.Bucket
) -> Storage:
    return storage.open_storage(str(tmp_path) if request.param == "a folder" else "gs://b/p")


def test_an_empty_archive_has_no_erasures(archive: Storage) -> None:
    assert erasure_ledger.read_digests(archive) == set()


def test_the_ledger_returns_the_written_entries(archive: Storage) -> None:
    other = Entry("cd" * 32, ENTRY.operation_id, ENTRY.erased_at)
    for entry in (ENTRY, other):
        erasure_ledger.write_entry(archive, entry)
    with archive.writing("ranges/x.json") as output:
        output.write(b"{}")
    assert erasure_ledger.read_digests(archive) == {ENTRY.digest, other.digest}
    assert erasure_ledger.read_entry(archive, ENTRY.digest) == ENTRY


def test_an_entry_that_is_written_again_does_not_change(archive: Storage) -> None:
    erasure_ledger.write_entry(archive, ENTRY)
    again = Entry(ENTRY.digest, "another operation", datetime(2027, 1, 1, tzinfo=UTC))
    erasure_ledger.write_entry(archive, again)
    assert erasure_ledger.read_entry(archive, ENTRY.digest) == ENTRY


def test_an_unfinished_entry_is_not_in_the_ledger(archive: Storage) -> None:
    def write() -> None:
        with archive.writing(f"erasures/{ENTRY.digest}.json") as output:
            output.write(b"{")
            assert erasure_ledger.read_digests(archive) == set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert erasure_ledger.read_digests(archive) == set()


def test_the_error_names_a_damaged_entry(archive: Storage) -> None:
    with archive.writing(f"erasures/{ENTRY.digest}.json") as output:
        output.write(b"{")
    with pytest.raises(ProgressError, match=f"erasures/{ENTRY.digest}.json of the archive"):
        erasure_ledger.read_entry(archive, ENTRY.digest)
