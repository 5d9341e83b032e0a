"""Exports under faults: no incomplete file remains after deaths, outages and cancellations.

An outage of the bucket does not count as an attempt.
"""

import contextlib
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from progress import settings
from progress.adapters import retries
from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection
from progress.adapters.storage import bucket as adapter
from progress.adapters.storage import outputs
from progress.errors import StorageUnavailable, Unavailable
from progress.operations.claim import ClaimedOperation
from progress.projections import schema
from progress.projections.projector import SHARDS
from tests.conftest import Store
from tests.support import cloud_storage, doomed_worker, sample_events, stage
from tests.support.cloud_storage import Bucket
from tests.support.export_fixtures import export, export_statistics, get, read
from tests.support.operation_fixtures import BLOCKS, FIELDS, Operator, deliver, limit_step

_CHUNK, _QUANTUM = 512, 256  # Few bytes, so that an upload has several parts.
# Seven deliveries of the command take ten minutes: the pauses are 10, 20, 40, 80, 160 and 320 s.
_TEN_MINUTES = 7


# The kinds of exports: a learner's ZIP file, and both formats of statistics.
KINDS = ("ZIP", "CSV", "PARQUET")
BEGINS = {"ZIP": b"PK", "CSV": b"\xef\xbb\xbfuser_id,date,", "PARQUET": b"PAR1"}
# Each entry names a function of `progress`; a worker dies before or after it calls this function.
# Deaths before and after each step are those of test_kinds_under_faults.
DEATHS = {
    "first bytes": ("adapters.storage.outputs:HashedOutput", "write", "after"),
    # The object is complete, but the outcome is not recorded.
    "renamed": ("operations.claim:ClaimedOperation", "complete_step", "before"),
}


def start(operator: Operator, kind: str) -> str:
    """As an administrator, start an export; return the id of the operation."""
    if kind == "ZIP":
        return str(export(operator)["id"])
    return str(export_statistics(operator, f"table: DAILY, format: {kind}")["id"])


def read_download(operator: Operator, operation_id: str, kind: str) -> Any:
    """Return the download as the user sees it who may read the file."""
    user = ("ann", "learner") if kind == "ZIP" else ("ada", "admin")
    return get(operator, operation_id, *user)["download"]


def kill_a_worker(operation_id: str, point: str) -> None:
    doomed_worker.run_doomed(operation_id, functools.partial(doom, point))


def doom(point: str) -> None:
    owner, name, when = DEATHS[point]
    doomed_worker.doom_call(f"progress.{owner}", name, when)


@pytest.mark.first_in_gate
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("point", DEATHS)
def test_the_next_worker_completes_the_export_that_a_dead_worker_began(
    operator: Operator, populated: Connection, exports: Path, point: str, kind: str
) -> None:
    operation_id = start(operator, kind)
    kill_a_worker(operation_id, point)
    assert read_download(operator, operation_id, kind) is None
    for complete in exports.glob("*.zip"):
        read(complete)
    done = operator.run(operation_id)
    assert done["state"] == "SUCCEEDED"
    result = json.loads(done["result"])
    (file,) = exports.iterdir()
    content = file.read_bytes()
    assert (file.name, len(content)) == (result["object"], result["bytes"])
    assert hashlib.sha256(content).hexdigest() == result["sha256"]
    assert content.startswith(BEGINS[kind])
    assert kind != "ZIP" or read(file).keys() >= {"events.jsonl", "manifest.json"}


@pytest.mark.first_in_gate
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("point", [*DEATHS, None])
def test_a_cancelled_export_leaves_no_object(
    operator: Operator, populated: Connection, exports: Path, point: str | None, kind: str
) -> None:
    """The user who may read the file cancels the export while no worker runs it."""
    operation_id = start(operator, kind)
    if point:
        kill_a_worker(operation_id, point)
        assert [*exports.iterdir()]
    user, role = ("ann", "learner") if kind == "ZIP" else ("ada", "admin")
    cancel = f'mutation {{ cancelOperation(id: "{operation_id}") {FIELDS} }}'
    assert "errors" not in operator.ask(cancel, user, roles=role)
    done = operator.run(operation_id)
    assert (done["state"], done["error"]) == ("FAILED", "cancelled")
    assert not exports.exists() or not [*exports.iterdir()]
    assert read_download(operator, operation_id, kind) is None


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_can_be_cancelled_while_it_is_written(
    operator: Operator,
    populated: Connection,
    exports: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    operation_id = start(operator, kind)
    write, cancellations = outputs.Rows.write, list[bytes]()

    def write_and_cancel(rows: Any, row: bytes) -> None:
        cancellations.append(row)
        operator.cancel(operation_id)
        write(rows, row)

    monkeypatch.setattr(outputs.Rows, "write", write_and_cancel)
    monkeypatch.setattr(outputs, "_REPORT_INTERVAL", 1)
    assert operator.run(operation_id)["error"] == "cancelled"
    assert len(cancellations) == 1
    assert not [*exports.iterdir()]


@pytest.mark.first_in_gate
@pytest.mark.parametrize("kind", KINDS)
def test_an_attempt_fails_if_a_rebuild_replaces_the_read_models_but_the_next_attempt_succeeds(
    operator: Operator,
    populated: Connection,
    exports: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    operation_id = start(operator, kind)
    flush, flushes = outputs.Rows.flush, list[Any]()

    def flush_and_swap(rows: Any) -> None:
        flush(rows)
        if not flushes:
            populated.run(BLOCKS["retire read models"])
            schema.create(populated)
        flushes.append(rows)

    with monkeypatch.context() as swapped:
        swapped.setattr(outputs.Rows, "flush", flush_and_swap)
        with pytest.raises(Unavailable, match="a rebuild replaced the read models"):
            deliver(operation_id)
    assert not [*exports.iterdir()]
    assert operator.run(operation_id)["state"] == "SUCCEEDED"


def test_an_export_that_waits_for_the_shard_of_its_learner_can_be_cancelled_immediately(
    operator: Operator, populated: Connection, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker holds the learner's shard, so that the export cannot fold the new event."""
    operation_id = export(operator)["id"]
    stage.append(populated, [sample_events.user_deleted("ann")])
    wait, waits = ClaimedOperation.wait, list[float]()

    def cancel_and_wait(operation: ClaimedOperation, seconds: float) -> None:
        waits.append(seconds)
        operator.cancel(operation_id)
        wait(operation, seconds)

    monkeypatch.setattr(ClaimedOperation, "wait", cancel_and_wait)
    limit_step(monkeypatch, "write", 5.0)
    with contextlib.closing(stage.connect(store.url)) as holder:
        holder.run("BEGIN")
        for shard in SHARDS:
            holder.run(statements.blocks("projections/interface")["lock shard"], shard=shard)
        done = operator.run(operation_id)
    assert (done["state"], done["error"], len(waits)) == ("FAILED", "cancelled", 1)


def test_a_learner_deleted_after_the_request_is_not_exported(
    operator: Operator, populated: Connection, exports: Path
) -> None:
    operation_id = export(operator)["id"]
    stage.append(populated, [sample_events.user_deleted("ann")])
    done = operator.run(operation_id)
    assert (done["state"], done["error"]) == ("FAILED", "the learner is deleted")
    assert not [*exports.iterdir()]


@pytest.fixture
def exporting(
    operator: Operator,
    populated: Connection,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> Operator:
    """An administrator's client, whose exports go to the bucket in several parts."""
    monkeypatch.setenv("EXPORTS_BUCKET", "exports")
    monkeypatch.setattr(retries, "_FIRST_PAUSE_S", 0)
    monkeypatch.setattr(adapter, "_CHUNK", _CHUNK)
    monkeypatch.setattr(cloud_storage, "_QUANTUM", _QUANTUM)
    settings.current.cache_clear()
    return operator


def run(operator: Operator, operation_id: str) -> Any:
    """Run a worker that ends the operation; return the operation."""
    assert deliver(operation_id)
    return operator.get(operation_id)


def fail(operation_id: str, times: int) -> None:
    """Run `times` workers, each of which finds the bucket away."""
    for _ in range(times):
        with pytest.raises(StorageUnavailable):
            deliver(operation_id)


def expect_object(bucket: Bucket, done: Any) -> None:
    """Check that each step used one attempt, and that the result names the complete object."""
    assert done["state"] == "SUCCEEDED", done["error"]
    assert [step["attempts"] for step in done["steps"]] == [1, 1]
    file = json.loads(done["result"])
    assert bucket.objects.keys() == {file["object"]}
    assert hashlib.sha256(bucket.objects[file["object"]]).hexdigest() == file["sha256"]


@pytest.mark.first_in_gate
@pytest.mark.parametrize("fault", ["unavailable", "507"])
def test_an_export_is_complete_after_a_bucket_failed_for_ten_minutes(
    exporting: Operator, bucket: Bucket, fault: str
) -> None:
    operation_id = export(exporting)["id"]
    if fault == "507":
        bucket.refusals = [507] * 1_000
    else:
        bucket.outages = [{}] * (_TEN_MINUTES * retries.ATTEMPTS)
    fail(operation_id, _TEN_MINUTES)
    assert not bucket.outages
    assert not bucket.objects
    bucket.refusals.clear()
    expect_object(bucket, run(exporting, operation_id))


def test_a_bucket_outage_in_the_offer_step_does_not_count_as_an_attempt(
    exporting: Operator, bucket: Bucket
) -> None:
    operation_id = export(exporting)["id"]
    doomed_worker.run(operation_id, "EXPORT_USER", "offer", "before")
    bucket.outages = [{}] * (_TEN_MINUTES * retries.ATTEMPTS)
    fail(operation_id, _TEN_MINUTES)
    done = run(exporting, operation_id)
    # The killed worker made the first of the two attempts at the offer step.
    assert [step["attempts"] for step in done["steps"]] == [1, 2]
    assert bucket.objects.keys() == {json.loads(done["result"])["object"]}


def test_an_outage_of_the_bucket_delays_the_deletion_of_a_cancelled_export(
    exporting: Operator, bucket: Bucket
) -> None:
    operation_id = export(exporting)["id"]
    doomed_worker.run(operation_id, "EXPORT_USER", "write", "after")
    assert bucket.objects
    exporting.cancel(operation_id)
    bucket.outages = [{}] * (_TEN_MINUTES * retries.ATTEMPTS)
    fail(operation_id, _TEN_MINUTES)
    done = run(exporting, operation_id)
    assert (done["state"], done["error"]) == ("FAILED", "cancelled")
    assert not bucket.objects


def test_a_worker_that_dies_during_an_upload_leaves_no_object(
    exporting: Operator, bucket: Bucket
) -> None:
    operation_id = export(exporting)["id"]
    doomed_worker.run_doomed(operation_id, die_in_the_second_part)
    assert [len(held) for _, held in bucket.uploads.values()] == [_CHUNK]
    assert not bucket.objects
    done = run(exporting, operation_id)
    assert [step["attempts"] for step in done["steps"]] == [2, 1]
    assert bucket.objects.keys() == {json.loads(done["result"])["object"]}


def die_in_the_second_part() -> None:
    """Kill this process before it sends the second part of an upload."""
    adapter._CHUNK = _CHUNK
    send = adapter._Upload._send

    def send_once(upload: adapter._Upload, size: int, total: int | None) -> None:
        if upload._sent:
            doomed_worker.die()
        send(upload, size, total)

    setattr(adapter._Upload, "_send", send_once)  # noqa: B010 - mypy would reject the assignment
