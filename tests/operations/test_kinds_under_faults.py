"""Kill the worker or interrupt the database in every step of every kind of operation."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.errors import DatabaseUnavailable
from progress.operations import runner
from progress.operations.claim import ClaimedOperation
from progress.operations.records import PLANS
from tests.support import doomed_worker
from tests.support.operation_fixtures import Operator, deliver
from tests.support.operation_scenarios import SCENARIOS, exported_files
from tests.support.parameters import first_in_gate
from tests.support.postgres_wire import Wire
from tests.support.traced_runs import change

STEPS = [(kind, step.name) for kind in SCENARIOS for step in PLANS[kind].steps]


def attempts(done: Any) -> dict[str, int]:
    """Return the number of counted attempts of each step, by the step's name."""
    return {step["name"]: step["attempts"] for step in done["steps"]}


@pytest.mark.parametrize("point", first_in_gate(reversed(doomed_worker.POINTS)))
@pytest.mark.parametrize(("kind", "step"), STEPS)
def test_the_first_redelivery_completes_the_operation_of_a_dead_worker(
    operator: Operator, populated: Connection, kind: str, step: str, point: str
) -> None:
    scenario = SCENARIOS[kind]
    operation_id = scenario.start(operator, populated)
    doomed_worker.run(operation_id, kind, step, point)
    doomed_worker.await_lost_claim(populated)
    assert deliver(operation_id)
    done = operator.get(operation_id)
    assert attempts(done) == {s.name: 1 + (s.name == step) for s in PLANS[kind].steps}
    scenario.check(populated, done)


@pytest.mark.parametrize("point", doomed_worker.POINTS)
def test_the_first_redelivery_deletes_the_export_if_a_worker_died_during_the_deletion(
    operator: Operator, populated: Connection, point: str
) -> None:
    operation_id = SCENARIOS["EXPORT_USER"].start(operator, populated)
    doomed_worker.run(operation_id, "EXPORT_USER", "write", "after")
    assert exported_files()
    assert change(operator, "cancelOperation", operation_id)["state"] == "RUNNING"
    doomed_worker.await_lost_claim(populated)
    doomed_worker.run(operation_id, "EXPORT_USER", "write", f"undo {point}")
    assert bool(exported_files()) == (point == "before")
    doomed_worker.await_lost_claim(populated)
    assert deliver(operation_id)
    done = operator.get(operation_id)
    assert (done["state"], done["error"]) == ("FAILED", "cancelled")
    assert not exported_files()


@pytest.mark.exhaustive
@pytest.mark.parametrize("outage", ["refuses", "hangs"])
@pytest.mark.parametrize(("kind", "step"), STEPS)
def test_a_database_outage_during_a_step_does_not_count_as_an_attempt(
    operator: Operator,
    populated: Connection,
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
    *,
    kind: str,
    step: str,
    outage: str,
) -> None:
    scenario = SCENARIOS[kind]
    operation_id = scenario.start(operator, populated)
    monkeypatch.setenv("DATABASE_URL", wire.url.replace("//postgres@", "//local_project@"))
    settings.current.cache_clear()
    with fail_database(wire, kind, step, outage, monkeypatch), pytest.raises(DatabaseUnavailable):
        deliver(operation_id)
    doomed_worker.await_lost_claim(populated)
    assert deliver(operation_id)
    done = operator.get(operation_id)
    assert attempts(done) == {s.name: 1 for s in PLANS[kind].steps}
    scenario.check(populated, done)


@contextmanager
def fail_database(
    wire: Wire, kind: str, step: str, outage: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Make the database refuse connections or hang, from the step's beginning until the block ends.

    If the database refuses connections, open connections are cut at once. If it hangs, they are cut
    after 0.1 s, as a failover would cut them.
    """
    actions = runner.ACTIONS[kind]
    timers = []

    def act(operation: ClaimedOperation) -> object:
        setattr(wire, outage, True)
        timers.append(threading.Timer(0.1 if wire.hangs else 0, wire.cut))
        timers[0].start()
        return actions[step](operation)

    with monkeypatch.context() as during:
        during.setitem(runner.ACTIONS, kind, {**actions, step: act})
        yield
    setattr(wire, outage, False)
    timers[0].join()
