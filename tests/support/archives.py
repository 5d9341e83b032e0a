"""Functions that write, read and damage archives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from progress.adapters import storage as storages
from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Folder, Output, Storage
from progress.archive import files, log_rows, manifests, runs
from progress.archive import ranges as archive_ranges
from progress.archive.files import LocalFile, Workspace
from progress.archive.log_rows import ErasedRow, Positions
from progress.archive.manifests import ArchiveManifest, File, RangeManifest
from progress.archive.runs import Request

BLOCKS = statements.blocks(str(Path(__file__).with_suffix("")))

BUCKETS = 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def archive(folder: Path) -> Storage:
    return storages.open_storage(str(folder))


def run(connection: Connection, storage: Storage, **request: Any) -> ArchiveManifest:
    archived = runs.run(
        connection, storage, BUCKETS, Request(**(request or {"is_now": True})), lambda *_: None
    )
    assert archived
    return archived


def ranges(storage: Storage) -> list[RangeManifest]:
    published = manifests.read(storage)
    assert published
    return manifests.read_ranges(storage, published.manifest)


def paths(storage: Storage) -> set[str]:
    return {file.path for file in storage.list_tree("ranges")}


def find_file(storage: Storage, stream_id: str) -> str:
    (path,) = files_with(storage, stream_id)
    return path


def files_with(storage: Storage, stream_id: str) -> list[str]:
    found = []
    with files.open_workspace() as workspace:
        for path in sorted(paths(storage)):
            if path.endswith(".parquet"):
                target = workspace.folder / "read.parquet"
                files.download(storage, path, target)
                if workspace.sums_of(target, files.Selection(stream_id)).rows:
                    found.append(path)
    return found


def stream_versions(storage: Storage, path: str) -> list[tuple[str, int]]:
    with files.open_workspace() as workspace:
        target = workspace.folder / "read.parquet"
        files.download(storage, path, target)
        rows: list[tuple[str, int]] = workspace._duck.execute(
            f"SELECT stream_id, stream_version FROM '{target}'"  # noqa: S608 - a temporary path
        ).fetchall()
    return rows


def _copy_less(connection: Connection, positions: Positions, buckets: int, output: Output) -> None:
    first, last = positions
    COPY(connection, Positions(first, last - 1), buckets, output)


def _upload_half(storage: Storage, source: Path, path: str) -> None:
    storage.write(path, source.read_bytes()[: source.stat().st_size // 2])


def _upload_other(storage: Storage, source: Path, path: str) -> None:
    storage.write(path, bytes(source.stat().st_size))


def _describe_less(
    connection: Connection, positions: Positions, stored: list[File], erased: list[ErasedRow]
) -> RangeManifest:
    return DESCRIBE(connection, positions, stored[:-1], erased)


def _merge_less(workspace: Workspace, paths: list[Path], target: Path) -> LocalFile:
    return MERGE(workspace, paths[:-1], target)


COPY, DESCRIBE, MERGE = log_rows.copy, archive_ranges.describe, Workspace.merge
# Functions that do nothing, a part or something else, and report success.
SILENT_FAULTS: tuple[tuple[object, str, Callable[..., object]], ...] = (
    (log_rows, "copy", lambda *_: None),
    (log_rows, "copy", _copy_less),
    (files, "upload", lambda *_: None),
    (files, "upload", _upload_half),
    (files, "upload", _upload_other),
    (archive_ranges, "describe", _describe_less),
    (Workspace, "merge", _merge_less),
    (Folder, "write", lambda *_: None),
    (Folder, "replace", lambda *_: "1"),
)


def empty_stream(connection: Connection, stream_id: str) -> None:
    _change(connection, "empty stream", stream_id=stream_id)


def differing(connection: Connection, storage: Storage) -> list[int | None]:
    return [
        bucket
        for contents in ranges(storage)
        for bucket in archive_ranges.differing_buckets(connection, contents, BUCKETS)
    ]


def flip_byte(storage: Storage, path: str) -> None:
    data = bytearray(b"".join(storage.reading(path)))
    data[len(data) // 2] ^= 1
    with storage.writing(path) as output:
        output.write(bytes(data))


def change_event(connection: Connection, position: int) -> None:
    _change(connection, "change event", position=position)


def record_later(connection: Connection, position: int) -> None:
    """Add an hour to the recording time of the event at this position."""
    _change(connection, "record later", position=position)


def change_sums(storage: Storage, connection: Connection) -> None:
    published = manifests.read(storage)
    assert published
    contents = manifests.read_range(storage, published.manifest.ranges[0])
    first = contents.files[0]
    wrong = msgspec.structs.replace(first, sums=(first.sums[0] + 1, first.sums[1]))
    changed = msgspec.structs.replace(contents, files=[wrong, *contents.files[1:]])
    entry = manifests.put_range(storage, changed)
    manifests.publish(connection, storage, published, [entry], BUCKETS)


def age_events(connection: Connection) -> None:
    """Move the recording times of the events back by 31 days."""
    _change(connection, "age events")


def _change(connection: Connection, block: str, **values: object) -> None:
    connection.run(BLOCKS["allow changes"])
    connection.run(BLOCKS[block], **values)
    connection.run(BLOCKS["forbid changes"])
