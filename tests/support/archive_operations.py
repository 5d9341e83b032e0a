"""Fixtures and functions for the tests of the operation ARCHIVE."""

from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest

from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import check
from progress.errors import ProgressError
from tests.support import archives, doomed_worker
from tests.support.operation_fixtures import Operator

EVER = 'before: "2999-01-01T00:00:00Z",'


@pytest.fixture
def archive(tmp_path: Path) -> Storage:
    """The storage to which the workers write the archive."""
    return storage.open_storage(str(tmp_path / "archive"))


@pytest.fixture
def length(populated: Connection) -> int:
    """The number of events in the log."""
    count: int = populated.run(archives.blocks()["count"])[0][0]
    return count


def start(operator: Operator, arguments: str = EVER) -> str:
    """Start ARCHIVE; return the id of the operation."""
    operation_id: str = operator.start("archiveEvents", arguments)["id"]
    return operation_id


def start_interrupted(operator: Operator, connection: Connection, step: str) -> str:
    """Start ARCHIVE; let a worker die before the step and lose its claim; return the id."""
    operation_id = start(operator)
    doomed_worker.run(operation_id, "ARCHIVE", step, "before")
    doomed_worker.await_lost_claim(connection)
    return operation_id


def result(done: dict[str, Any]) -> Any:
    """Check that the operation succeeded; return its result."""
    assert (done["state"], done["error"]) == ("SUCCEEDED", None)
    return msgspec.json.decode(done["result"])


def expect_whole(connection: Connection, archive: Storage, upto: int) -> None:
    """Check that the archive is complete, ends at `upto`, and has one folder for each range."""
    report = check.run_deep(connection, archive, lambda *_: None)
    assert report.findings == []
    assert report.manifest.upto == upto
    folders = {path.split("/")[1] for path in archives.paths(archive)}
    assert len(folders) == len(report.manifest.ranges)


def fail(*_: object, **__: object) -> NoReturn:
    """Raise an error.

    Tests put `fail` in the place of functions that are to fail or must not be called.
    """
    raise ProgressError("this call fails")
