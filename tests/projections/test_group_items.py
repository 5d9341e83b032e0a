"""A learner's items count in the 50 groups that the learner joined last."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from progress.projections import definitions, rebuild
from progress.recovery import checks
from tests.conftest import Store
from tests.support import definition_folds
from tests.support.event_logs import Disturbance, Log, either, logs
from tests.support.stage import Stage

# The timeout is long, because Hypothesis needs minutes to shrink a failing example.
pytestmark = pytest.mark.timeout(900)


def deliveries() -> st.SearchStrategy[Disturbance]:
    """Return a strategy for deliveries of many events at a time."""
    return st.builds(
        Disturbance,
        sizes=either((100,), (30,), (7, 40)),
        every=either(1, 2, None),
        limit=either(1000, 1, 5),
    )


@given(log=logs(crowded=True), how=deliveries())
def test_any_delivery_counts_the_items_in_the_50_groups_that_were_joined_last(
    stage: Stage, log: Log, how: Disturbance
) -> None:
    stage.sweep()
    stage.deliver(log, how)
    assert stage.differences(log.now) == []
    compare = (definition_folds if len(log.published) % 4 == 0 else checks).find_differences
    assert compare(stage.admin) == []
    stage.admin.run("DELETE FROM group_items")
    stage.admin.run(definitions.fill_statement("group_items"))
    assert stage.differences(log.now) == []


@pytest.mark.exhaustive
@settings(max_examples=max(3, settings().max_examples // 5))
@given(log=logs(crowded=True), how=deliveries())
def test_a_rebuild_counts_the_items_in_the_same_groups(
    stage: Stage, store: Store, log: Log, how: Disturbance
) -> None:
    stage.sweep()
    stage.deliver(log, how)
    rebuild.run(store.connect, workers=1)
    assert stage.differences(log.now) == []
