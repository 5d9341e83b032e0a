"""The runner: workers, outages, cancellations, attempts, timeouts and callers of an operation."""

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import product
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
from progress.operations import batch_job, claimed_operations, records, runner
from progress.operations.records import OperationKind
from progress.projections import batch, projector, replacement
from progress.projections.replacement import Holder
from progress.serve import readiness
from tests.conftest import Store
from tests.support import model_rows, sample_events, traced_operation
from tests.support.doomed_worker import POINTS
from tests.support.operation_fixtures import (
    BLOCKS,
    USERS,
    Operator,
    deliver,
    limit_step,
    list_changes,
    result,
    write_dead_letters,
)
from tests.support.postgres_servers import url_of
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
        traced_operation.BLOCKS["remove step"], operation_id=operation_id, step=STEPS[-1]
    )
    done = operator.run_until_it_ends(operation_id)
    assert (done["state"], done["result"]) == ("SUCCEEDED", '{"step": "offer"}')
    assert traced_operation.read_runs(connection) == DONE[:-1]


@pytest.mark.first_in_gate
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("step", COMPENSATED)
def test_the_next_worker_completes_the_compensation_in_which_a_worker_died(
    operator: Operator, hooks: Hooks, connection: Connection, step: str, point: str
) -> None:
    operation_id = start(operator)
    run_a_worker_that_dies(connection, operation_id, step, f"undo {point}")
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


def refuse(*_: object, **__: object) -> None:
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


@pytest.mark.first_in_gate
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_always_fails_ends_the_operation_after_five_attempts(
    operator: Operator, hooks: Hooks, connection: Connection, step: str
) -> None:
    operation_id = start(operator)
    hooks[step, "before"] = fail
    for attempt in range(1, claimed_operations.MAX_ATTEMPTS):
        with pytest.raises(AttemptFailed, match=f"attempt {attempt}: no luck"):
            deliver(operation_id)
        now = operator.get(operation_id)
        assert (now["state"], now["error"]) == ("RUNNING", None)
        pending = {"name": step, "state": "PENDING", "attempts": attempt, "error": "no luck"}
        assert pending in now["steps"]
    deliver(operation_id)
    failed = operator.get(operation_id)
    assert (failed["state"], failed["error"]) == ("FAILED", f"{step}: no luck")
    assert [s["attempts"] for s in failed["steps"] if s["name"] == step] == [5]
    expect_its_end(operator, hooks, connection, step, operation_id)


def fail() -> None:
    raise ProgressError("no luck")


LATE = "not done within 24 h of its acceptance"


@pytest.mark.parametrize(
    ("step", "error"),
    [*((s, f"{s}: not done within 0 s") for s in STEPS), *product(STEPS[:-1], [LATE])],
)
def test_an_operation_ends_if_a_step_or_the_whole_exceeds_its_time_limit(
    operator: Operator,
    hooks: Hooks,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    *,
    step: str,
    error: str,
) -> None:
    with monkeypatch.context() as limited:
        limit_step(limited, step, 60.0 if error == LATE else 0.0)
        operation_id = start(operator)
        if error == LATE:
            expire = traced_operation.BLOCKS["expire"]
            hooks[step, "before"] = lambda: connection.run(expire, operation_id=operation_id)
        deliver(operation_id)
    ended = operator.get(operation_id)
    assert (ended["state"], ended["error"]) == ("TIMED_OUT", error)
    expect_its_end(operator, hooks, connection, step, operation_id)


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
    result(done)
    assert {each["error"] for each in done["steps"]} == {None}
    assert traced_operation.read_runs(connection) == DONE
    assert operator.retry(operation_id) == "BAD_USER_INPUT"


@pytest.mark.first_in_gate
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


@pytest.mark.parametrize("breaks", [True, False])
def test_outages_during_a_compensation_are_not_counted_and_all_effects_are_undone_later(
    operator: Operator, hooks: Hooks, connection: Connection, *, breaks: bool
) -> None:
    """The worker loses the connection that holds its claim, or cannot connect to compensate."""
    operation_id = start(operator)

    def break_connection() -> None:
        connection.run(traced_operation.BLOCKS["break workers"], name="operation")

    hooks["write", "before"] = lambda: operator.cancel(operation_id)
    hooks["write", "undo before"] = break_connection if breaks else refuse
    for _ in range(claimed_operations.MAX_ATTEMPTS + 2):
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
    for _ in range(claimed_operations.MAX_ATTEMPTS - 1):
        with pytest.raises(AttemptFailed):
            deliver(operation_id)
    deliver(operation_id)
    ended = operator.get(operation_id)
    assert (ended["state"], ended["error"]) == (
        "FAILED", "cancelled; not compensated: write: no luck",
    )  # fmt: skip


def test_an_operation_fails_after_five_workers_have_died(
    operator: Operator, hooks: Hooks, connection: Connection
) -> None:
    operation_id = start(operator)
    for _ in range(claimed_operations.MAX_ATTEMPTS):
        run_a_worker_that_dies(connection, operation_id, "prepare", "before")
    done = operator.run(operation_id)
    assert (done["state"], done["error"]) == ("FAILED", "prepare: 5 attempts did not finish")
    assert done["steps"][0]["attempts"] == 5
    assert done["finishedAt"]


@pytest.mark.first_in_gate
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
        holder.run(BLOCKS[lock])
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


def test_a_rebuild_that_waited_too_long_names_what_it_waited_for(
    operator: Operator, store: Store, populated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_step(monkeypatch, "fold", 0.3)
    started = operator.start("rebuildProjections")
    with replacement.hold_lock(populated, Holder.ARCHIVE_REBUILD):
        done = operator.run(started["id"])
    assert done["error"].startswith(
        "fold: not done within 0 s; a rebuild from the archive has been running since "
    )


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
    sql = traced_operation.BLOCKS
    hooks["prepare", "before"] = lambda: connection.run(sql["break workers"], name="operation")
    with pytest.raises(Unavailable):
        deliver(operation_id)
    run_a_worker_that_dies(connection, operation_id, "write", "before")
    operator.cancel(operation_id)
    operator.run_until_it_ends(operation_id)
    counts = connection.run(sql["compensations"], operation_id=operation_id, step="prepare")
    assert counts == [[1]]


def test_only_the_attempt_after_an_outage_is_not_counted(
    operator: Operator, hooks: Hooks, connection: Connection
) -> None:
    operation_id, sql = start(operator), traced_operation.BLOCKS
    hooks["prepare", "before"] = lambda: connection.run(sql["break workers"], name="operation")
    with pytest.raises(Unavailable):
        deliver(operation_id)
    hooks["prepare", "before"] = fail
    for attempts in (1, 2):
        with pytest.raises(AttemptFailed):
            deliver(operation_id)
        assert operator.get(operation_id)["steps"][0]["attempts"] == attempts


def test_one_of_twenty_workers_runs_the_operation(
    operator: Operator, hooks: Hooks, connection: Connection
) -> None:
    operation_id = start(operator)

    def work(_: int) -> str:
        try:
            return str(runner.run(UUID(operation_id)))
        except OperationClaimed:
            return "claimed"

    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(work, range(20)))
    done = operator.get(operation_id)
    assert outcomes.count("True") == 1
    assert traced_operation.read_runs(connection) == DONE
    assert not deliver(operation_id)
    assert operator.get(operation_id) == done


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_concurrent_callers_share_one_operation_about_the_same_subject(
    operator: Operator, connection: Connection, store: Store, end: str
) -> None:
    """The other requests arrive during the first request's transaction, and wait until it ends."""
    url = url_of(store.url, "query")

    def accept(caller: Connection, name: str) -> str:
        kind = OperationKind.RUN_BATCH
        return str(records.accept(caller, kind, caller=name, key="k", subject="the subject"))

    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        first, *others = [stack.enter_context(closing(database.connect(url))) for _ in range(4)]
        first.run("BEGIN")
        accepted = accept(first, "first")
        waiting = [pool.submit(accept, caller, f"{n}") for n, caller in enumerate(others)]
        waits = traced_operation.BLOCKS["count waiting"]
        readiness.wait(lambda: connection.run(waits) == [[len(others)]], "the other requests")
        first.run(end)
        shared = {request.result() for request in waiting}
    assert len(shared) == 1
    assert (shared == {accepted}) == (end == "COMMIT")


def test_a_retry_is_rejected_while_another_operation_about_the_subject_is_unfinished(
    operator: Operator, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as limited:
        limit_step(limited, "offer", 0.0)
        operation_id = start(operator)
        runner.run(UUID(operation_id))
    start(operator)
    assert operator.retry(operation_id) == "BAD_USER_INPUT"
    assert operator.get(operation_id)["state"] == "TIMED_OUT"


def test_unreadable_arguments_end_the_operation_at_the_first_attempt(
    operator: Operator, connection: Connection
) -> None:
    (letter_id,) = write_dead_letters(connection, 1)
    operation_id = operator.start("replayDeadLetters", f'ids: ["{letter_id}"]')["id"]
    connection.run(traced_operation.BLOCKS["damage arguments"], operation_id=operation_id)
    ended = operator.run(operation_id)
    assert (ended["state"], ended["steps"][0]["attempts"]) == ("FAILED", 1)
    assert ended["error"].startswith("unreadable arguments: Expected `array`")


def delete_old(operator: Operator, job: Connection) -> list[str]:
    batch_job.delete_old_records(job)
    listed = operator.data("{ operations { edges { node { id } } } }")["operations"]["edges"]
    return [edge["node"]["id"] for edge in listed]


def test_finished_operations_are_deleted_after_400_days_but_a_failed_erasure_after_another_one(
    operator: Operator,
    hooks: Hooks,
    connection: Connection,
    job: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(days: int, kind: str = "ERASE_USER") -> str:
        operation_id = start(operator)
        operator.run_until_it_ends(operation_id)
        values = {"operation_id": operation_id}
        connection.run(BLOCKS["set kind"], kind=kind, **values)
        connection.run(traced_operation.BLOCKS["grow old"], days=days, **values)
        return operation_id

    run(401, "REBUILD")
    recent = run(399, "REBUILD")
    with monkeypatch.context() as limited:
        limit_step(limited, "tidy", 0.0)
        failed = run(900)
    assert delete_old(operator, job) == [failed, recent]
    succeeded = run(0)
    assert delete_old(operator, job) == [succeeded, recent]


def test_a_batch_run_folds_all_learners(
    operator: Operator, connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    sample_events.record_lessons(connection, *USERS)
    done = operator.run(operator.start("runBatch")["id"])
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    assert {line["outcome"] for line in lines if line.get("operation_id") == done["id"]} == {"ok"}
    swept = model_rows.read_value(connection, "head")
    assert result(done) == {"replayed": 0, "swept": swept, "learners": 3}
    assert done["steps"] == [{"name": "batch", "state": "SUCCEEDED", "attempts": 1, "error": None}]
    assert not sample_events.find_differences(connection)


@pytest.mark.every_postgres
def test_each_change_increases_the_version_but_never_decreases_the_progress(
    operator: Operator, populated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claimed_operations, "_REPORT_INTERVAL_S", 0.0)
    operator.run(operator.start("rebuildProjections")["id"])
    changes = list_changes(populated)
    assert [version for version, _, _ in changes] == list(range(1, len(changes) + 1))
    reached = [progress for _, progress, _ in changes]
    assert reached == sorted(reached)
    assert (reached[0], reached[-1]) == (0, 1)
    assert len(set(reached)) > 5
    assert [state for _, _, state in changes] == [
        "PENDING", *["RUNNING"] * (len(changes) - 2), "SUCCEEDED"
    ]  # fmt: skip


def test_the_progress_is_at_least_the_share_of_the_completed_steps_and_never_decreases(
    operator: Operator, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claimed_operations, "_REPORT_INTERVAL_S", 0.0)
    operation_id = start(operator)
    hooks[STEPS[-1], "after"] = fail  # after it has reported less
    with pytest.raises(AttemptFailed):
        deliver(operation_id)
    waiting = operator.get(operation_id)
    done = [step["name"] for step in waiting["steps"] if step["state"] == "SUCCEEDED"]
    assert done == STEPS[:-1]
    assert waiting["progress"] >= len(done) / len(STEPS)
