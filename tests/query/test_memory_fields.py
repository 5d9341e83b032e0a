"""What a learner still knows, at the edges: days out of range, and days that run backwards."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from progress.projections.projector import Projector
from progress.query.read_models import rows
from tests import oracle
from tests.conftest import Store
from tests.support import api, model_rows, rows_by_hand, sample_events
from tests.support.api import Api, QueryClient
from tests.support.stage import Stage, append

pytestmark = pytest.mark.every_postgres

DAY = timedelta(days=1)
NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)


def answered(at: datetime, *, is_correct: bool = True) -> sample_events.Envelope:
    kind = "CorrectAnswerGiven" if is_correct else "IncorrectAnswerGiven"
    data = {"user_id": "ann", "session_id": "s", "item_id": "i0", "response_time_ms": 900}
    return sample_events.envelope(kind, data, at=at)


def moved(at: datetime, zone: str) -> sample_events.Envelope:
    data = {"user_id": "ann", "timezone": zone}
    return sample_events.envelope("UserPreferencesChanged", data, at=at)


@pytest.mark.parametrize("days", [0, 3, 365])
@pytest.mark.parametrize("later", [0, 1, 2, 40, 729, 730, 731, 733])
def test_the_forgetting_of_an_item_whose_days_run_backwards_equals_the_oracle_s(
    stage: Stage, fetch: QueryClient, days: int, later: int
) -> None:
    """A flight from Kiritimati to Honolulu makes the next answer a day earlier."""
    stage.sweep()
    append(
        stage.admin,
        [
            moved(NOON - 9 * DAY, "Pacific/Kiritimati"),
            answered(NOON - 3 * DAY),
            answered(NOON, is_correct=False),
            moved(NOON + timedelta(hours=1), "Pacific/Honolulu"),
            answered(NOON + timedelta(hours=2)),
            answered(NOON + timedelta(hours=25), is_correct=False),
        ],
    )
    Projector(stage.admin).catch_up_all()
    at = NOON + timedelta(hours=3) + later * DAY
    world = oracle.see(model_rows.read_events(stage.admin), at)
    query = rows.select_item_forgetting(rows.Moment(at), "i0", days)
    found = [msgspec.structs.asdict(point) for point in fetch(fetch.queries.run("ann", query))]
    assert found == oracle.item_forgetting(world, "ann", "i0", days)
    assert len({row["date"] for row in found}) == len(found) > 0


@pytest.fixture
def query_api(store: Store) -> Iterator[Api]:
    with api.serve(rows_by_hand.query_url(store.url)) as made:
        yield made


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ('knowledge(on: "2024-03-09", AS_OF) { on }', "on: expected a day from 2024-03-10"),
        ('knowledge(on: "2034-03-09", AS_OF) { on }', "to 2034-03-08 - found 2034-03-09"),
        ('itemForgetting(itemId: "i0", days: -1) { date }', "days: expected an integer from 0"),
        ('itemForgetting(itemId: "i0", days: 366) { date }', "to 365 - found 366"),
        ('itemForgetting(itemId: "") { date }', "itemId: expected 1 to 200 characters"),
    ],
)
def test_a_day_out_of_range_is_bad_input(query_api: Api, field: str, message: str) -> None:
    as_of = f'asOf: "{NOON.isoformat()}"'
    answer = query_api.post(f"{{ {field.replace('AS_OF', as_of)} }}")
    (error,) = answer["errors"]
    assert message in error["message"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


def test_a_learner_without_events_knows_nothing_today(query_api: Api) -> None:
    answer = query_api.post(
        '{ knowledge { on items expected fading levels { level } } itemForgetting(itemId: "i0") '
        "{ date } }"
    )
    today = datetime.now(UTC).date()
    nothing = {"items": 0, "expected": 0.0, "fading": 0, "levels": []}
    found = answer["data"]["knowledge"]
    assert found in [{"on": f"{day}", **nothing} for day in (today, today - DAY)]
    assert answer["data"]["itemForgetting"] == []
