"""Callers and workers of an operation: concurrent callers, system callers, old operations."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from uuid import UUID

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import OperationClaimed
from progress.local import readiness
from progress.operations import batch_job, records, runner
from progress.operations.records import OperationKind
from tests.conftest import Store
from tests.support import cli, operation_fixtures, traced_operation
from tests.support.operation_fixtures import (
    FIELDS,
    Operator,
    blocks,
    deliver,
    limit_step,
    url_of,
    write_dead_letters,
)
from tests.support.traced_operation import DONE, Hooks, start


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
    url = url_of(store, "query")

    def accept(caller: Connection, name: str) -> str:
        kind = OperationKind.RUN_BATCH
        return str(records.accept(caller, kind, caller=name, key="k", subject="the subject"))

    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        first, *others = [stack.enter_context(closing(database.connect(url))) for _ in range(4)]
        first.run("BEGIN")
        accepted = accept(first, "first")
        waiting = [pool.submit(accept, caller, f"{n}") for n, caller in enumerate(others)]
        readiness.wait(lambda: count_waiting(connection) == len(others), "the other requests")
        first.run(end)
        shared = {request.result() for request in waiting}
    assert len(shared) == 1
    assert (shared == {accepted}) == (end == "COMMIT")


def count_waiting(connection: Connection) -> int:
    """Return the number of sessions that wait for another transaction to end."""
    count: int = connection.run(traced_operation.blocks()["count waiting"])[0][0]
    return count


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
        runner.run(UUID(operation_id))
    start(operator)
    assert operator.retry(operation_id) == "BAD_USER_INPUT"
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
    operator.run_until_it_ends(old)
    recent = start(operator)
    operator.run_until_it_ends(recent)
    for operation_id, days in ((old, 401), (recent, 399)):
        connection.run(traced_operation.blocks()["grow old"], operation_id=operation_id, days=days)
    assert delete_old(operator, store) == [recent]


def delete_old(operator: Operator, store: Store) -> list[str]:
    """Delete old operations as the batch job does; return the ids of the others, newest first."""
    with closing(database.connect(url_of(store, "batch"))) as job:
        batch_job.delete_old_records(job)
    listed = operator.data("{ operations { edges { node { id } } } }")["operations"]["edges"]
    return [edge["node"]["id"] for edge in listed]


def test_a_failed_erasure_is_kept_until_another_erasure_of_the_learner_has_succeeded(
    operator: Operator,
    hooks: Hooks,
    connection: Connection,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(days: int) -> str:
        """Record an erasure that ended `days` days ago; return its id."""
        operation_id = start(operator)
        operator.run_until_it_ends(operation_id)
        values = {"operation_id": operation_id}
        connection.run(operation_fixtures.blocks()["set kind"], kind="ERASE_USER", **values)
        connection.run(traced_operation.blocks()["grow old"], days=days, **values)
        return operation_id

    with monkeypatch.context() as limited:
        limit_step(limited, "tidy", 0.0)
        failed = run(days=900)
    assert delete_old(operator, store) == [failed]
    succeeded = run(days=0)
    assert delete_old(operator, store) == [succeeded]


def start_export(connection: Connection, caller: str, learner: str = "ann") -> str:
    """Start an export of a learner's record; return the id of the operation."""
    kind = OperationKind.EXPORT_USER
    return str(
        records.accept(
            connection, kind, caller=caller, key=learner, subject=learner, user_id=learner
        )
    )


def read_callers(connection: Connection, operation_id: str) -> tuple[str, str, list[str]]:
    """Return who has started, cancelled and requested the operation."""
    ((starter, canceller, requesters),) = connection.run(
        blocks()["callers"], operation_id=operation_id
    )
    return starter, canceller, sorted(requesters)


@pytest.mark.parametrize("caller", [records.COMMAND_LINE, records.BATCH_JOB])
@pytest.mark.parametrize("roles", [[], ["admin"]])
def test_no_token_reads_an_operation_as_its_starter_that_is_not_a_person(
    operator: Operator, populated: Connection, caller: str, roles: list[str]
) -> None:
    query = f'{{ operation(id: "{start_export(populated, caller)}") {{ id }} }}'
    code, message = operator.api.error(query, caller, roles=roles)
    assert (code, "reserved" in message) == ("UNAUTHENTICATED", True)


def test_the_command_line_shows_the_names_of_callers(
    operator: Operator, populated: Connection, store: Store
) -> None:
    operation_id = operator.start("runBatch")["id"]
    cli.expect_success(cli.progress(store.url, "operations", "cancel", operation_id))
    assert read_callers(populated, operation_id) == ("ada", "system:command line", ["ada"])
    operation_id = start_export(populated, records.COMMAND_LINE)
    shown = cli.expect_success(cli.progress(store.url, "operations", "show", operation_id))
    assert json.loads(shown)["started_by"] == "system:command line"
