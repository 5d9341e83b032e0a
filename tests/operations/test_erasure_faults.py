"""Erasures under faults: a worker's death or an outage in any step does not change the result.

Erasures that stopped, or that lost the learner's id, fail loudly and can be completed. The ledger
beside the archive has an entry for each erased learner's digest.
"""

import contextlib
import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import erasure_ledger, manifests
from progress.archive.erasure_ledger import Entry
from progress.errors import ProgressError
from progress.operations import erasure_rows, records, runner
from progress.operations.claimed_operations import ClaimedOperation
from progress.operations.records import OperationKind
from progress.projections import batch, rebuild, replacement, schema
from progress.projections.projector import Projector
from progress.recovery import checks, ledger_erasures
from progress.serve import readiness
from tests.conftest import Store
from tests.support import model_rows, stage
from tests.support.erasure_fixtures import (
    BLOCKS,
    LEARNER,
    NEEDLES,
    erase,
    expect_erased,
    find_traces,
    receipt,
)
from tests.support.operation_fixtures import Operator

CHUNKED = (  # the statements that run once for each chunk
    *("redact events", "redact undeclared", "count undeclared", "delete snapshots"),
    *("redact letters", "hide sessions", "count mentions", "analyze"),
)


def test_each_step_can_be_stopped_before_each_of_its_chunks(
    operator: Operator, traced: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each chunk, the worker checks the time limits and whether it must stop."""
    run, blocks_run = database.run, list[str]()
    check = ClaimedOperation.raise_if_expired

    def run_and_record(connection: Connection, file: str, block: str, **values: object) -> Any:
        if file == "operations/erasure_rows":
            blocks_run.append(block)
        return run(connection, file, block, **values)

    def check_and_record(operation: ClaimedOperation) -> None:
        blocks_run.append("check")
        check(operation)

    for name in ("CHUNK", "_LETTERS", "_READ"):
        monkeypatch.setattr(erasure_rows, name, 1)
    monkeypatch.setattr(database, "run", run_and_record)
    monkeypatch.setattr(ClaimedOperation, "raise_if_expired", check_and_record)
    expect_erased(traced, operator.run(erase(operator)["id"]))
    chunked = Counter(block for block in blocks_run if block in CHUNKED)
    assert [block for block in CHUNKED if chunked[block] < 2] == []
    before = itertools.pairwise(blocks_run)
    assert {first for first, block in before if block in CHUNKED} == {"check"}


def test_a_learner_who_is_erased_between_the_fold_and_the_swap_of_a_rebuild_does_not_reappear(
    operator: Operator, store: Store, traced: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step of the erasure waits until the rebuild ends."""
    waits = 0

    def swap_at_the_second_wait(*_: object, **__: object) -> None:
        nonlocal waits
        waits += 1
        if waits == 2:
            second.swap()
            second.connection.run("SELECT pg_advisory_unlock_all()")

    with replacement.open_replacement(store.connect) as second:
        rebuild.fold(store.connect)
        operation_id = erase(operator)["id"]
        monkeypatch.setattr(ClaimedOperation, "wait", swap_at_the_second_wait)
        done = operator.run(operation_id)
    assert waits >= 2
    expect_erased(traced, done)


def test_a_concurrent_batch_run_leaves_no_rows_of_the_learner(
    operator: Operator, store: Store, traced: Connection
) -> None:
    """The batch run holds a lock until its transaction ends; the last step waits for this lock."""
    operation_id = erase(operator)["id"]
    with contextlib.closing(stage.connect(store.url)) as run, ThreadPoolExecutor(1) as pool:
        run.run(BLOCKS["copy weeks"])
        run.run("BEGIN")
        run.run(BLOCKS["begin batch run"])
        running = pool.submit(runner.run, UUID(operation_id))
        readiness.wait(lambda: model_rows.read_value(traced, "one waits"), "the last step")
        run.run(BLOCKS["write weeks"])
        run.run(BLOCKS["end batch run"])
        run.run("COMMIT")
        running.result()
    expect_erased(traced, operator.get(operation_id))


def test_the_learner_is_erased_from_every_read_model_schema(
    operator: Operator, traced: Connection
) -> None:
    """Two revisions serve during a release, and a rebuild may have left a schema behind."""
    name = schema.schema_name()
    others = ["progress_000000000000", "progress_000000000001_retired"]
    for other in others:
        traced.run(f"ALTER SCHEMA {name} RENAME TO {other}")
        schema.create(traced)
        schema.set_search_path(traced)
        Projector(traced).catch_up_all()
        batch.fold(traced, list(range(16)))
    traced.run(f"DROP FUNCTION {others[1]}.remove_deletion")  # as before version 0.4
    assert len([t for t in find_traces(traced, LEARNER) if ".user_progress:" in t]) == 3
    done = operator.run(erase(operator)["id"])
    expect_erased(traced, done)


# An earlier version removed the ids of running erasures.
LOSE_ID = (
    """UPDATE operations.operations SET arguments = '{"erased": "00"}' WHERE operation_id = :id"""
)


def fail_in(operator: Operator, step: str, monkeypatch: pytest.MonkeyPatch) -> str:
    def fail(_: ClaimedOperation) -> None:
        raise ProgressError("no luck")

    operation_id: str = erase(operator)["id"]
    with monkeypatch.context() as broken:
        actions = {**runner.ACTIONS["ERASE_USER"], step: fail}
        broken.setitem(runner.ACTIONS, "ERASE_USER", actions)
        assert operator.run_until_it_ends(operation_id)["state"] == "FAILED"
    return operation_id


def apply(store: Store) -> ledger_erasures.Result:
    with contextlib.closing(store.connect()) as owner:
        archive = manifests.open_archive(settings.current())
        return ledger_erasures.apply(owner, archive, lambda *_: None)


def is_reported(connection: Connection) -> bool:
    return any("1 erased learners" in finding.found for finding in checks.run(connection).findings)


@pytest.mark.exhaustive
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


@pytest.mark.exhaustive
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


@pytest.mark.exhaustive
@pytest.mark.parametrize("step", ["forbid", "redact"])
def test_an_erasure_that_another_one_has_overtaken_succeeds_with_the_receipt_of_the_other(
    operator: Operator, traced: Connection, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    first = fail_in(operator, step, monkeypatch)
    key = str(uuid4())
    second = records.accept(
        traced, OperationKind.ERASE_USER, caller="b", key=key, subject=LEARNER, user_id=LEARNER
    )
    done = receipt(operator.run_until_it_ends(str(second)))
    operator.retry(first)
    assert receipt(operator.run_until_it_ends(first)) == done
    assert find_traces(traced, *NEEDLES) == []


def test_the_ledger_keeps_the_first_entry_of_each_learner_and_names_a_damaged_one(
    archive: Storage,
) -> None:
    assert erasure_ledger.read_digests(archive) == set()
    first, again = (
        Entry("ab" * 32, operation_id, datetime(year, 1, 1, tzinfo=UTC))
        for operation_id, year in (("the first", 2026), ("another", 2027))
    )
    for entry in (first, Entry("cd" * 32, first.operation_id, first.erased_at), again):
        erasure_ledger.write_entry(archive, entry)
    archive.write("ranges/x.json", b"{}")
    assert erasure_ledger.read_digests(archive) == {"ab" * 32, "cd" * 32}
    assert erasure_ledger.read_entry(archive, first.digest) == first
    archive.write(f"erasures/{first.digest}.json", b"{")
    with pytest.raises(ProgressError, match=f"erasures/{first.digest}.json of the archive"):
        erasure_ledger.read_entry(archive, first.digest)
