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
from tests.support.stage import append, undeclared

DUE = "2024-05-01T04:00:00.000000Z"


def card(number: int, item: str = "i", **data: Any) -> Envelope:
    """Return ann's review of an item, `number` days after BEGIN."""
    sent = {"user_id": "ann", "item_id": item, "rating": 3, "interval_days": 7, **data}
    return sample_events.envelope("CardReviewed", sent, at=BEGIN + timedelta(days=number))


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


def test_without_a_time_the_item_is_due_after_the_interval_as_sent(connection: Connection) -> None:
    sent = {
        "a": (0.9, 0, 77_760_000_000),
        "b": (1e-11, 0, 0),
        "c": (2.7 + 1e-11, 2, 233_280_000_000),
        "d": (36_499.999_999_999_99, 36_499, 3_153_599_999_999_999),
    }
    append(connection, [card(0, item, interval_days=days) for item, (days, *_) in sent.items()])
    batch.run(connection)
    rows = model_rows.read_model(connection, "item_stats")
    assert {item: (row["interval_days"], row["due_at"]) for (_, item), row in rows.items()} == {
        item: (shown, BEGIN + timedelta(microseconds=due)) for item, (_, shown, due) in sent.items()
    }
    assert sample_events.find_differences(connection) == []
    assert definition_folds.find_differences(connection) == []


@pytest.mark.parametrize(("due", "conflicts"), [("2024-05-01T06:00:00+02:00", 0), ("soon", 1)])
def test_a_card_that_was_recorded_before_its_declaration_is_redelivered(
    connection: Connection, due: str, conflicts: int
) -> None:
    with undeclared("CardReviewed"):
        append(connection, [first := card(0, due=due)])
    append(connection, [{**first, "data": {**first["data"], "due": DUE}}])
    assert len(connection.run("SELECT FROM event_store.dead_letters")) == conflicts
    assert len(model_rows.read_events(connection)) == 1
