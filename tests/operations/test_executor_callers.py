"""Concurrent callers and workers of an operation, and the deletion of old operations."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any
from uuid import UUID

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.errors import OperationClaimed
from progress.operations import claim, executor
from tests.conftest import Store
from tests.support import traced_operation
from tests.support.operation_fixtures import (
    FIELDS,
    Operator,
    limit_step,
    url_of,
    write_dead_letters,
)
from tests.support.traced_runs import DONE, Hooks, change, run_until_it_ends, start


def test_one_of_twenty_workers_runs_the_operation(
    operator: Operator, hooks: Hooks, connection: Connection
) -> None:
    operation_id = start(operator)

    def work(_: int) -> str:
        try:
            return str(executor.run(UUID(operation_id)))
        except OperationClaimed:
            return "claimed"

    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(work, range(20)))
    done = operator.get(operation_id)
    assert outcomes.count("True") == 1
    assert traced_operation.read_runs(connection) == DONE
    assert not executor.run(UUID(operation_id))
    assert operator.get(operation_id) == done


def test_concurrent_callers_share_one_operation_about_a_subject(
    operator: Operator, store: Store
) -> None:
    url = url_of(store, "query")
    with ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        callers = [stack.enter_context(closing(database.connect(url))) for _ in range(4)]
        for round_ in range(100):
            together = threading.Barrier(len(callers))

            def accept(caller: int, round_: int = round_, together: Any = together) -> str:
                together.wait()
                rows = callers[caller].run(
                    blocks("operations/operations")["accept"], kind="RUN_BATCH", steps=["batch"],
                    started_by=f"caller {caller}", key=f"{round_}", arguments="{}",
                    subject=f"subject {round_}", time_limit_s=60.0, daily_limit=None,
                )  # fmt: skip
                return str(rows[0][0])

            assert len(set(pool.map(accept, range(len(callers))))) == 1


def test_a_second_administrator_gets_the_operation_of_the_first(
    operator: Operator, hooks: Hooks
) -> None:
    operation_id = start(operator)
    query = f'mutation {{ rebuildProjections(idempotencyKey: "other") {FIELDS} }}'
    shared = operator.ask(query, "bob")["data"]["rebuildProjections"]
    assert shared["id"] == operation_id


def test_a_retry_is_rejected_while_another_operation_about_the_subject_is_unfinished(
    operator: Operator, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as limited:
        limit_step(limited, "offer", 0.0)
        operation_id = start(operator)
        executor.run(UUID(operation_id))
    start(operator)
    assert change(operator, "retryOperation", operation_id) == "BAD_USER_INPUT"
    assert operator.get(operation_id)["state"] == "TIMED_OUT"


def test_unreadable_arguments_end_the_operation_at_the_first_attempt(
    operator: Operator, connection: Connection
) -> None:
    (letter_id,) = write_dead_letters(connection, 1)
    operation_id = operator.start("replayDeadLetters", f'ids: ["{letter_id}"]')["id"]
    connection.run(traced_operation.blocks()["damage arguments"], operation_id=operation_id)
    ended = operator.run(operation_id)
    assert (ended["state"], ended["steps"][0]["attempts"]) == ("FAILED", 1)
    assert ended["error"].startswith("unreadable arguments: Expected `array`")


def test_finished_operations_are_deleted_after_400_days(
    operator: Operator, hooks: Hooks, connection: Connection, store: Store
) -> None:
    old, recent = start(operator), ""
    run_until_it_ends(operator, old)
    recent = start(operator)
    run_until_it_ends(operator, recent)
    for operation_id, days in ((old, 401), (recent, 399)):
        connection.run(traced_operation.blocks()["grow old"], operation_id=operation_id, days=days)
    with closing(database.connect(url_of(store, "batch"))) as job:
        claim.delete_old(job)
    listed = operator.data("{ operations { edges { node { id } } } }")["operations"]["edges"]
    assert [edge["node"]["id"] for edge in listed] == [recent]
