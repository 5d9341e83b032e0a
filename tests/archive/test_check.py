"""A check reports each wrong file of the archive. A run rewrites ranges that have lost a file."""

from pathlib import Path

import pytest

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import check, manifests
from progress.archive.check import Finding
from progress.archive.manifests import RangeEntry, RangeManifest
from progress.errors import ProgressError, StorageUnavailable
from tests.conftest import Store
from tests.support import archives

pytestmark = pytest.mark.usefixtures("small_ranges")

ANN = "learner-ann"


def shallow(archive: Storage) -> list[Finding]:
    return check.run(archive, lambda *_: None).findings


def deep(connection: Connection, archive: Storage) -> list[Finding]:
    return check.run_deep(connection, archive, lambda *_: None).findings


def test_an_intact_archive_has_no_findings(log: Connection, archive: Storage) -> None:
    archives.run(log, archive)
    report = check.run_deep(log, archive, lambda *_: None)
    assert report.findings == []
    assert len(report.manifest.ranges) == 3
    assert [[report.events]] == log.run(archives.blocks()["count"])
    assert shallow(archive) == []


def test_a_missing_file_is_reported_and_the_next_run_writes_its_range_again(
    log: Connection, archive: Storage, folder: Path
) -> None:
    archives.run(log, archive)
    path = archives.find_file(archive, ANN)
    (folder / path).unlink()
    assert shallow(archive) == deep(log, archive) == [Finding(path, "is missing")]
    archives.run(log, archive, is_now=False)
    assert deep(log, archive) == []
    assert len(archives.ranges(archive)) == 3


def test_a_truncated_file_is_reported(log: Connection, archive: Storage, folder: Path) -> None:
    archives.run(log, archive)
    path = archives.find_file(archive, ANN)
    (folder / path).write_bytes((folder / path).read_bytes()[:-1])
    (finding,) = shallow(archive)
    assert finding.path == path
    archives.run(log, archive, is_now=False)
    assert deep(log, archive) == []


def test_a_changed_byte_is_found_only_by_the_deep_check(log: Connection, archive: Storage) -> None:
    archives.run(log, archive)
    path = archives.find_file(archive, ANN)
    archives.flip_byte(archive, path)
    assert shallow(archive) == []
    (finding,) = deep(log, archive)
    assert finding.path == path
    assert "changed" in finding.problem


def test_a_damaged_manifest_of_a_range_is_reported_and_written_again(
    log: Connection, archive: Storage
) -> None:
    archives.run(log, archive)
    path = sorted(path for path in archives.paths(archive) if path.endswith("manifest.json"))[1]
    archives.flip_byte(archive, path)
    assert shallow(archive) == [Finding(path, "is missing or damaged")]
    archives.run(log, archive, is_now=False)
    assert deep(log, archive) == []


def test_a_file_that_contains_erased_rows_is_reported(log: Connection, archive: Storage) -> None:
    archives.run(log, archive)
    path = archives.find_file(archive, ANN)
    archives.empty_stream(log, ANN)
    (finding,) = deep(log, archive)
    assert finding == Finding(path, "holds 32 erased rows: the erasure has not ended")


def test_a_range_whose_rows_differ_from_the_log_is_reported(
    log: Connection, archive: Storage
) -> None:
    archives.run(log, archive)
    archives.change_event(log, position=40)
    (finding,) = deep(log, archive)
    assert finding.problem == "has other rows than the log"


def test_the_archive_of_another_log_is_rejected(
    log: Connection, archive: Storage, store: Store
) -> None:
    archives.run(log, archive)
    archives.change_event(log, position=1)
    with pytest.raises(ProgressError, match="another log"):
        deep(log, archive)
    with pytest.raises(ProgressError, match="another log"):
        archives.run(log, archive)


def test_the_archive_of_a_log_that_was_restored_to_an_earlier_time_is_rejected(
    log: Connection, archive: Storage
) -> None:
    """After the restore, the log has recorded another event at the last archived position."""
    upto = archives.run(log, archive).upto
    archives.record_later(log, upto)
    with pytest.raises(ProgressError, match="another log"):
        deep(log, archive)
    with pytest.raises(ProgressError, match="another log"):
        archives.run(log, archive)


@pytest.mark.parametrize("failure", [StorageUnavailable("no response"), ProgressError("HTTP 403")])
def test_a_storage_failure_is_raised_and_not_taken_for_a_missing_range(
    log: Connection, archive: Storage, monkeypatch: pytest.MonkeyPatch, failure: ProgressError
) -> None:
    archives.run(log, archive)
    read_range, calls = manifests.read_range, list[RangeEntry]()

    def fail_once(stored: Storage, entry: RangeEntry) -> RangeManifest:
        calls.append(entry)
        if len(calls) == 1:
            raise failure
        return read_range(stored, entry)

    monkeypatch.setattr(manifests, "read_range", fail_once)
    with pytest.raises(ProgressError, match=str(failure)):
        shallow(archive)
    calls.clear()
    with pytest.raises(ProgressError, match=str(failure)):
        archives.run(log, archive)


def test_a_check_without_an_archive_is_rejected(archive: Storage) -> None:
    with pytest.raises(ProgressError, match="no archive yet"):
        shallow(archive)
