"""The runner: killed workers, outages, cancellations, attempts and timeouts."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import (
    AttemptFailed,
    DatabaseUnavailable,
    OperationClaimed,
    ProgressError,
    Unavailable,
)
from progress.local import readiness
from progress.operations import claim, runner
from progress.projections import batch, projector, replacement
from progress.projections.replacement import Holder
from tests.conftest import Store
from tests.support import model_rows, sample_events, traced_operation
from tests.support.doomed_worker import POINTS
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
from tests.support.parameters import first_in_gate
from tests.support.stage import connect
from tests.support.traced_operation import (
    COMPENSATED,
    DONE,
    STEPS,
    Hooks,
    run_a_worker_that_dies,
    start,
)


def test_an_operation_that_older_code_accepted_leaves_out_a_new_step(
    operator: Operator, hooks: Hooks, connection: Connection
) -> None:
    operation_id = start(operator)
    connection.run(
        traced_operation.blocks()["remove step"], operation_id=operation_id, step=STEPS[-1]
    )
    done = operator.run_until_it_ends(operation_id)
    assert (done["state"], done["result"]) == ("SUCCEEDED", '{"step": "offer"}')
    assert traced_operation.read_runs(connection) == DONE[:-1]


@pytest.mark.parametrize("point", first_in_gate(reversed(POINTS)))
@pytest.mark.parametrize("step", STEPS)
def test_the_next_worker_resumes_at_the_step_in_which_a_worker_died(
    operator: Operator, hooks: Hooks, connection: Connection, step: str, point: str
) -> None:
    operation_id = start(operator)
    run_a_worker_that_dies(operation_id, step, point)
    done = operator.run_until_it_ends(operation_id)
    assert (done["state"], done["result"]) == ("SUCCEEDED", '{"step": "tidy"}')
    assert [s["attempts"] for s in done["steps"]] == [2 if s == step else 1 for s in STEPS]
    again = [(step, "do")] if point == "after" else []
    at = STEPS.index(step)
    assert traced_operation.read_runs(connection) == DONE[:at] + again + DONE[at:]
    assert traced_operation.read_effects(connection) == sorted(STEPS)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("step", COMPENSATED)
def test_the_next_worker_completes_the_compensation_in_which_a_worker_died(
    operator: Operator, hooks: Hooks, connection: Connection, step: str, point: str
) -> None:
    operation_id = start(operator)
    run_a_worker_that_dies(operation_id, step, f"undo {point}")
    assert operator.get(operation_id)["state"] == "COMPENSATING"
    done = operator.run_until_it_ends(operation_id)
    assert (done["state"], done["error"]) == ("FAILED", "cancelled")
    assert [s["state"] for s in done["steps"]] == ["PENDING"] * 4
    undone = [s for s, effect in traced_operation.read_runs(connection) if effect == "undo"]
    expected = {
        ("write", "before"): ["write", "prepare"],
        ("write", "after"): ["write", "write", "prepare"],
        ("prepare", "before"): ["write", "prepare"],
        ("prepare", "after"): ["write", "prepare", "prepare"],
    }
    assert undone == expected[step, point]
    assert traced_operation.read_effects(connection) == []


@pytest.mark.parametrize("name", ["operation", "effect"])
@pytest.mark.parametrize("step", first_in_gate(STEPS))
def test_a_database_outage_during_a_step_does_not_count_as_an_attempt(
    operator: Operator, hooks: Hooks, connection: Connection, step: str, name: str
) -> None:
    """Either the connection that holds the worker's claim or the connection of the step is lost."""
    operation_id = start(operator)

    def break_connections() -> None:
        connection.run(traced_operation.blocks()["break workers"], name=name)
        if name == "effect":
            raise DatabaseUnavailable("the database did not respond")

    hooks[step, "before"] = break_connections
    for _ in range(claim.MAX_ATTEMPTS + 2):
        with pytest.raises(DatabaseUnavailable):
            deliver(operation_id)
    del hooks[step, "before"]
    done = operator.run_until_it_ends(operation_id)
    assert done["state"] == "SUCCEEDED"
    assert [s["attempts"] for s in done["steps"]] == [1] * 4
    assert sorted(set(traced_operation.read_runs(connection))) == sorted(DONE)
    assert traced_operation.read_effects(connection) == sorted(STEPS)


def test_a_refused_connection_does_not_count_as_an_attempt(
    operator: Operator, hooks: Hooks, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation_id = start(operator)
    with monkeypatch.context() as refused:
        refused.setattr(database, "connect", refuse)
        for _ in range(claim.MAX_ATTEMPTS + 2):
            with pytest.raises(DatabaseUnavailable):
                deliver(operation_id)
    assert operator.run_until_it_ends(operation_id)["state"] == "SUCCEEDED"
    assert traced_operation.read_runs(connection) == DONE


def refuse(*_: object, **__: object) -> Connection:
    """Refuse a connection."""
    raise DatabaseUnavailable("no connection")


def test_a_cancellation_also_undoes_a_step_that_an_outage_interrupted(
    operator: Operator, hooks: Hooks, connection: Connection
) -> None:
    operation_id = start(operator)
    hooks["prepare", "after"] = refuse
    with pytest.raises(DatabaseUnavailable):
        deliver(operation_id)
    assert traced_operation.read_effects(connection) == ["prepare"]
    operator.cancel(operation_id)
    assert operator.run_until_it_ends(operation_id)["state"] == "FAILED"
    assert traced_operation.read_effects(connection) == []


def test_an_attempt_fails_if_the_outcome_of_the_step_is_larger_than_64_kib(
    operator: Operator, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation_id = start(operator)
    actions = {**runner.ACTIONS["REBUILD"], "prepare": lambda _: "x" * 65_535}
    monkeypatch.setitem(runner.ACTIONS, "REBUILD", actions)
    with pytest.raises(AttemptFailed, match="steps_outcome_check"):
        deliver(operation_id)
    (prepare, *_) = operator.get(operation_id)["steps"]
    assert (prepare["state"], prepare["attempts"]) == ("PENDING", 1)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_always_fails_ends_the_operation_after_five_attempts(
    operator: Operator, hooks: Hooks, connection: Connection, step: str
) -> None:
    operation_id = start(operator)
    hooks[step, "before"] = fail
    for _ in range(claim.MAX_ATTEMPTS - 1):
        with pytest.raises(AttemptFailed, match="no luck"):
            deliver(operation_id)
    deliver(operation_id)
    failed = operator.get(operation_id)
    assert (failed["state"], failed["error"]) == ("FAILED", f"{step}: no luck")
    assert [s["attempts"] for s in failed["steps"] if s["name"] == step] == [5]
    expect_its_end(operator, hooks, connection, step, operation_id)


def fail() -> None:
    """Fail an attempt."""
    raise ProgressError("no luck")


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_exceeds_its_timeout_ends_the_operation(
    operator: Operator,
    hooks: Hooks,
    connection: Connection,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as limited:
        limit_step(limited, step, 0.0)
        operation_id = start(operator)
        deliver(operation_id)
    ended = operator.get(operation_id)
    assert (ended["state"], ended["error"]) == ("TIMED_OUT", f"{step}: not done within 0 s")
    expect_its_end(operator, hooks, connection, step, operation_id)


@pytest.mark.parametrize("step", STEPS[:-1])
def test_an_operation_ends_if_it_exceeds_its_time_limit_during_any_step(
    operator: Operator, hooks: Hooks, connection: Connection, step: str
) -> None:
    operation_id = start(operator)
    hooks[step, "before"] = lambda: expire(connection, operation_id)
    deliver(operation_id)
    ended = operator.get(operation_id)
    assert (ended["state"], ended["error"]) == (
        "TIMED_OUT",
        "not done within 24 h of its acceptance",
    )
    expect_its_end(operator, hooks, connection, step, operation_id)


def expire(connection: Connection, operation_id: str) -> None:
    """Let the operation's time limit expire now."""
    connection.run(traced_operation.blocks()["expire"], operation_id=operation_id)


def expect_its_end(
    operator: Operator, hooks: Hooks, connection: Connection, step: str, operation_id: str
) -> None:
    """Assert that the ended operation left no effect and cannot be retried.

    If it ended after the point of no return, assert instead that a retry succeeds.
    """
    hooks.clear()
    if step in COMPENSATED:
        assert traced_operation.read_effects(connection) == []
        assert operator.retry(operation_id) == "BAD_USER_INPUT"
        assert not deliver(operation_id)
        return
    before = traced_operation.read_runs(connection)
    assert before in (DONE[: STEPS.index(step)], DONE[: STEPS.index(step) + 1])
    assert operator.retry(operation_id)["state"] == "PENDING"
    assert operator.called()[-1] == operation_id
    done = operator.run_until_it_ends(operation_id)
    assert (done["state"], done["error"]) == ("SUCCEEDED", None)
    assert traced_operation.read_runs(connection) == DONE
    assert operator.retry(operation_id) == "BAD_USER_INPUT"


@pytest.mark.parametrize("step", STEPS)
def test_a_cancellation_undoes_the_steps_but_is_rejected_after_the_point_of_no_return(
    operator: Operator, hooks: Hooks, connection: Connection, step: str
) -> None:
    operation_id = start(operator)
    responses: list[Any] = []
    hooks[step, "before"] = lambda: responses.append(operator.cancel(operation_id))
    done = operator.run_until_it_ends(operation_id)
    if step in COMPENSATED:
        assert responses[0]["state"] == "RUNNING"
        assert (done["state"], done["error"]) == ("FAILED", "cancelled")
        assert traced_operation.read_effects(connection) == []
    else:
        assert responses == ["BAD_USER_INPUT"]
        assert done["state"] == "SUCCEEDED"
    assert operator.cancel(operation_id) == "BAD_USER_INPUT"


def test_an_operation_that_is_cancelled_before_a_worker_begins_it_ends_without_any_step(
    operator: Operator, hooks: Hooks, connection: Connection
) -> None:
    operation_id = start(operator)
    assert operator.cancel(operation_id)["state"] == "PENDING"
    assert operator.run_until_it_ends(operation_id)["state"] == "FAILED"
    assert traced_operation.read_runs(connection) == []


@pytest.mark.parametrize("breaks", [True, False])
def test_outages_during_a_compensation_are_not_counted_and_all_effects_are_undone_later(
    operator: Operator, hooks: Hooks, connection: Connection, *, breaks: bool
) -> None:
    """The worker loses the connection that holds its claim, or cannot connect to compensate."""
    operation_id = start(operator)

    def break_connection() -> None:
        connection.run(traced_operation.blocks()["break workers"], name="operation")

    hooks["write", "before"] = lambda: operator.cancel(operation_id)
    hooks["write", "undo before"] = break_connection if breaks else refuse
    for _ in range(claim.MAX_ATTEMPTS + 2):
        with pytest.raises(DatabaseUnavailable):
            deliver(operation_id)
    hooks.clear()
    done = operator.run_until_it_ends(operation_id)
    assert (done["state"], done["error"]) == ("FAILED", "cancelled")
    assert traced_operation.read_effects(connection) == []
    assert ("write", "undo") in traced_operation.read_runs(connection)


def test_the_final_error_names_a_compensation_that_always_fails(
    operator: Operator, hooks: Hooks, connection: Connection
) -> None:
    operation_id = start(operator)
    hooks["write", "before"] = lambda: operator.cancel(operation_id)
    hooks["write", "undo before"] = fail
    for _ in range(claim.MAX_ATTEMPTS - 1):
        with pytest.raises(AttemptFailed):
            deliver(operation_id)
    deliver(operation_id)
    ended = operator.get(operation_id)
    assert (ended["state"], ended["error"]) == (
        "FAILED", "cancelled; not compensated: write: no luck",
    )  # fmt: skip


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
    operator.cancel(operation_id)
    operator.run_until_it_ends(operation_id)
    counts = connection.run(sql["compensations"], operation_id=operation_id, step="prepare")
    assert counts == [[1]]
