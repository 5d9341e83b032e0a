"""A new rest day may join two runs of study days. The loss of a rest day may cut a run.

A week has at most two rest days: the two earliest dates in its RestDayTaken events. A date is lost
as a rest day as soon as the log has two earlier dates of the same week. The order in which the
events arrive does not matter.
"""

import random
from datetime import date, timedelta
from typing import Any

from progress.adapters.postgres.database import Connection
from progress.projections.projector import Projector
from tests import oracle
from tests.support import model_rows
from tests.support.sample_events import BEGIN, Envelope, envelope
from tests.support.specifications import specify
from tests.support.stage import append

DAYS = 28


def draw_event(generator: random.Random, user: str) -> Envelope:
    """Return a random event on one of 28 days: a rest day, or a completion of one of ten sessions.

    A session that is completed again on an earlier day moves to that day.
    """
    on = BEGIN + timedelta(days=generator.randrange(DAYS))
    if generator.random() < 0.5:
        return rest_day(user, on.date())
    return completion(user, f"{user}-{generator.randrange(10)}", on.date())


def rest_day(user: str, day: date) -> Envelope:
    return envelope("RestDayTaken", {"user_id": user, "date": day.isoformat()}, at=BEGIN)


def completion(user: str, session: str, day: date) -> Envelope:
    data: dict[str, Any] = {
        "user_id": user,
        "session_id": session,
        "score": 80,
        "duration_seconds": 60,
    }
    return envelope("SessionCompleted", data, at=BEGIN + (day - BEGIN.date()))


def test_any_order_of_rest_days_and_sessions_gives_the_rows_of_the_oracle(
    connection: Connection,
) -> None:
    generator = random.Random(13)
    projector = Projector(connection)
    users = [f"user {number}" for number in range(60)]
    for _ in range(8):
        append(connection, [draw_event(generator, u) for u in users for _ in range(3)])
        # A large window contains a learner's three new events; small windows divide them.
        projector.catch_up_all(limit=generator.choice((1, 2, 1000)))
        world = oracle.see(model_rows.read_events(connection), BEGIN)
        rows = model_rows.read_rows(connection)
        for model in ("rest_days", "learning_streaks"):
            assert rows[model] == oracle.model_rows(world, model)


def test_four_rest_days_in_a_row_do_not_break_a_streak(connection: Connection) -> None:
    friday = date(2024, 4, 5)
    days = [friday + timedelta(days=n) for n in range(6)]
    specify(
        connection,
        given=[completion("ann", "1", days[0]), completion("ann", "2", days[5])],
        when=[rest_day("ann", day) for day in days[1:5]],
        then={"learning_streaks": {("ann", friday): {"ends": days[5], "study_days": 2}}},
    )
