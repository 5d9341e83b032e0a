"""A lapse is a test of retention that was not recalled. A late event may take it back."""

from datetime import timedelta

import pytest

from progress.adapters.postgres.database import Connection
from tests.support import definition_folds, model_rows, sample_events
from tests.support.sample_events import BEGIN, Envelope, envelope
from tests.support.specifications import specify


def about(kind: str, hours: int, **data: object) -> Envelope:
    """Return an event of ann's, `hours` after midnight; BEGIN is at another hour."""
    at = BEGIN.replace(hour=0) + timedelta(hours=hours)
    return envelope(kind, {"user_id": "ann", **data}, at=at)


def review(hours: int, interval: int) -> Envelope:
    return about("ReviewProcessed", hours, item_id="i", new_interval=interval, easiness_factor=2.5)


def answer(kind: str, hours: int) -> Envelope:
    sent = {"session_id": "s", "item_id": "i", "response_time_ms": 5}
    return about(f"{kind}AnswerGiven", hours, **sent)


REVIEW, WRONG = review(22, 7), answer("Incorrect", 25)
GIVEN = [
    about("LearnerJoinedGroup", 0, group_id="g"),
    about("SessionStarted", 0, session_id="s", item_count=1),
]


@pytest.mark.every_postgres
@pytest.mark.first_in_gate("is_late")
@pytest.mark.parametrize(
    ("late", "lapses"),
    [
        (answer("Correct", 24), 0),
        (answer("Incorrect", 24), 1),
        (answer("Incorrect", 23), 0),  # the first answer, on the day of the review
        (review(23, 0), 0),
        (review(23, 1), 1),
        (review(24, 1), 0),
        (about("UserPreferencesChanged", 0, day_start_hour=4), 0),
        (about("EventRetracted", 99, retracted_event_id=WRONG["event_id"]), None),
        (about("EventRetracted", 99, retracted_event_id=REVIEW["event_id"]), 0),
    ],
)
@pytest.mark.parametrize("is_late", [True, False])
def test_a_late_event_may_take_a_lapse_back(
    connection: Connection, late: Envelope, lapses: int | None, *, is_late: bool
) -> None:
    first, then = ([REVIEW, WRONG], [late]) if is_late else ([late], [REVIEW, WRONG])
    specify(connection, given=GIVEN, when=first, then={})
    if is_late:
        assert read_lapses(connection) == {1}
    specify(connection, when=then, then={})
    assert read_lapses(connection) == ({0, None} if lapses is None else {lapses})
    assert sample_events.find_differences(connection) == []
    assert definition_folds.find_differences(connection) == []


@pytest.mark.parametrize(
    ("stored", "lapses"),
    [
        ([], 1),
        ([REVIEW], 2),
        ([REVIEW, answer("Correct", 24)], 1),
        ([REVIEW, WRONG], 2),
        ([answer("Correct", 21), REVIEW], 2),
        ([REVIEW, WRONG, answer("Correct", 26)], 2),
        ([REVIEW, answer("Correct", 60), answer("Incorrect", 80)], 1),  # most new events are late
        ([review(49, 7)], 1),  # the first new answer, at the same time, belongs before this review
    ],
)
def test_one_window_tests_an_item_after_each_of_its_reviews(
    connection: Connection, stored: list[Envelope], lapses: int
) -> None:
    window = [
        answer("Incorrect", 49),
        review(50, 3),
        answer("Incorrect", 75),
        answer("Correct", 76),
        review(77, 1),
        answer("Correct", 100),
    ]
    specify(connection, given=[*GIVEN, *stored], when=window, then={})
    assert read_lapses(connection) == {lapses}


def read_lapses(connection: Connection) -> set[int | None]:
    """Return the lapses of the learner's item, of all learners and of the group's members."""
    return set(*connection.run(model_rows.BLOCKS["lapses"]))
