"""Files that are written into a folder of this machine."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from progress.adapters.storage.storage import Folder
from progress.errors import ProgressError
from tests.support import folders


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


@pytest.mark.parametrize("mask", [0o000, 0o022])
def test_only_the_owner_can_access_new_files_and_folders(tmp_path: Path, mask: int) -> None:
    with folders.umask(mask):
        folder = Folder(tmp_path / "data/archive")
        folder.replace("catalog.json", b"{}", None)
        with folder.writing("ranges/1/file") as output:
            output.write(b"rows")
            assert folders.list_open_files(tmp_path / "data") == []
    assert folders.list_open_files(tmp_path / "data") == []


def test_a_file_that_disappears_while_the_files_are_listed_is_left_out(tmp_path: Path) -> None:
    """A dangling symlink simulates this file: its name is listed, but its target does not exist."""
    for name in ("a", "b"):
        with Folder(tmp_path).writing(f"ranges/{name}") as output:
            output.write(b"rows")
    (tmp_path / "ranges/between").symlink_to("renamed")
    assert [file.path for file in Folder(tmp_path).list_tree("ranges")] == ["ranges/a", "ranges/b"]
    assert list(Folder(tmp_path).list_tree("missing")) == []


def test_a_name_that_the_file_system_rejects_is_a_one_line_error(tmp_path: Path) -> None:
    name, folder = "n" * 300, Folder(tmp_path)
    calls: list[Callable[[], object]] = [
        lambda: folder.has(name),
        lambda: folder.files(name),
        lambda: list(folder.list_tree(name)),
        Folder(tmp_path / name).folders,
    ]
    for call in calls:
        with pytest.raises(ProgressError, match="File name too long"):
            call()
