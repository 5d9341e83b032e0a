"""Which questions' answers are kept, and which are one question."""

import pytest

from progress.query.cache.policy import question
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
def test_what_is_not_kept(name: str, arguments: dict[str, object]) -> None:
    assert question(name, "ann", arguments, "") is None


def test_other_arguments_learners_and_selections_are_other_questions() -> None:
    different = {
        question("dueForecast", user, {"days": days}, selection)
        for user in ("ann", "ben")
        for days in (1, 2)
        for selection in ("{ date }", "{ day: date }")
    }
    assert len(different) == 8
