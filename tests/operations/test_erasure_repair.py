"""Erasures that stopped, or that lost the learner's id, fail loudly and can be completed.

The ledger beside the archive has an entry for each erased learner's digest.
"""

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from progress import settings
from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import erasure, manifests
from progress.archive.erasure import Entry
from progress.errors import ProgressError
from progress.operations import records
from progress.operations.records import OperationKind
from progress.recovery import checks, erasures
from tests.conftest import Store
from tests.support import cloud_storage, model_rows, stage
from tests.support.erasure_fixtures import (
    LEARNER,
    NEEDLES,
    erase,
    find_traces,
    receipt,
)
from tests.support.operation_fixtures import Operator, limit_step

# An earlier version removed the ids of running erasures.
LOSE_ID = (
    """UPDATE operations.operations SET arguments = '{"erased": "00"}' WHERE operation_id = :id"""
)
ENTRY = Entry("ab" * 32, "5f0c1f0e-6a43-4c0e-9a53-0d2c6c1c7a11", datetime(2026, 11, 21, tzinfo=UTC))


def fail_in(operator: Operator, step: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Start an erasure that times out in a step; return its id."""
    operation_id: str = erase(operator)["id"]
    with monkeypatch.context() as limited:
        limit_step(limited, step, 0.0)
        assert operator.run_until_it_ends(operation_id)["state"] == "TIMED_OUT"
    return operation_id


def apply(store: Store) -> erasures.Result:
    with contextlib.closing(store.connect()) as owner:
        archive = manifests.open_archive(settings.current())
        return erasures.apply(owner, archive, stage.publisher(), lambda *_: None)


def is_reported(connection: Connection) -> bool:
    """Return whether a check says that an erased learner has rows left."""
    return any("1 erased learners" in finding.found for finding in checks.run(connection).findings)


@pytest.mark.parametrize("step", ["forget", "redact", "close"])
def test_an_erasure_without_the_id_of_the_learner_fails_and_can_be_completed(
    operator: Operator, traced: Connection, store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    operation_id = fail_in(operator, step, monkeypatch)
    traced.run(LOSE_ID, id=operation_id)
    operator.retry(operation_id)
    failed = operator.run_until_it_ends(operation_id)
    assert failed["state"] == "FAILED"
    assert "run `progress erasures apply`" in failed["error"]
    assert is_reported(traced)
    assert apply(store).erased == 1
    assert find_traces(traced, *NEEDLES) == []
    assert not is_reported(traced)


def test_an_erasure_that_succeeded_without_the_id_of_the_learner_can_be_completed(
    operator: Operator, traced: Connection, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation_id = fail_in(operator, "close", monkeypatch)
    traced.run(LOSE_ID, id=operation_id)
    traced.run("UPDATE operations.operations SET state = 'SUCCEEDED' WHERE kind = 'ERASE_USER'")
    assert is_reported(traced)
    assert apply(store).erased == 1
    assert find_traces(traced, *NEEDLES) == []
    assert apply(store).erased == 0


def test_an_erasure_that_another_one_has_overtaken_succeeds_with_the_receipt_of_the_other(
    operator: Operator, traced: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fail_in(operator, "redact", monkeypatch)
    key = str(uuid4())
    second = records.accept(
        traced, OperationKind.ERASE_USER, caller="b", key=key, subject=LEARNER, user_id=LEARNER
    )
    done = receipt(operator.run_until_it_ends(str(second)))
    operator.retry(first)
    assert receipt(operator.run_until_it_ends(first)) == done
    assert find_traces(traced, *NEEDLES) == []


def test_an_operation_that_an_erased_caller_has_started_keeps_no_id_when_it_ends(
    operator: Operator, traced: Connection
) -> None:
    query = 'mutation { runBatch(idempotencyKey: "k") { id } }'
    running = operator.ask(query, LEARNER, roles="admin")["data"]["runBatch"]["id"]
    before = model_rows.read_table(traced, "operations.operations")
    digest = receipt(operator.run(erase(operator)["id"]))["digest"]
    (unfinished,) = (
        row
        for row in model_rows.read_table(traced, "operations.operations")
        if row["finished_at"] is None
    )
    assert unfinished in before
    assert operator.run(running)["state"] == "SUCCEEDED"
    rows = model_rows.read_table(traced, "operations.operations")
    assert LEARNER not in str(rows)
    assert {row["started_by"]: row["requesters"] for row in rows}[digest] == [digest]


@pytest.fixture(params=["a folder", "a bucket"])
def archive(
    request: pytest.FixtureRequest, tmp_path: Path, bucket: cloud_storage.Bucket
) -> Storage:
    return storage.open_storage(str(tmp_path) if request.param == "a folder" else "gs://b/p")


def test_an_empty_archive_has_no_erasures(archive: Storage) -> None:
    assert erasure.read_digests(archive) == set()


def test_the_ledger_returns_the_written_entries(archive: Storage) -> None:
    other = Entry("cd" * 32, ENTRY.operation_id, ENTRY.erased_at)
    for entry in (ENTRY, other):
        erasure.write_entry(archive, entry)
    with archive.writing("ranges/x.json") as output:
        output.write(b"{}")
    assert erasure.read_digests(archive) == {ENTRY.digest, other.digest}
    assert erasure.read_entry(archive, ENTRY.digest) == ENTRY


def test_an_entry_that_is_written_again_does_not_change(archive: Storage) -> None:
    erasure.write_entry(archive, ENTRY)
    again = Entry(ENTRY.digest, "another operation", datetime(2027, 1, 1, tzinfo=UTC))
    erasure.write_entry(archive, again)
    assert erasure.read_entry(archive, ENTRY.digest) == ENTRY


def test_an_unfinished_entry_is_not_in_the_ledger(archive: Storage) -> None:
    def write() -> None:
        with archive.writing(f"erasures/{ENTRY.digest}.json") as output:
            output.write(b"{")
            assert erasure.read_digests(archive) == set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert erasure.read_digests(archive) == set()


def test_the_error_names_a_damaged_entry(archive: Storage) -> None:
    with archive.writing(f"erasures/{ENTRY.digest}.json") as output:
        output.write(b"{")
    with pytest.raises(ProgressError, match=f"erasures/{ENTRY.digest}.json of the archive"):
        erasure.read_entry(archive, ENTRY.digest)
