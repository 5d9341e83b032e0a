"""Exports under faults: no incomplete file remains after deaths, outages and cancellations."""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Folder
from progress.errors import ProgressError, StorageUnavailable, Unavailable
from progress.operations import export_steps, export_user
from progress.operations.claim import ClaimedOperation
from progress.projections import schema
from progress.projections.projector import SHARDS
from tests.conftest import Store
from tests.support import doomed_export, sample_events, stage
from tests.support.export_fixtures import (
    export,
    export_statistics,
    get,
    kill_a_worker,
    read,
)
from tests.support.operation_fixtures import (
    FIELDS,
    Operator,
    blocks,
    deliver,
    limit_step,
)


@pytest.mark.parametrize("point", doomed_export.POINTS)
def test_the_next_worker_completes_the_export_that_a_dead_worker_began(
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


@pytest.mark.exhaustive
@pytest.mark.parametrize("format_", ["CSV", "PARQUET"])
@pytest.mark.parametrize("point", doomed_export.POINTS)
def test_the_next_worker_completes_the_statistics_export_that_a_dead_worker_began(
    operator: Operator, populated: Connection, exports: Path, point: str, format_: str
) -> None:
    operation_id = export_statistics(operator, f"table: DAILY, format: {format_}")["id"]
    kill_a_worker(operation_id, point)
    assert get(operator, operation_id, "ada", "admin")["download"] is None
    result = json.loads(operator.run(operation_id)["result"])
    (file,) = exports.iterdir()
    content = file.read_bytes()
    assert (file.name, len(content)) == (result["object"], result["bytes"])
    assert hashlib.sha256(content).hexdigest() == result["sha256"]
    assert content.startswith(b"user_id,date," if format_ == "CSV" else b"PAR1")


@pytest.mark.parametrize("format_", ["CSV", "PARQUET"])
@pytest.mark.parametrize("point", ["first bytes", "renamed", "deleted"])
def test_a_cancelled_export_of_statistics_leaves_no_object(
    operator: Operator, populated: Connection, exports: Path, point: str, format_: str
) -> None:
    operation_id = export_statistics(operator, f"table: DAILY, format: {format_}")["id"]
    if point != "deleted":
        kill_a_worker(operation_id, point)
        assert [*exports.iterdir()]
    operator.data(f'mutation {{ cancelOperation(id: "{operation_id}") {{ id }} }}')
    assert operator.run(operation_id)["error"] == "cancelled"
    assert not exports.exists() or not [*exports.iterdir()]


@pytest.mark.parametrize("format_", ["CSV", "PARQUET"])
def test_an_export_of_statistics_can_be_cancelled_while_it_is_written(
    operator: Operator,
    populated: Connection,
    exports: Path,
    monkeypatch: pytest.MonkeyPatch,
    format_: str,
) -> None:
    operation_id = export_statistics(operator, f"table: DAILY, format: {format_}")["id"]
    write, cancellations = export_steps.Rows.write, list[bytes]()

    def write_and_cancel(rows: Any, row: bytes) -> None:
        cancellations.append(row)
        operator.ask(f'mutation {{ cancelOperation(id: "{operation_id}") {{ id }} }}')
        write(rows, row)

    monkeypatch.setattr(export_steps.Rows, "write", write_and_cancel)
    monkeypatch.setattr(export_steps, "_REPORT_INTERVAL", 1)
    assert operator.run(operation_id)["error"] == "cancelled"
    assert len(cancellations) == 1
    assert not [*exports.iterdir()]


@pytest.mark.parametrize("format_", ["CSV", "PARQUET"])
def test_a_storage_outage_does_not_count_as_an_attempt_of_a_statistics_export(
    operator: Operator, populated: Connection, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    operation_id = export_statistics(operator, f"table: DAILY, format: {format_}")["id"]

    def fail(*_: object) -> None:
        raise StorageUnavailable("no response")

    for _ in range(7):
        with monkeypatch.context() as broken:
            broken.setattr(export_steps.HashedOutput, "write", fail)
            with pytest.raises(StorageUnavailable):
                deliver(operation_id)
    deliver(operation_id)
    assert [step["attempts"] for step in operator.get(operation_id)["steps"]] == [1, 1]


def test_an_attempt_at_a_statistics_export_fails_if_a_rebuild_replaces_the_read_models(
    operator: Operator, populated: Connection, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation_id = export_statistics(operator, "table: DAILY")["id"]
    flush = export_steps.Rows.flush

    def flush_and_swap(rows: Any) -> None:
        flush(rows)
        populated.run(blocks()["retire read models"])
        schema.create(populated)

    with monkeypatch.context() as swapped:
        swapped.setattr(export_steps.Rows, "flush", flush_and_swap)
        with pytest.raises(Unavailable, match="a rebuild replaced the read models"):
            deliver(operation_id)
    assert not [*exports.iterdir()]
    assert operator.run(operation_id)["state"] == "SUCCEEDED"


@pytest.mark.parametrize("point", ["first bytes", "renamed", "deleted"])
def test_a_cancelled_export_leaves_no_object(
    operator: Operator, populated: Connection, exports: Path, point: str
) -> None:
    """The learner cancels an administrator's export while no worker runs it."""
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


def test_an_export_can_be_cancelled_while_it_is_written(
    operator: Operator, populated: Connection, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation_id = export(operator)["id"]
    write = export_steps.HashedOutput.write

    def write_and_cancel(output: Any, data: Any) -> int:
        operator.ask(f'mutation {{ cancelOperation(id: "{operation_id}") {{ id }} }}')
        return write(output, data)

    monkeypatch.setattr(export_steps.HashedOutput, "write", write_and_cancel)
    monkeypatch.setattr(export_steps, "_REPORT_INTERVAL", 1)
    assert operator.run(operation_id)["error"] == "cancelled"
    assert not [*exports.iterdir()]


def test_an_export_that_waits_for_the_shard_of_its_learner_can_be_cancelled_immediately(
    operator: Operator, populated: Connection, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker holds the learner's shard, so that the export cannot fold the new event."""
    operation_id = export(operator)["id"]
    stage.append(populated, [sample_events.user_deleted("ann")])
    wait, waits = ClaimedOperation.wait, list[float]()

    def cancel_and_wait(operation: ClaimedOperation, seconds: float) -> None:
        waits.append(seconds)
        operator.ask(f'mutation {{ cancelOperation(id: "{operation_id}") {{ id }} }}')
        wait(operation, seconds)

    monkeypatch.setattr(ClaimedOperation, "wait", cancel_and_wait)
    limit_step(monkeypatch, "write", 5.0)
    with contextlib.closing(stage.connect(store.url)) as holder:
        holder.run("BEGIN")
        for shard in SHARDS:
            holder.run(statements.blocks("projections/fold")["lock_shard"], shard=shard)
        done = operator.run(operation_id)
    assert (done["state"], done["error"], len(waits)) == ("FAILED", "cancelled", 1)


def test_a_storage_outage_does_not_count_as_an_attempt(
    operator: Operator, populated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation_id = export(operator)["id"]

    def fail(*_: object) -> None:
        raise StorageUnavailable("no response")

    for _ in range(7):
        with monkeypatch.context() as broken:
            broken.setattr(export_user, "write", fail)
            with pytest.raises(StorageUnavailable):
                deliver(operation_id)
    done = operator.run(operation_id)
    assert [step["attempts"] for step in done["steps"]] == [1, 1]


def test_an_attempt_fails_if_a_rebuild_replaces_the_read_models_but_the_next_attempt_succeeds(
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
            deliver(operation_id)
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


def test_no_file_remains_after_a_failed_write_and_two_removals(tmp_path: Path) -> None:
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
