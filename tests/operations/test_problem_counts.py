"""Gauges count the failed and the overdue operations; alerts query these gauges."""

from contextlib import closing

import pytest

from progress.adapters.postgres.database import Connection
from progress.projections import gauges
from tests.conftest import Store
from tests.support import sample_events, stage
from tests.support.erasure_fixtures import erase
from tests.support.export_fixtures import export
from tests.support.operation_fixtures import Operator, blocks, limit_step, url_of
from tests.support.stage import connect
from tests.support.traced_operation import Hooks, start


def count(store: Store) -> tuple[int, int]:
    """Return the numbers of failed and of overdue operations, as the batch job measures them."""
    with closing(connect(url_of(store, "batch"))) as batch:
        measured = gauges.measure(batch)
    return measured.failed_operations, measured.overdue_operations


def test_an_operation_that_timed_out_counts_as_failed_for_an_hour(
    operator: Operator, connection: Connection, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert count(store) == (0, 0)
    operator.run(operator.start("runBatch")["id"])
    assert count(store) == (0, 0)
    limit_step(monkeypatch, "fold", 0.0)
    failed = operator.start("rebuildProjections")["id"]
    assert operator.run(failed)["state"] == "TIMED_OUT"
    assert count(store) == (1, 0)
    connection.run(blocks()["age the end"], operation_id=failed)
    assert count(store) == (0, 0)


def test_a_cancelled_operation_does_not_count_as_failed(operator: Operator, store: Store) -> None:
    operation_id = operator.start("runBatch")["id"]
    operator.cancel(operation_id)
    assert operator.run(operation_id)["state"] == "FAILED"
    assert count(store) == (0, 0)


@pytest.mark.parametrize("point", ["before", "undo before"])
def test_a_failure_counts_even_if_the_operation_is_cancelled_in_or_after_the_failing_attempt(
    operator: Operator, hooks: Hooks, store: Store, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    limit_step(monkeypatch, "write", 0.0)
    operation_id = start(operator)
    states = []

    def cancel() -> None:
        states.append(operator.cancel(operation_id)["state"])

    hooks["write", point] = cancel
    assert operator.run(operation_id)["state"] == "TIMED_OUT"
    assert states == ["RUNNING" if point == "before" else "COMPENSATING"]
    assert count(store) == (1, 0)


@pytest.mark.parametrize("ended_by", ["erasure", "deletion"])
@pytest.mark.usefixtures("exports")
def test_an_export_of_a_learner_who_is_erased_or_deleted_does_not_count_as_failed(
    operator: Operator, store: Store, populated: Connection, ended_by: str
) -> None:
    operation_id = export(operator)["id"]
    if ended_by == "erasure":
        operator.run(erase(operator, "ann")["id"])
    else:
        stage.append(populated, [sample_events.user_deleted("ann")])
        operator.run(operation_id)
    assert operator.get(operation_id)["state"] == "FAILED"
    assert count(store) == (0, 0)


@pytest.mark.parametrize(
    ("kind", "remaining", "overdue"),
    [
        ("RUN_BATCH", "23 hours 1 minute", 0),
        ("RUN_BATCH", "22 hours 59 minutes", 1),
        ("ERASE_USER", "13 days 1 minute", 0),
        ("ERASE_USER", "12 days 23 hours 59 minutes", 1),
    ],
)
def test_an_unfinished_erasure_is_overdue_after_a_day_and_any_other_operation_after_an_hour(
    operator: Operator,
    connection: Connection,
    store: Store,
    *,
    kind: str,
    remaining: str,
    overdue: int,
) -> None:
    operation_id = operator.start("runBatch")["id"]
    connection.run(blocks()["set kind"], operation_id=operation_id, kind=kind)
    connection.run(blocks()["set remaining time"], operation_id=operation_id, remaining=remaining)
    assert count(store) == (0, overdue)
