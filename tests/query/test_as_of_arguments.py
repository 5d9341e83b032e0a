"""The GraphQL arguments asOf and knownAt."""

from collections.abc import Iterator

import pytest

from tests.conftest import Store
from tests.support import api, sample_events
from tests.support.api import Api
from tests.support.stage import append, connect

PAST = """query ($user: ID, $asOf: DateTime, $knownAt: DateTime) {
  userProgress(userId: $user, asOf: $asOf, knownAt: $knownAt) {
    totalSessionsCompleted currentStreak masteryStats { unlearned }
  }
  streak(userId: $user, asOf: $asOf, knownAt: $knownAt) { current lastStudyDate }
  dailyStats(userId: $user, from: "2024-03-01", to: "2024-04-30", zeroFill: false,
    asOf: $asOf, knownAt: $knownAt) { date answers }
}"""
# The time at which the second lesson ends, to the microsecond.
SECOND_ENDS = "2024-04-02T09:00:07.000000Z"


@pytest.fixture
def query_api(store: Store) -> Iterator[Api]:
    connection = connect(store.url)
    sample_events.record_lessons(connection, "ann")
    append(connection, [sample_events.item_published("i9", at=sample_events.BEGIN)])
    connection.close()
    with api.serve(store.url) as made:
        yield made


def sessions(query_api: Api, **moments: str) -> int:
    """Return the number of completed sessions; assert that all fields agree."""
    data = query_api.data(PAST, **moments)
    completed: int = data["userProgress"]["totalSessionsCompleted"]
    assert data["streak"]["current"] == data["userProgress"]["currentStreak"]
    assert len(data["dailyStats"]) in (completed, completed + 1)
    return completed


@pytest.mark.parametrize(
    ("moment", "completed"),
    [
        (SECOND_ENDS, 2),
        ("2024-04-02T09:00:06.999999Z", 1),
        ("2024-04-02T18:00:07+09:00", 2),
        ("2024-04-01T23:00:06.9999999-10:00", 1),
        ("2024-04-02t09:00:07.0000009z", 2),
        ("9999-12-31T23:59:59.999999-14:00", 4),
    ],
)
def test_a_time_is_exact_to_the_microsecond_in_any_utc_offset(
    query_api: Api, moment: str, completed: int
) -> None:
    assert sessions(query_api, asOf=moment) == completed


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "2000-01-01T00:00:00Z"])
def test_results_are_empty_before_the_first_event(query_api: Api, moment: str) -> None:
    for moments in ({"asOf": moment}, {"knownAt": moment}):
        assert query_api.data(PAST, **moments) == {
            "userProgress": None,
            "streak": {"current": 0, "lastStudyDate": None},
            "dailyStats": [],
        }


def test_unlearned_items_are_counted_in_the_catalogue_of_the_requested_time(query_api: Api) -> None:
    def unlearned(**moments: str) -> int:
        stats = query_api.data(PAST, **moments)["userProgress"]["masteryStats"]
        count: int = stats["unlearned"]
        return count

    assert unlearned(asOf=SECOND_ENDS) == 1


def test_a_null_time_means_the_present(query_api: Api) -> None:
    # the read models are empty, because the events have not been folded
    assert query_api.data(PAST, asOf=None, knownAt=None)["userProgress"] is None


@pytest.mark.parametrize("moment", ["2024-04-02", "2024-04-02T09:00:00", "now", 5])
def test_an_invalid_time_is_rejected(query_api: Api, moment: object) -> None:
    code, message = query_api.error(PAST, asOf=moment)
    assert code == "BAD_USER_INPUT"
    assert "expected a time as in" in message


def test_a_learner_may_not_query_the_past_of_another_learner(query_api: Api) -> None:
    variables = {"asOf": SECOND_ENDS, "user": "ann"}
    for user in ("ann", "nobody"):
        answer = query_api.post(PAST, "bob", **{**variables, "user": user})
        assert {fault["extensions"]["code"] for fault in answer["errors"]} == {"FORBIDDEN"}
    assert "errors" not in query_api.post(PAST, "bob", roles=["support"], **variables)
