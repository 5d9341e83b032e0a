"""Functions that write, read and damage archives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from progress.adapters import storage as storages
from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import catalogue, check, files, log_rows, runs
from progress.archive.catalogue import Catalogue, Range
from progress.archive.files import Workspace
from progress.archive.log_rows import Positions
from progress.archive.runs import Request

BLOCKS = statements.blocks(str(Path(__file__).with_suffix("")))

BUCKETS = 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def archive(folder: Path) -> Storage:
    return storages.open_storage(str(folder))


def run(connection: Connection, storage: Storage, **request: Any) -> Catalogue:
    request = request or {"is_now": True}
    return runs.run(connection, storage, BUCKETS, Request(**request), lambda *_: None)


def ranges(storage: Storage) -> list[Range]:
    return catalogue.require(storage).ranges


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
                if workspace.select(target, files.Selection(stream_id))[0]:
                    found.append(path)
    return found


COPY, JOIN = log_rows.copy, Workspace.join
# Functions that do nothing, a part or something else, and report success.
SILENT_FAULTS: tuple[tuple[object, str, Callable[..., object]], ...] = (
    (log_rows, "copy", lambda *_: None),
    (log_rows, "copy", lambda c, at, *rest: COPY(c, Positions(at.first, at.last - 1), *rest)),
    (files, "upload", lambda *_: None),
    (files, "upload", lambda storage, file, path: storage.write(path, file.read_bytes()[:99])),
    (files, "upload", lambda storage, file, path: storage.write(path, bytes(file.stat().st_size))),
    (Workspace, "join", lambda workspace, paths, to: JOIN(workspace, paths[:-1], to)),
)


def differing(connection: Connection, storage: Storage) -> list[str]:
    """Return the paths of the files whose rows are not those of the log."""
    findings = check.run_deep(connection, storage, lambda *_: None).findings
    return [finding.path for finding in findings]


def flip_byte(storage: Storage, path: str) -> None:
    data = bytearray(b"".join(storage.reading(path)))
    data[len(data) // 2] ^= 1
    with storage.writing(path) as output:
        output.write(bytes(data))


def change(connection: Connection, block: str, **values: object) -> None:
    """Run a block that changes recorded events, as only an erasure may do otherwise."""
    connection.run(BLOCKS["allow changes"])
    connection.run(BLOCKS[block], **values)
    connection.run(BLOCKS["forbid changes"])
