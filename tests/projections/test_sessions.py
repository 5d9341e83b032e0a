"""A session's row has what its counted events say, in whatever order they arrive."""

from datetime import datetime, timedelta
from typing import Any

from progress.adapters.postgres.database import Connection
from tests.support import model_rows
from tests.support.sample_events import BEGIN, Envelope, envelope
from tests.support.specifications import specify

NOTHING: dict[str, Any] = {
    **dict.fromkeys(("completed_at", "score", "duration_seconds", "item_count"), None),
    **dict.fromkeys(("accuracy_rate", "average_response_ms"), None),
    **dict.fromkeys(("answers", "correct_answers", "items", "items_new", "items_missed"), 0),
}


def at(minute: int) -> datetime:
    return BEGIN + timedelta(minutes=minute)


def event(kind: str, minute: int, session: str = "s", user: str = "ann", **data: Any) -> Envelope:
    return envelope(kind, {"user_id": user, "session_id": session, **data}, at=at(minute))


def answer(minute: int, item: str, session: str = "s", *, correct: bool = True) -> Envelope:
    kind = "CorrectAnswerGiven" if correct else "IncorrectAnswerGiven"
    return event(kind, minute, session, item_id=item)


def retraction(of: Envelope) -> Envelope:
    data = {"user_id": "ann", "retracted_event_id": of["event_id"]}
    return envelope("EventRetracted", data, at=at(99))


def row(first: int, last: int, **columns: Any) -> dict[str, Any]:
    return {**NOTHING, "started_at": at(first), "ended_at": at(last), **columns}


def counts(answers: int, correct: int, items: int, new: int, missed: int) -> dict[str, Any]:
    numbers = {"answers": answers, "correct_answers": correct, "accuracy_rate": correct / answers}
    return {**numbers, "items": items, "items_new": new, "items_missed": missed}


def test_a_session_is_known_from_any_one_of_its_events_and_by_its_learner(
    connection: Connection,
) -> None:
    specify(
        connection,
        when=[
            event("SessionStarted", 0, "a", item_count=9),
            event("SessionAbandoned", 1, "b"),
            event("SessionCompleted", 2, "c", score=7, duration_seconds=90_000),
            answer(3, "i", "d", correct=False),
            event("SessionAbandoned", 4, "d", user="ben"),
        ],
        then={
            "learner_sessions": {
                ("ann", "a"): row(0, 0, item_count=9),
                ("ann", "b"): row(1, 1),
                ("ann", "c"): row(2, 2, completed_at=at(2), score=7, duration_seconds=14_400),
                ("ann", "d"): row(3, 3, **counts(1, 0, 1, 1, 1)),
                ("ben", "d"): row(4, 4),
            }
        },
    )


def test_an_earlier_completion_takes_the_later_one_s_place_and_may_end_the_session_earlier(
    connection: Connection,
) -> None:
    specify(
        connection,
        given=[answer(1, "i"), event("SessionCompleted", 9, score=1)],
        when=[event("SessionCompleted", 5), event("SessionCompleted", 12, score=3)],
        then={
            "learner_sessions": {
                ("ann", "s"): row(1, 5, completed_at=at(5), **counts(1, 1, 1, 1, 0))
            }
        },
    )


def test_the_earliest_start_plans_the_items(connection: Connection) -> None:
    specify(
        connection,
        given=[event("SessionStarted", 5, item_count=10)],
        when=[
            event("SessionStarted", 2),
            event("SessionStarted", 7, item_count=30),
        ],
        then={"learner_sessions": {("ann", "s"): row(2, 7)}},
    )


def test_an_item_is_new_in_the_session_of_its_first_answer_which_may_arrive_late(
    connection: Connection,
) -> None:
    early = answer(1, "i", "early")
    specify(
        connection,
        given=[answer(5, "i", "late"), answer(6, "j", "late")],
        when=[early, answer(7, "i", "late", correct=False)],
        then={
            "learner_sessions": {
                ("ann", "early"): row(1, 1, **counts(1, 1, 1, 1, 0)),
                ("ann", "late"): row(5, 7, **counts(3, 2, 2, 1, 1)),
            }
        },
    )
    specify(
        connection,
        when=[retraction(early)],
        then={"learner_sessions": {("ann", "late"): row(5, 7, **counts(3, 2, 2, 2, 1))}},
    )


def test_a_session_ends_with_what_is_left_after_a_retraction(connection: Connection) -> None:
    answers = [answer(n, item, correct=item != "j") for n, item in enumerate("iijk")]
    started = event("SessionStarted", 1)  # cannot be retracted
    specify(
        connection,
        given=[*answers, started, retraction(started)],
        when=[retraction(answers[0]), retraction(answers[3])],
        then={
            "learner_sessions": {("ann", "s"): row(1, 2, **counts(2, 1, 2, 2, 1))},
        },
    )
    specify(
        connection,
        when=[retraction(one) for one in answers[1:3]],
        then={"learner_sessions": {("ann", "s"): row(1, 1)}},
    )
    alone = answer(3, "i", "alone")
    specify(connection, given=[alone], when=[retraction(alone)], then={})
    assert ("ann", "alone") not in model_rows.read_model(connection, "learner_sessions")


def test_an_answer_without_a_session_makes_its_item_new_in_none(connection: Connection) -> None:
    card = {"user_id": "ann", "item_id": "i", "rating": 2, "interval_days": 1}
    specify(
        connection,
        when=[
            envelope("CardReviewed", card, at=at(0)),
            envelope("CardReviewed", {**card, "session_id": "s"}, at=at(1)),
        ],
        then={"learner_sessions": {("ann", "s"): row(1, 1, **counts(1, 1, 1, 0, 0))}},
    )
