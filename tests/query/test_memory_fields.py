"""What a learner still knows, at the edges: days out of range, and days that run backwards."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from progress.adapters.postgres.database import Connection
from progress.projections import batch
from progress.projections.projector import SHARDS, Projector
from progress.query.read_models import rows
from tests import oracle
from tests.conftest import Store
from tests.query.test_past_fields import as_json
from tests.support import model_rows, recent_events, sample_events
from tests.support.api import Api, QueryClient
from tests.support.stage import Stage, append

pytestmark = pytest.mark.every_postgres

DAY = timedelta(days=1)
NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)


def answered(
    at: datetime, *, user: str = "ann", item: str = "i0", is_correct: bool = True
) -> sample_events.Envelope:
    kind = "CorrectAnswerGiven" if is_correct else "IncorrectAnswerGiven"
    data = {"user_id": user, "session_id": f"s {user}", "item_id": item, "response_time_ms": 900}
    return sample_events.envelope(kind, data, at=at)


def reviewed(at: datetime, item: str, interval: int) -> sample_events.Envelope:
    data = {"user_id": "ann", "item_id": item, "new_interval": interval}
    return sample_events.envelope("ReviewProcessed", data, at=at)


def moved(at: datetime, zone: str) -> sample_events.Envelope:
    data = {"user_id": "ann", "timezone": zone}
    return sample_events.envelope("UserPreferencesChanged", data, at=at)


@pytest.mark.first_in_gate
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
    points = fetch(fetch.queries.run(rows.item_forgetting("ann", "i0", days, at=at)))
    found = [*map(msgspec.structs.asdict, points)]
    assert found == oracle.item_forgetting(world, "ann", "i0", days)
    assert len({row["date"] for row in found}) == len(found) > 0


def reviewed_daily(user: str, days: int, *, since: datetime = NOON) -> list[sample_events.Envelope]:
    """Return the answers of seven items on each day; two of them are wrong on some days."""
    return [
        answered(since + n * DAY, user=user, item=f"i{item}", is_correct=(n + item) % 7 > n % 3)
        for n in range(days)
        for item in range(7)
    ]


def see(connection: Connection, at: datetime) -> oracle.World:
    Projector(connection).catch_up_all()
    batch.fold(connection, list(SHARDS))
    return oracle.see(model_rows.read_events(connection), at)


def same(found: object, wanted: object) -> bool:
    """Compare two calibrations, which may differ by 1e-5; see memory.md."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return found.keys() == wanted.keys() and all(same(found[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list) and isinstance(found, list):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    if isinstance(wanted, float) and isinstance(found, float):
        return abs(found - wanted) < 1e-5
    return found == wanted


CALIBRATION = "tests logLoss constantLogLoss bins { from to tests predicted recalled }"


@pytest.mark.parametrize(("learners", "days"), [(19, 3), (20, 3), (3, 9)])
def test_the_calibration_equals_the_oracle_s(
    store: Store, query_api: Api, learners: int, days: int
) -> None:
    with closing(store.connect()) as connection:
        begin = datetime.now(UTC) - timedelta(days=days)
        for number in range(learners):
            since = begin if number % 2 else begin - 363 * DAY
            append(connection, reviewed_daily(f"u{number}", days, since=since))
    users = ("u0", "u1", "nobody")

    def read() -> tuple[oracle.World, list[Any]]:
        with closing(store.connect()) as connection:
            world = see(connection, datetime.now(UTC))
        fields = [*(f'calibration(userId: "{user}")' for user in users), "calibrationOfAll"]
        asked = [f"{{ found: {field} {{ {CALIBRATION} }} }}" for field in fields]
        answers = [query_api.post(query, roles=["support"])["data"]["found"] for query in asked]
        return world, answers

    world, (*of_users, of_all) = recent_events.ask_within(86_400, read)
    for user, found in zip(users, of_users, strict=True):
        assert same(found, as_json(oracle.calibration(world, user)))
    assert same(of_all, as_json(oracle.calibration_of_all(world)))
    assert (of_all is None) == (learners < 20)


def compare_curves(get: Any, define: Any, world: oracle.World, fetch: QueryClient) -> None:
    for first, last in ((-100, 100), (0, 21), (20, 20), (36, 90)):
        days = (NOON + first * DAY).date(), (NOON + last * DAY).date()
        points = fetch(get("ann", *days, at=world.now))
        assert [msgspec.structs.asdict(one) for one in points] == define(world, "ann", *days)
    assert fetch(get("nobody", *days, at=world.now)) == []


@pytest.mark.parametrize("idle", [-30, 0, 1, 6, 7, 13, 40])
def test_the_curve_of_knowledge_equals_the_oracle_s(
    stage: Stage, fetch: QueryClient, idle: int
) -> None:
    """Also in the weeks after the last answer, with answers ahead of today, or only with these."""
    stage.sweep()
    append(stage.admin, reviewed_daily("ann", 30))
    append(stage.admin, [moved(NOON + 26 * DAY, "Pacific/Kiritimati")])
    at = NOON + timedelta(days=29 + idle, hours=-1)
    world = see(stage.admin, at)
    compare_curves(fetch.queries.get_knowledge_curve, oracle.knowledge_curve, world, fetch)


@pytest.mark.parametrize("idle", [-29, -26, 0, 1, 2, 6, 13, 40])
def test_the_curve_of_mastery_equals_the_oracle_s(
    stage: Stage, fetch: QueryClient, idle: int
) -> None:
    """Items rise and fall; a flight west puts the latest review of one into an earlier week."""
    stage.sweep()
    append(stage.admin, [answered(NOON + n * DAY, item=f"i{n % 9}") for n in range(14)])
    append(
        stage.admin,
        [
            *(reviewed(NOON + n * DAY, f"i{n % 5}", 3 * n) for n in range(14)),
            moved(NOON + 26 * DAY, "Pacific/Kiritimati"),
            reviewed(NOON + timedelta(days=28, hours=2), "i1", 30),
            moved(NOON + timedelta(days=28, hours=3), "Pacific/Honolulu"),
            reviewed(NOON + timedelta(days=28, hours=4), "i1", 5),
        ],
    )
    at = NOON + timedelta(days=28 + idle, hours=-1)
    world = see(stage.admin, at)
    compare_curves(fetch.queries.get_mastery_curve, oracle.mastery_curve, world, fetch)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ('knowledge(on: "2024-03-09", AS_OF) { on }', "on: expected a day from 2024-03-10"),
        ('knowledge(on: "2034-03-09", AS_OF) { on }', "to 2034-03-08 - found 2034-03-09"),
        ('knowledge(on: "1999-12-31", AS_OF) { on }', "expected a day from 2024-03-10"),
        ('knowledge(on: "9999-12-31", AS_OF) { on }', "on: expected the years 2 to 9998"),
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


def test_what_is_known_can_be_asked_for_today_and_10_years_ahead_in_any_year(
    query_api: Api, connection: Connection
) -> None:
    newyork = sample_events.envelope(
        "UserPreferencesChanged",
        at=datetime(2000, 1, 1, 2, tzinfo=UTC),
        data={"user_id": "ann", "timezone": "America/New_York"},
    )
    append(connection, [newyork, answered(datetime(2000, 1, 1, 3, tzinfo=UTC))])
    for as_of, on in (
        ("2000-01-01T04:00:00Z", "1999-12-31"),
        ("2095-01-01T12:00:00Z", "2095-01-01"),
        ("2095-01-01T12:00:00Z", "2104-12-29"),
        ("9980-01-01T12:00:00Z", "9989-12-29"),
    ):
        asked = f'userId: "ann", on: "{on}", asOf: "{as_of}"'
        answer = query_api.post(f"{{ knowledge({asked}) {{ on items }} }}", roles=["admin"])
        assert answer["data"]["knowledge"] == {"on": on, "items": 1}
