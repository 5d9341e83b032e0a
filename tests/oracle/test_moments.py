"""The oracle's rows at a time in the past, and after a deletion."""

from datetime import UTC, datetime

from tests import oracle
from tests.oracle.test_oracle import NOW, answer, event


def test_a_deleted_learner_has_no_rows_at_any_time() -> None:
    seen = oracle.see(
        [
            answer("2024-01-01"),
            event("UserDeleted", "2024-01-02"),
            answer("2024-01-03"),
        ],
        NOW,
        as_of=datetime(2024, 1, 1, tzinfo=UTC),
    )
    assert oracle.user_progress(seen, "ann") is None
    assert not oracle.daily_stats(seen, "ann")
    assert not oracle.item_stats(seen, "ann")


def test_the_parameter_as_of_limits_event_times_and_known_at_limits_recording_times() -> None:
    early, late = answer("2024-01-01"), answer("2024-01-02")
    assert len(oracle.see([late, early], NOW, as_of=early.occurred_at).events) == 1
    seen = oracle.see([late, early], NOW, known_at=early.created_at)
    assert (len(seen.events), seen.now) == (1, early.created_at)
