"""Ten ranges of the archive are merged into one."""

from typing import Any

import pytest

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import check, files, manifests, merges, runs
from progress.archive.manifests import RangeEntry
from tests.support import archives


@pytest.fixture
def tiny_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RANGE", 6)


def merge(connection: Connection, archive: Storage) -> int:
    return merges.run(connection, archive, lambda: None)


@pytest.fixture
def slices(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Limit each slice to one stream. The returned list records the stream of each merged slice."""
    first: list[str] = []
    run = files.Workspace._run

    def record(workspace: files.Workspace, block: str, **values: object) -> list[Any]:
        if block == "write slice":
            first.append(str(values["first"]))
        return run(workspace, block, **values)

    monkeypatch.setattr(files.Workspace, "_run", record)
    monkeypatch.setattr(files, "_SLICE_ROWS", 1)
    return first


@pytest.mark.usefixtures("tiny_ranges")
def test_ten_ranges_are_merged_slice_by_slice_into_one_range_with_the_same_rows(
    log: Connection, archive: Storage, slices: list[str]
) -> None:
    archives.run(log, archive)
    assert len(archives.ranges(archive)) == 22
    assert merge(log, archive) == 2
    merged = archives.ranges(archive)
    assert [(one.first, one.last) for one in merged] == [(1, 60), (61, 120), (121, 126), (127, 131)]
    assert check.run_deep(log, archive, lambda *_: None).findings == []
    stored = [manifests.file_path(one, file.name) for one in merged[:2] for file in one.files]
    assert len(slices) > len(stored)
    for path in stored:
        rows = archives.stream_versions(archive, path)
        assert rows == sorted(rows)
    folders = {path.split("/")[1] for path in archives.paths(archive)}
    assert len(folders) == 4
    assert merge(log, archive) == 0


def test_ranges_are_not_merged_if_the_result_would_be_too_large(
    log: Connection, archive: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "RANGE", 13)
    archives.run(log, archive)
    assert merges.run(log, archive, lambda: None, largest=100) == 0
    with monkeypatch.context() as patch:
        patch.setattr(merges, "_MAX_BYTES", 1_000)
        assert merge(log, archive) == 0
    assert merges.run(log, archive, lambda: None, largest=130) == 1


@pytest.mark.usefixtures("tiny_ranges")
def test_an_interrupted_merge_leaves_the_ranges_as_they_were(
    log: Connection, archive: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives.run(log, archive)
    before = archives.ranges(archive)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(manifests, "publish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            merge(log, archive)
    assert archives.ranges(archive) == before
    assert check.run_deep(log, archive, lambda *_: None).findings == []
    assert merge(log, archive) == 2


@pytest.mark.usefixtures("tiny_ranges")
def test_a_merged_range_that_has_lost_a_file_is_written_again_as_ten_ranges(
    log: Connection, archive: Storage
) -> None:
    archives.run(log, archive)
    merge(log, archive)
    lost = archives.ranges(archive)[0]
    archive.remove_file(manifests.file_path(lost, lost.files[0].name))
    archives.run(log, archive)
    assert check.run_deep(log, archive, lambda *_: None).findings == []
    assert len(archives.ranges(archive)) == 13
    assert merge(log, archive) == 1


def test_the_archive_of_ten_billion_events_has_at_most_forty_ranges() -> None:
    entries: list[RangeEntry] = []
    most = 0
    for number in range(9_999):
        first = number * runs.RANGE + 1
        entries.append(RangeEntry(first, first + runs.RANGE - 1, ""))
        while chosen := next(merges.choose(entries), None):
            at = entries.index(chosen[0])
            entries[at : at + 10] = [RangeEntry(chosen[0].first, chosen[-1].last, "")]
        most = max(most, len(entries))
    assert most == 36
    assert entries[-1].last == 9_999 * runs.RANGE
