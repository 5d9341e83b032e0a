"""A new study day or rest day may join two runs of study days. The loss of one may cut a run.

A week has at most two rest days: the two earliest dates in its RestDayTaken events. A date is lost
as a rest day as soon as the log has two earlier dates of the same week. The order in which the
events arrive does not matter.
"""

from datetime import date, timedelta
from typing import Any

from progress.adapters.postgres.database import Connection
from tests.support.sample_events import BEGIN, Envelope, envelope
from tests.support.specifications import specify


def rest_day(user: str, day: date) -> Envelope:
    return envelope("RestDayTaken", {"user_id": user, "date": day.isoformat()}, at=BEGIN)


def answer(user: str, day: date) -> Envelope:
    data = {"user_id": user, "session_id": "s", "item_id": "i"}
    return envelope("CorrectAnswerGiven", data, at=BEGIN + (day - BEGIN.date()))


def retraction(user: str, event: Envelope) -> Envelope:
    data = {"user_id": user, "retracted_event_id": event["event_id"]}
    return envelope("EventRetracted", data, at=BEGIN)


def completion(user: str, session: str, day: date) -> Envelope:
    data: dict[str, Any] = {
        "user_id": user,
        "session_id": session,
        "score": 80,
        "duration_seconds": 60,
    }
    return envelope("SessionCompleted", data, at=BEGIN + (day - BEGIN.date()))


def test_four_rest_days_in_a_row_do_not_break_a_streak(connection: Connection) -> None:
    friday = date(2024, 4, 5)
    days = [friday + timedelta(days=n) for n in range(6)]
    specify(
        connection,
        given=[completion("ann", "1", days[0]), completion("ann", "2", days[5])],
        when=[rest_day("ann", day) for day in days[1:5]],
        then={"learning_streaks": {("ann", friday): {"ends": days[5], "study_days": 2}}},
    )


def test_a_day_with_an_answer_is_a_study_day_until_the_answer_is_retracted(
    connection: Connection,
) -> None:
    friday, saturday, sunday = (date(2024, 4, n) for n in (5, 6, 7))
    answers = [answer("ann", day) for day in (friday, saturday, sunday)]
    specify(
        connection,
        when=answers,
        then={"learning_streaks": {("ann", friday): {"ends": sunday, "study_days": 3}}},
    )
    # The session keeps the Sunday.
    specify(
        connection,
        given=[completion("ann", "1", sunday)],
        when=[retraction("ann", event) for event in answers[1:]],
        then={
            "learning_streaks": {
                ("ann", friday): {"ends": friday, "study_days": 1},
                ("ann", sunday): {"ends": sunday, "study_days": 1},
            }
        },
    )
