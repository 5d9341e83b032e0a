"""Attempts and timeouts of an operation's steps."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import OperationClaimed, Unavailable
from progress.local import readiness
from progress.operations import claim
from progress.projections import batch, projector, replacement
from progress.projections.replacement import Holder
from tests.conftest import Store
from tests.support import model_rows, sample_events, traced_operation
from tests.support.operation_fixtures import (
    Operator,
    blocks,
    deliver,
    limit_step,
    list_changes,
    result,
    step_named,
    url_of,
)
from tests.support.stage import connect
from tests.support.traced_runs import (
    Hooks,
    change,
    run_a_worker_that_dies,
    run_until_it_ends,
    start,
)


def claim_released(connection: Connection, operation_id: str) -> claim.ClaimedOperation:
    """Claim the operation as soon as the server has ended the session of its last worker."""
    claims: list[claim.ClaimedOperation | None] = []

    def has_claimed() -> bool:
        with contextlib.suppress(OperationClaimed):
            claims.append(claim.claim(connection, UUID(operation_id)))
        return bool(claims)

    readiness.wait(has_claimed, "the claim")
    assert claims[0]
    return claims[0]


def test_an_operation_fails_after_five_workers_have_died(operator: Operator, store: Store) -> None:
    started = operator.start("runBatch")
    for _ in range(claim.MAX_ATTEMPTS):
        with contextlib.closing(database.connect(url_of(store, "project"))) as dying:
            claim_released(dying, started["id"]).begin_step(step_named("batch"))
    assert deliver(started["id"])
    done = operator.get(started["id"])
    assert (done["state"], done["error"]) == ("FAILED", "batch: 5 attempts did not finish")
    assert done["steps"][0]["attempts"] == 5
    assert done["finishedAt"]


def test_a_failing_step_is_attempted_five_times_and_then_fails_the_operation(
    operator: Operator, populated: Connection
) -> None:
    started = operator.start("rebuildProjections")
    populated.run(blocks()["revoke log"])
    try:
        for attempt in range(1, claim.MAX_ATTEMPTS):
            with pytest.raises(Unavailable, match=f"attempt {attempt}: permission denied"):
                deliver(started["id"])
            now = operator.get(started["id"])
            assert (now["state"], now["error"]) == ("RUNNING", None)
            assert (now["steps"][0]["state"], now["steps"][0]["attempts"]) == ("PENDING", attempt)
            assert "permission denied" in now["steps"][0]["error"]
        done = operator.run(started["id"])
    finally:
        populated.run(blocks()["grant log"])
    assert done["state"] == "FAILED"
    assert done["error"].startswith("fold: permission denied")
    assert (done["result"], done["steps"][0]["state"]) == (None, "FAILED")
    assert done["steps"][1] == {"name": "swap", "state": "PENDING", "attempts": 0, "error": None}
    assert model_rows.read_value(populated, "schemas") == 1
    assert not sample_events.find_differences(populated)


def test_a_step_that_failed_once_succeeds_at_the_second_attempt(
    operator: Operator, populated: Connection
) -> None:
    started = operator.start("rebuildProjections")
    populated.run(blocks()["revoke log"])
    with pytest.raises(Unavailable):
        deliver(started["id"])
    populated.run(blocks()["grant log"])
    done = operator.run(started["id"])
    result(done)
    assert done["steps"][0] == {"name": "fold", "state": "SUCCEEDED", "attempts": 2, "error": None}


@pytest.mark.every_postgres
@pytest.mark.parametrize(
    ("step", "lock", "states"),
    [
        ("fold", "hold the log", ["TIMED_OUT", "PENDING"]),
        ("swap", "hold the swap", ["SUCCEEDED", "TIMED_OUT"]),
    ],
)
def test_a_step_that_exceeds_its_timeout_ends_the_operation_and_changes_nothing(
    operator: Operator,
    store: Store,
    populated: Connection,
    monkeypatch: pytest.MonkeyPatch,
    *,
    step: str,
    lock: str,
    states: list[str],
) -> None:
    limit_step(monkeypatch, step, 0.3)
    started = operator.start("rebuildProjections")
    with contextlib.closing(connect(store.url)) as holder:
        holder.run("BEGIN")
        holder.run(blocks()[lock])
        done = operator.run(started["id"])
    assert (done["state"], done["error"]) == ("TIMED_OUT", f"{step}: not done within 0 s")
    assert [step["state"] for step in done["steps"]] == states
    assert done["result"] is None
    assert model_rows.read_value(populated, "schemas") == 1
    assert not sample_events.find_differences(populated)


def test_a_batch_operation_waits_for_another_batch_run_until_the_step_times_out(
    operator: Operator, store: Store, populated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(connect(store.url)) as winner:
        winner.run("BEGIN")
        projector.Projector(winner)
        batch.fold(winner, [3])
        with ThreadPoolExecutor(1) as pool:
            started = operator.start("runBatch")
            running = pool.submit(operator.run, started["id"])
            readiness.wait(lambda: len(list_changes(populated)) == 3, "the step")
            winner.run("ROLLBACK")
        result(running.result())
        winner.run("BEGIN")
        batch.fold(winner, [3])
        limit_step(monkeypatch, "batch", 0.5)
        done = operator.run(operator.start("runBatch")["id"])
        winner.run("ROLLBACK")
    assert (done["state"], done["steps"][0]["state"]) == ("TIMED_OUT", "TIMED_OUT")


def test_a_rebuild_waits_for_another_rebuild_to_end(
    operator: Operator, store: Store, populated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = operator.start("rebuildProjections")
    calls: list[bool] = []
    open_replacement = replacement.open_replacement

    def count(*arguments: Any, **options: Any) -> Any:
        calls.append(True)
        return open_replacement(*arguments, **options)

    monkeypatch.setattr(replacement, "open_replacement", count)
    with ThreadPoolExecutor(1) as pool, contextlib.closing(connect(store.url)) as holder:
        holder.run(blocks()["hold rebuilds"])
        running = pool.submit(operator.run, started["id"])
        readiness.wait(lambda: len(calls) > 1, "a second try")
        holder.run(blocks()["release rebuilds"])
        done = running.result()
    result(done)
    assert done["steps"][0]["attempts"] == 1


def test_a_rebuild_that_waited_too_long_names_what_it_waited_for(
    operator: Operator, store: Store, populated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_step(monkeypatch, "fold", 0.3)
    started = operator.start("rebuildProjections")
    with replacement.hold_lock(populated, Holder.RESTORE):
        done = operator.run(started["id"])
    assert done["error"].startswith("fold: not done within 0 s; a restore has been running since ")


def test_an_outage_during_a_step_does_not_affect_the_count_of_attempts_to_undo_the_step(
    operator: Operator, hooks: Hooks, connection: Connection
) -> None:
    """An attempt that an outage ends must not count, but an attempt to undo a step must.

    The database has already counted the attempt that the outage ends. The process cannot correct
    this count during the outage. It therefore remembers to leave the count unchanged at its next
    attempt to run the step. In this test, there is no such attempt: another worker completes the
    step, and after a cancellation, the process undoes it. The process must count this attempt.
    """
    operation_id = start(operator)
    sql = traced_operation.blocks()
    hooks["prepare", "before"] = lambda: connection.run(sql["break workers"], name="operation")
    with pytest.raises(Unavailable):
        deliver(operation_id)
    run_a_worker_that_dies(operation_id, "write", "before")
    change(operator, "cancelOperation", operation_id)
    run_until_it_ends(operator, operation_id)
    counts = connection.run(sql["compensations"], operation_id=operation_id, step="prepare")
    assert counts == [[1]]
