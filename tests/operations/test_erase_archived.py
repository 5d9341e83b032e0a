"""ERASE_USER removes a learner from the archive and deletes the exports, whatever else runs."""

from pathlib import Path

import pytest

from progress import settings
from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import check, log_rows, manifests
from progress.errors import ArchiveRunning
from progress.projections import batch
from tests.support import archives, doomed_worker, model_rows, sample_events, stage
from tests.support.doomed_worker import POINTS
from tests.support.erasure_fixtures import (
    LEARNER,
    NEEDLES,
    erase,
    find_traces,
    receipt,
)
from tests.support.export_fixtures import export_statistics
from tests.support.operation_fixtures import Operator

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
    operator.run_until_it_ends(operation_id)
    expect_no_trace(populated, archive)


@pytest.mark.parametrize("point", POINTS)
def test_the_next_worker_completes_the_step_that_rewrites_the_files(
    operator: Operator, populated: Connection, archive: Storage, point: str
) -> None:
    operation_id = erase(operator, "ann")["id"]
    doomed_worker.run(operation_id, "ERASE_USER", "files", point)
    assert operator.run_until_it_ends(operation_id)["state"] == "SUCCEEDED"
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


def test_the_exports_of_the_learner_are_deleted(operator: Operator, traced: Connection) -> None:
    export = operator.start("exportUser", f'userId: "{LEARNER}", ')
    operator.run(export["id"])
    own = 'mutation { exportUser(idempotencyKey: "mine") { id } }'
    unfinished = operator.ask(own, LEARNER, roles="learner")["data"]["exportUser"]["id"]
    done = operator.run(erase(operator)["id"])
    assert (receipt(done)["erased"]["exports"], receipt(done)["erased"]["operations"]) == (2, 2)
    assert find_traces(traced, *NEEDLES) == []
    assert operator.get(unfinished)["state"] == "FAILED"
    assert operator.run(unfinished)["state"] == "FAILED"
    assert operator.error(own.replace("mine", "new"), LEARNER, roles="learner")[0] == "NOT_FOUND"


def test_exported_statistics_that_may_contain_rows_of_the_learner_are_deleted(
    operator: Operator, traced: Connection, exports: Path
) -> None:
    for learners in ("", f', learners: ["{LEARNER}"]', ', learners: ["ben"]'):
        operator.run(export_statistics(operator, f"table: DAILY{learners}")["id"])
    unfinished = export_statistics(operator, "table: ITEM")["id"]
    done = operator.run(erase(operator)["id"])
    assert receipt(done)["erased"]["exports"] == 3
    assert len([*exports.iterdir()]) == 1
    assert find_traces(traced, *NEEDLES) == []
    assert "request another export" in operator.get(unfinished)["error"]
    later = operator.run(export_statistics(operator, "table: DAILY")["id"])
    assert later["state"] == "SUCCEEDED"


def test_the_archive_contains_no_event_of_an_erased_learner(
    operator: Operator, traced: Connection
) -> None:
    archive = manifests.open_archive(settings.current())
    stage.append(traced, [sample_events.user_deleted(LEARNER)])
    batch.run(traced)
    archives.run(traced, archive)
    before = archives.files_with(archive, f"learner-{LEARNER}")
    erased = receipt(operator.run(erase(operator)["id"]))["erased"]
    # The erasure also rewrites one other file. This file contains an event of the learner's
    # session in a stream that belongs to no learner.
    assert erased["files"] == len(before) + 1
    assert erased["archived_events"] == erased["events"]
    assert erased["files"] > 0
    assert archives.files_with(archive, f"learner-{LEARNER}") == []
    assert not check.run_deep(traced, archive, lambda *_: None).findings
    checkpoints = manifests.read(archive).manifest.checkpoints  # type: ignore[union-attr]
    ids = {str(e["event_id"]) for e in model_rows.read_table(traced, "event_store.events")}
    assert {one.event_id for one in checkpoints} <= ids
