"""A bucket outage during an export does not count as an attempt and leaves no partial object."""

import hashlib
import json
import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from progress import settings
from progress.adapters import google_api, retries
from progress.adapters.postgres.database import Connection
from progress.adapters.storage import bucket as adapter
from progress.errors import AttemptFailed, StorageUnavailable
from progress.local import ports
from progress.operations import claim
from tests.support import cloud_storage, doomed_worker
from tests.support.cloud_storage import Bucket
from tests.support.export_fixtures import export
from tests.support.operation_fixtures import Operator, deliver
from tests.support.traced_runs import change

_CHUNK, _QUANTUM = 512, 256  # Few bytes, so that an upload has several parts.
# Seven deliveries of the command take ten minutes: the pauses are 10, 20, 40, 80, 160 and 320 s.
_TEN_MINUTES = 7


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the pauses between requests, in seconds, instead of waiting."""
    recorded: list[float] = []
    monkeypatch.setattr(retries, "time", SimpleNamespace(sleep=recorded.append))
    return recorded


@pytest.fixture
def exporting(
    operator: Operator,
    populated: Connection,
    bucket: Bucket,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> Operator:
    """An administrator's client, whose exports go to the bucket in several parts."""
    monkeypatch.setenv("EXPORTS_BUCKET", "exports")
    monkeypatch.setattr(adapter, "_CHUNK", _CHUNK)
    monkeypatch.setattr(cloud_storage, "_QUANTUM", _QUANTUM)
    settings.current.cache_clear()
    return operator


def run(operator: Operator, operation_id: str) -> Any:
    """Run a worker that ends the operation; return the operation."""
    assert deliver(operation_id)
    return operator.get(operation_id)


def fail(operation_id: str, times: int, error: type[Exception] = StorageUnavailable) -> None:
    """Run `times` workers, each of which fails with `error`."""
    for _ in range(times):
        with pytest.raises(error):
            deliver(operation_id)


def expect_object(bucket: Bucket, done: Any) -> None:
    """Check that each step used one attempt, and that the result names the complete object."""
    assert done["state"] == "SUCCEEDED", done["error"]
    assert [step["attempts"] for step in done["steps"]] == [1, 1]
    file = json.loads(done["result"])
    assert bucket.objects.keys() == {file["object"]}
    assert hashlib.sha256(bucket.objects[file["object"]]).hexdigest() == file["sha256"]


def test_an_export_is_complete_after_a_bucket_was_unavailable_for_ten_minutes(
    exporting: Operator, bucket: Bucket
) -> None:
    operation_id = export(exporting)["id"]
    bucket.outages = [{}] * (_TEN_MINUTES * retries.ATTEMPTS)
    fail(operation_id, _TEN_MINUTES)
    assert not bucket.outages
    assert not bucket.objects
    expect_object(bucket, run(exporting, operation_id))


def test_an_export_is_complete_after_a_bucket_refused_connections_for_ten_minutes(
    exporting: Operator, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation_id = export(exporting)["id"]
    with monkeypatch.context() as refused:
        refused.setenv("STORAGE_EMULATOR_HOST", f"http://{ports.HOST}:{ports.reserve()}")
        settings.current.cache_clear()
        fail(operation_id, _TEN_MINUTES)
    settings.current.cache_clear()
    expect_object(bucket, run(exporting, operation_id))


def test_a_bucket_outage_in_the_offer_step_does_not_count_as_an_attempt(
    exporting: Operator, bucket: Bucket
) -> None:
    operation_id = export(exporting)["id"]
    doomed_worker.run(operation_id, "EXPORT_USER", "offer", "before")
    bucket.outages = [{}] * (_TEN_MINUTES * retries.ATTEMPTS)
    fail(operation_id, _TEN_MINUTES)
    done = run(exporting, operation_id)
    assert [step["attempts"] for step in done["steps"]] == [
        1,
        2,
    ]  # the killed worker made the first of the two attempts at the offer step
    assert bucket.objects.keys() == {json.loads(done["result"])["object"]}


def test_an_outage_of_the_bucket_delays_the_deletion_of_a_cancelled_export(
    exporting: Operator, bucket: Bucket
) -> None:
    operation_id = export(exporting)["id"]
    doomed_worker.run(operation_id, "EXPORT_USER", "write", "after")
    assert bucket.objects
    change(exporting, "cancelOperation", operation_id)
    bucket.outages = [{}] * (_TEN_MINUTES * retries.ATTEMPTS)
    fail(operation_id, _TEN_MINUTES)
    done = run(exporting, operation_id)
    assert (done["state"], done["error"]) == ("FAILED", "cancelled")
    assert not bucket.objects


def test_an_export_waits_as_long_as_the_bucket_demands(
    exporting: Operator, bucket: Bucket, pauses: list[float]
) -> None:
    operation_id = export(exporting)["id"]
    bucket.outages = [{"Retry-After": "30"}] * (retries.ATTEMPTS - 1)
    expect_object(bucket, run(exporting, operation_id))
    assert [pause >= 30 for pause in pauses] == [True] * (retries.ATTEMPTS - 1)


@pytest.mark.parametrize("fault", ["cuts", "stalls"])
def test_an_export_over_a_slow_or_interrupted_connection_is_complete(
    exporting: Operator, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(google_api, "TIMEOUT_S", 0.3)
    operation_id = export(exporting)["id"]
    setattr(bucket, fault, [_QUANTUM] * (retries.ATTEMPTS + 1))
    expect_object(bucket, run(exporting, operation_id))


def test_a_507_response_of_the_bucket_does_not_count_as_an_attempt(
    exporting: Operator, bucket: Bucket
) -> None:
    operation_id = export(exporting)["id"]
    bucket.refusals = [507] * 1_000
    fail(operation_id, _TEN_MINUTES)
    assert not bucket.objects
    bucket.refusals.clear()
    expect_object(bucket, run(exporting, operation_id))


def test_a_bucket_that_forbids_the_upload_ends_the_export_after_five_attempts(
    exporting: Operator, bucket: Bucket
) -> None:
    operation_id = export(exporting)["id"]
    bucket.refusals = [403] * 1_000
    fail(operation_id, claim.MAX_ATTEMPTS - 1, AttemptFailed)
    done = run(exporting, operation_id)
    assert done["state"] == "FAILED"
    assert "HTTP 403" in done["error"]
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
            os.kill(os.getpid(), signal.SIGKILL)
        send(upload, size, total)

    setattr(adapter._Upload, "_send", send_once)  # noqa: B010 - mypy would reject the assignment
