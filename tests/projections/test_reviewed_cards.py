"""A CardReviewed is an answer, and the review that is its outcome."""

from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from progress.adapters.postgres.database import Connection
from progress.projections import batch
from tests.projections.test_undeclared import is_accepted
from tests.support import definition_folds, model_rows, sample_events
from tests.support.sample_events import BEGIN, Envelope
from tests.support.specifications import specify
from tests.support.stage import append, undeclared

DUE = "2024-05-01T04:00:00.000000Z"


def card(number: int, item: str = "i", **data: Any) -> Envelope:
    """Return ann's review of an item, `number` days after BEGIN."""
    sent = {"user_id": "ann", "item_id": item, "rating": 3, "interval_days": 7, **data}
    return sample_events.envelope("CardReviewed", sent, at=BEGIN + timedelta(days=number))


def test_a_retraction_takes_both_halves_out(connection: Connection) -> None:
    first, wrong = card(0, duration_ms=1_500), card(1, rating=1, interval_days=0, due=DUE)
    retracted = {"user_id": "ann", "retracted_event_id": wrong["event_id"]}
    gone = sample_events.envelope("EventRetracted", retracted, at=BEGIN)
    append(connection, [first])
    batch.run(connection)
    before = model_rows.read_rows(connection)
    specify(connection, given=[wrong], when=[gone, wrong], then={})
    after = model_rows.read_rows(connection)
    for rows in (before, after):
        rows["user_progress"]["ann", ""].pop("last_updated")
    assert after == before
    assert sample_events.find_differences(connection) == []


REJECTED: dict[str, tuple[Any, ...]] = {
    "due": ("2024-05-01T04:00:00Z", "2024-05-01", 5, DUE + "\n"),
    "rating": (0, 5, 2.5, "3", None, True),
    "interval_days": (-1, 2**32, "7", True),
    "duration_ms": (-1, 10**12 + 1, "7"),
}


@pytest.mark.every_postgres
def test_a_card_that_was_recorded_before_its_declaration_counts_if_it_is_accepted(
    connection: Connection,
) -> None:
    start = {"session_id": "s", "user_id": "ann"}
    append(connection, [sample_events.envelope("SessionStarted", start, at=BEGIN)])
    good = [
        card(0, "a"),
        card(1, "b", due=DUE, interval_days=None, duration_ms=900),
        card(2, "c", user_id=None, session_id="s"),
    ]
    bad = [
        card(0, f"{field} {n}", **{field: value})
        for field, values in REJECTED.items()
        for n, value in enumerate(values)
    ]
    bad += [card(0, "neither", interval_days=None), card(0, "nobody", user_id=None)]
    # SQL decides most valid times without the pattern of the declaration.
    days = product(("0000", "2023", "2024"), range(14), (0, 1, 9, 10, 11, 19, 20, *range(28, 33)))
    dues = [f"{year}-{month:02}-{day:02}T04:00:00.000000Z" for year, month, day in days]
    hours = ("04:60", "24:00", "23:59", "4:000", "-4:00")
    seconds = ("59.999999", "60.000000", "00.00000", "00.0000000", "0.0000000", "00.00000a")
    dues += [f"2024-05-01T{hour}:{second}Z" for hour, second in product(hours, seconds)]
    accepted = {due for due in dues if is_accepted("CardReviewed", card(0, due=due)["data"])}
    with undeclared("CardReviewed"):
        append(connection, good + bad + [card(0, due, due=due) for due in dues])
    batch.run(connection)
    items = {item for _, item in model_rows.read_model(connection, "item_stats")}
    assert items == {"a", "b", "c"} | accepted
    assert not connection.run("SELECT FROM event_store.poison_marks")
    assert sample_events.find_differences(connection) == []
    assert definition_folds.find_differences(connection) == []


@pytest.mark.every_postgres
def test_answers_without_a_session_are_minutes_of_their_day(connection: Connection) -> None:
    given = [card(0, duration_ms=1_999.9), card(0, session_id="s", duration_ms=60_000), card(0)]
    when = [card(0, duration_ms=70_000), card(1, duration_ms=1_001)]
    append(connection, given)
    batch.run(connection)
    append(connection, when)
    batch.run(connection)
    days = model_rows.read_model(connection, "daily_stats").values()
    assert [row["study_seconds"] for row in days] == [61, 1]
    assert (
        model_rows.read_model(connection, "user_progress")["ann", ""]["total_study_time_minutes"]
        == 1
    )
    assert sample_events.find_differences(connection) == []
    assert definition_folds.find_differences(connection) == []


def test_a_card_without_a_learner_waits_for_the_start_of_its_session(
    connection: Connection,
) -> None:
    waiting = card(0, user_id=None, session_id="s", rating=1, duration_ms=900, due=DUE)
    start = {"session_id": "s", "user_id": "ben"}
    append(connection, [waiting])
    batch.run(connection)
    assert model_rows.read_value(connection, "pending") == 1
    assert model_rows.read_model(connection, "user_progress") == {}
    append(connection, [sample_events.envelope("SessionStarted", start, at=BEGIN), waiting])
    batch.run(connection)
    assert model_rows.read_value(connection, "pending") == 0
    item = model_rows.read_model(connection, "item_stats")["ben", "i"]
    assert (item["answers"], item["correct_answers"], item["interval_days"]) == (1, 0, 7)
    session = model_rows.read_model(connection, "learner_sessions")["ben", "s"]
    assert (session["answers"], session["items_missed"], session["items_new"]) == (1, 1, 1)
    assert sample_events.find_differences(connection) == []


@pytest.mark.parametrize(("due", "conflicts"), [("2024-05-01T06:00:00+02:00", 0), ("soon", 1)])
def test_a_card_that_was_recorded_before_its_declaration_is_redelivered(
    connection: Connection, due: str, conflicts: int
) -> None:
    with undeclared("CardReviewed"):
        append(connection, [first := card(0, due=due)])
    append(connection, [{**first, "data": {**first["data"], "due": DUE}}])
    assert len(connection.run("SELECT FROM event_store.dead_letters")) == conflicts
    assert len(model_rows.read_events(connection)) == 1
