"""For any delivery of a log, the rows equal those of the oracle and of the definitions."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from progress.projections import rebuild
from progress.recovery import checks
from tests import oracle
from tests.conftest import Store
from tests.oracle.events import NEWEST
from tests.support import definition_folds, model_rows
from tests.support.event_logs import Disturbance, Log, disturbances, logs
from tests.support.postgres_servers import EMBEDDED, Server
from tests.support.stage import Stage

# The timeout is long, because Hypothesis needs minutes to shrink a failing example.
pytestmark = [pytest.mark.timeout(900), pytest.mark.every_postgres(in_gate=True)]


def test_any_delivery_of_a_log_gives_the_rows_of_the_oracle(
    stage: Stage, postgres_server: Server
) -> None:
    is_embedded = postgres_server.which == EMBEDDED

    @postgres_server.examples(3)
    @given(log=logs(), how=disturbances())
    def check(log: Log, how: Disturbance) -> None:
        stage.sweep()
        stage.deliver(log, how)
        expected, pending = oracle.compute_stored(log.envelopes)
        stored = model_rows.read_events(stage.admin)
        assert {str(e.event_id): find_learner(e) for e in stored} == expected
        assert model_rows.read_value(stage.admin, "pending") == len(pending)
        assert stage.differences(log.now) == []
        # DuckDB folds only a quarter of the logs, because it plans all statements for each log.
        in_both = is_embedded and len(log.published) % 4 == 0
        compare = (definition_folds if in_both else checks).find_differences
        assert compare(stage.admin) == []

    check()


def find_learner(event: oracle.Event) -> str | None:
    """Return the event's learner; None if the learner depends on the order of arrival."""
    return None if event.type in NEWEST and not event.names_learner else event.user_id


@pytest.mark.parametrize(
    "special",
    [logs(contested=True), logs(collected=True), logs(crowded=True)],
    ids=["conflicting events", "many items", "many groups"],
)
def test_a_log_of_a_special_kind_gives_the_rows_of_the_oracle_however_it_is_delivered(
    stage: Stage, postgres_server: Server, special: st.SearchStrategy[Log]
) -> None:
    @postgres_server.examples(1)
    @given(log=special, how=disturbances())
    def check(log: Log, how: Disturbance) -> None:
        stage.sweep()
        stage.deliver(log, how)
        assert stage.differences(log.now) == []

    check()


@pytest.mark.every_postgres  # on PostgreSQL 15 not in the gate
@settings(max_examples=max(3, settings().max_examples // 5))
@given(log=logs(size=60), how=disturbances(), late=st.integers(0, 30))
def test_a_rebuild_does_not_change_the_rows(
    stage: Stage, store: Store, log: Log, how: Disturbance, late: int
) -> None:
    stage.sweep()
    early = tuple(p for n, p in enumerate(log.published) if n != late)
    stage.deliver(dataclasses.replace(log, published=early), how)
    before = model_rows.read_rows(stage.admin)
    rebuild.run(store.connect, workers=how.workers)
    assert model_rows.compare(model_rows.read_rows(stage.admin), before) == []
    assert stage.differences(log.now) == []
    # Deliver the late event, and the other events again. The connections are older than the swap.
    stage.deliver(log, how)
    assert stage.differences(log.now) == []
