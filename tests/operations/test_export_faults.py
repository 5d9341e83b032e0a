"""Exports under faults: deaths, cancellations, outages and rebuilds leave no half file."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Folder
from progress.errors import ProgressError, StorageUnavailable, Unavailable
from progress.operations import executor, export_user
from progress.projections import schema
from tests.support import doomed_export, sample_events, stage
from tests.support.export_fixtures import (
    export,
    exports,
    get,
    read,
)
from tests.support.operation_fixtures import (
    FIELDS,
    Operator,
    blocks,
    fake_publisher,
    operator,
    populated,
)

__all__ = ["exports", "fake_publisher", "operator", "populated"]


@pytest.mark.parametrize("point", doomed_export.POINTS)
def test_the_next_worker_completes_the_export_of_a_worker_that_died(
    operator: Operator, populated: Connection, exports: Path, point: str
) -> None:
    operation_id = export(operator)["id"]
    kill_a_worker(operation_id, point)
    assert get(operator, operation_id)["download"] is None
    for complete in exports.glob("*.zip"):
        read(complete)
    done = operator.run(operation_id)
    assert done["state"] == "SUCCEEDED"
    result = json.loads(done["result"])
    (archive,) = exports.iterdir()
    assert archive.name == result["object"]
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == result["sha256"]
    assert archive.stat().st_size == result["bytes"]
    assert read(archive).keys() >= {"events.jsonl", "manifest.json"}


def kill_a_worker(operation_id: str, point: str) -> None:
    """Run a worker in a process of its own, which kills itself at the point."""
    words = [sys.executable, "-m", "tests.support.doomed_export", operation_id, point]
    done = subprocess.run(words, env=dict(os.environ), timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("point", ["first bytes", "renamed", "deleted"])
def test_a_cancelled_export_leaves_no_object(
    operator: Operator, populated: Connection, exports: Path, point: str
) -> None:
    """The learner cancels what an administrator started, while no worker runs it."""
    operation_id = export(operator)["id"]
    if point != "deleted":
        kill_a_worker(operation_id, point)
        assert [*exports.iterdir()]
    cancel = f'mutation {{ cancelOperation(id: "{operation_id}") {FIELDS} }}'
    assert "errors" not in operator.ask(cancel, "ann", roles="learner")
    done = operator.run(operation_id)
    assert (done["state"], done["error"]) == ("FAILED", "cancelled")
    assert not exports.exists() or not [*exports.iterdir()]
    assert get(operator, operation_id)["download"] is None


def test_an_export_is_cancelled_while_it_is_written(
    operator: Operator, populated: Connection, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation_id = export(operator)["id"]
    write = export_user._HashedOutput.write

    def write_and_cancel(output: Any, data: Any) -> int:
        operator.ask(f'mutation {{ cancelOperation(id: "{operation_id}") {{ id }} }}')
        return write(output, data)

    monkeypatch.setattr(export_user._HashedOutput, "write", write_and_cancel)
    monkeypatch.setattr(export_user, "_REPORT_INTERVAL", 1)
    assert operator.run(operation_id)["error"] == "cancelled"
    assert not [*exports.iterdir()]


def test_an_outage_of_the_storage_uses_up_no_attempt(
    operator: Operator, populated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation_id = export(operator)["id"]

    def fail(*_: object) -> None:
        raise StorageUnavailable("no response")

    for _ in range(7):
        with monkeypatch.context() as broken:
            broken.setattr(export_user, "write", fail)
            with pytest.raises(StorageUnavailable):
                executor.run(UUID(operation_id))
    done = operator.run(operation_id)
    assert [step["attempts"] for step in done["steps"]] == [1, 1]


def test_a_rebuild_during_the_export_lets_the_attempt_fail(
    operator: Operator, populated: Connection, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation_id = export(operator)["id"]
    write_files = export_user._write_files

    def write_and_swap(*arguments: Any) -> None:
        write_files(*arguments)
        populated.run(blocks()["retire read models"])
        schema.create(populated)

    with monkeypatch.context() as swapped:
        swapped.setattr(export_user, "_write_files", write_and_swap)
        with pytest.raises(Unavailable, match="a rebuild replaced the read models"):
            executor.run(UUID(operation_id))
    assert not [*exports.iterdir()]
    assert operator.run(operation_id)["state"] == "SUCCEEDED"


def test_a_learner_deleted_after_the_request_is_not_exported(
    operator: Operator, populated: Connection, exports: Path
) -> None:
    operation_id = export(operator)["id"]
    stage.append(populated, [sample_events.user_deleted("ann")])
    done = operator.run(operation_id)
    assert (done["state"], done["error"]) == ("FAILED", "the learner is deleted")
    assert not [*exports.iterdir()]


def test_a_file_left_by_a_dead_process_is_removed(tmp_path: Path) -> None:
    folder = Folder(tmp_path)

    def write() -> None:
        with folder.writing("x.zip") as output:
            output.write(b"half")
            raise ProgressError("failed")

    with pytest.raises(ProgressError):
        write()
    folder.remove_file("x.zip")
    folder.remove_file("x.zip")
    assert not [*tmp_path.iterdir()]
