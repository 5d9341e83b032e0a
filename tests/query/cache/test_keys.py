"""Each cached result has its own key. A field that is not cached has none."""

import pytest

from progress.query.cache.policy import cache_key
from progress.query.graphql.schema import FIELDS
from tests.support.cache_instances import NOW


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("itemStats", {"filter": "DUE"}),
        ("streak", {"asOf": NOW}),
        ("userProgress", {"knownAt": NOW}),
        ("events", {}),
        ("projectionStatus", {}),
        ("operations", {}),
    ],
)
def test_fields_that_are_not_cached_have_no_key(name: str, arguments: dict[str, object]) -> None:
    assert cache_key(FIELDS[name].cache, name, "ann", arguments, "") is None


def test_only_a_result_with_the_estimated_recall_expires_at_the_end_of_the_hour() -> None:
    policy = FIELDS["item"].cache
    for selection, is_hourly in (
        ("item:item{estimatedRecall:estimatedRecall{}}", True),
        ("item:item{itemId:itemId{},x:estimatedRecall{}}", True),
        ("item:item{estimatedRecall:itemId{}}", False),
    ):
        key = cache_key(policy, "item", "ann", {"itemId": "i1"}, selection)
        assert key
        assert key.is_hourly is is_hourly


def test_the_key_depends_on_the_learner_and_the_arguments_and_the_selection() -> None:
    keys = {
        cache_key(FIELDS["dueForecast"].cache, "dueForecast", user, {"days": days}, selection)
        for user in ("ann", "ben")
        for days in (1, 2)
        for selection in ("{ date }", "{ day: date }")
    }
    assert len(keys) == 8
