"""A check reports each wrong file of the archive. A run rewrites ranges that have lost a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import check, manifests
from progress.archive.check import Finding
from progress.archive.manifests import RangeEntry, RangeManifest
from progress.errors import ProgressError, StorageUnavailable
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
    assert [[report.events]] == log.run(archives.BLOCKS["count"])
    assert shallow(archive) == []


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("which", "damage", "problem"),
    [
        (ANN, Path.unlink, "is missing"),
        (ANN, cut, "but the manifest says"),
        ("manifest", cut, "is missing or damaged"),
    ],
)
def test_a_damaged_file_is_reported_and_the_next_run_writes_its_range_again(
    log: Connection, archive: Storage, folder: Path, *, which: str, damage: Any, problem: str
) -> None:
    archives.run(log, archive)
    manifest_paths = sorted(p for p in archives.paths(archive) if p.endswith("manifest.json"))
    path = archives.find_file(archive, which) if which == ANN else manifest_paths[1]
    damage(folder / path)
    (finding,) = shallow(archive)
    assert (finding.path, problem in finding.problem) == (path, True)
    assert deep(log, archive)[:1] == [finding]
    archives.run(log, archive, is_now=False)
    assert deep(log, archive) == []
    assert len(archives.ranges(archive)) == 3


def test_a_changed_byte_is_found_only_by_the_deep_check(log: Connection, archive: Storage) -> None:
    archives.run(log, archive)
    path = archives.find_file(archive, ANN)
    archives.flip_byte(archive, path)
    assert shallow(archive) == []
    (finding,) = deep(log, archive)
    assert finding.path == path
    assert "changed" in finding.problem


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


@pytest.mark.parametrize("change", [archives.change_event, archives.record_later])
def test_the_archive_of_another_log_is_rejected(
    log: Connection, archive: Storage, change: Callable[[Connection, int], None]
) -> None:
    """A log that was restored to an earlier time has other events at the last positions."""
    upto = archives.run(log, archive).upto
    change(log, 1 if change is archives.change_event else upto)
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
