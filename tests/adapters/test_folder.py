"""Files that are written into a folder of this machine."""

import os
from pathlib import Path

import pytest

from progress.adapters.storage.storage import Folder


def test_a_written_file_and_its_new_folders_are_synced_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    with Folder(tmp_path / "archive").writing("ranges/1/file") as output:
        output.write(b"rows")
    archive = tmp_path / "archive"
    paths = (archive / "ranges/1/file", archive / "ranges/1", archive / "ranges", archive, tmp_path)
    assert synced == [path.stat().st_ino for path in paths]
