"""ERASE_USER removes a learner from the archive, even if archive runs happen during the erasure."""

from pathlib import Path

import pytest

from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import check, log_rows
from progress.errors import ArchiveRunning
from tests.support import archives, doomed_worker
from tests.support.doomed_worker import POINTS
from tests.support.erasure_fixtures import erase, no_requests, receipt
from tests.support.operation_fixtures import Operator
from tests.support.traced_runs import run_until_it_ends

__all__ = ["no_requests"]

pytestmark = pytest.mark.timeout(300)

ANN = "learner-ann"


@pytest.fixture
def archive(tmp_path: Path, populated: Connection) -> Storage:
    """The archive of a log with the learner ann."""
    made = storage.open_storage(str(tmp_path / "archive"))
    archives.run(populated, made)
    assert archives.files_with(made, ANN)
    return made


def expect_no_trace(connection: Connection, archive: Storage) -> None:
    assert archives.files_with(archive, ANN) == []
    archives.run(connection, archive)
    assert archives.files_with(archive, ANN) == []
    assert check.run_deep(connection, archive, lambda *_: None).findings == []


def test_no_file_contains_an_erased_learner(
    operator: Operator, populated: Connection, archive: Storage
) -> None:
    done = operator.run(erase(operator, "ann")["id"])
    assert receipt(done)["erased"]["files"] == 1
    expect_no_trace(populated, archive)


@pytest.mark.parametrize("step", ["redact", "files", "close"])
def test_an_archive_run_during_an_erasure_archives_no_events_of_the_learner(
    operator: Operator, populated: Connection, archive: Storage, step: str
) -> None:
    """The step `close` empties the learner's UserDeleted, after `files` has rewritten the files.

    Until then, an archive run must leave out this event.
    """
    operation_id = erase(operator, "ann")["id"]
    doomed_worker.run(operation_id, "ERASE_USER", step, "before")
    doomed_worker.await_lost_claim(populated)
    before = archives.files_with(archive, ANN)
    archives.run(populated, archive)
    assert archives.files_with(archive, ANN) == before
    run_until_it_ends(operator, operation_id)
    expect_no_trace(populated, archive)


@pytest.mark.parametrize("point", POINTS)
def test_the_next_worker_completes_the_step_that_rewrites_the_files(
    operator: Operator, populated: Connection, archive: Storage, point: str
) -> None:
    operation_id = erase(operator, "ann")["id"]
    doomed_worker.run(operation_id, "ERASE_USER", "files", point)
    assert run_until_it_ends(operator, operation_id)["state"] == "SUCCEEDED"
    expect_no_trace(populated, archive)


def test_an_erasure_waits_until_an_archive_run_ends(
    operator: Operator, populated: Connection, archive: Storage
) -> None:
    operation_id = erase(operator, "ann")["id"]
    with log_rows.hold_lock(populated), pytest.raises(ArchiveRunning):
        operator.run(operation_id)
    done = operator.run(operation_id)
    assert [step["attempts"] for step in done["steps"]] == [1, 1, 1, 1, 1]
    expect_no_trace(populated, archive)
