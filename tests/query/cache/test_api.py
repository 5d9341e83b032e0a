"""The cache as a client sees it: answers are found again, and are never those of before."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from progress.adapters.postgres.database import Connection
from progress.projections import batch, rebuild
from progress.projections.projector import SHARDS, Projector
from tests.conftest import Store
from tests.support import api, cache_instances, sample_events
from tests.support.api import Api, Body
from tests.support.stage import append, publisher

# Every field that is kept, one of them twice: under another name, and by a fragment.
EVERYTHING = """
query Everything($from: Date!, $to: Date!) {
  me: userProgress { totalItemsLearned currentStreak masteryStats { unlearned learning } }
  userProgress { ...Standing }
  dailyStats(from: $from, to: $to) { date answers correctAnswers accuracyRate }
  weeklyStats(from: $from, to: $to) { start activeDays itemsReviewed }
  monthlyStats(from: $from, to: $to) { start activeDays answers }
  itemStats(first: 10, orderBy: ACCURACY) {
    totalCount edges { node { itemId headword level domains mastery } }
  }
  item(itemId: "i0") { headword level answers }
  domainStats { domain itemsStudied catalogueItems progressRate }
  levelStats { level itemsStudied catalogueItems }
  streak { current longest lastStudyDate }
  dueForecast(days: 3) { date items }
}
fragment Standing on UserProgress { totalSessionsCompleted accuracyRate lastUpdated }
"""
NO_CACHE = {"cache-control": "no-cache"}
RANGE = {"from": "2024-03-25", "to": "2024-05-05"}


@pytest.fixture
def connection(store: Store) -> Iterator[Connection]:
    with cache_instances.populate(store, "ann", "ben") as made:
        batch.fold(made, list(SHARDS))
        yield made


@pytest.fixture
def both(
    store: Store, connection: Connection, redis_with_notifications: str
) -> Iterator[list[Api]]:
    """Two instances."""
    with ExitStack() as stack:
        how = {"redis_url": redis_with_notifications, "rate_limit_per_minute": 1_000}
        yield [stack.enter_context(api.serve(store.url, **how)) for _ in range(2)]


def ask(instance: Api, **headers: str) -> Body:
    """The whole answer."""
    body = msgspec.json.encode({"query": EVERYTHING, "variables": RANGE})
    response = instance.request("POST", "/graphql", body, api.headers("ann", **headers))
    answer = api.read(response)
    assert "errors" not in answer, answer["errors"]
    return answer


def told(answer: Body) -> str:
    found: str = answer["extensions"]["cache"]
    return found


def test_the_second_is_a_hit_of_any_instance_and_says_the_same(both: list[Api]) -> None:
    first = ask(both[0])
    assert told(first) == "MISS"
    for each in both:
        again = ask(each)
        assert (told(again), again["data"]) == ("HIT", first["data"])
    passing_by = ask(both[1], **NO_CACHE)
    assert (told(passing_by), passing_by["data"]) == ("MISS", first["data"])


def test_what_is_of_the_moment_is_asked_beside_what_is_kept(
    both: list[Api], connection: Connection
) -> None:
    query = "{ streak { longest } projectionStatus { name eventsBehind } }"
    first, again = both[0].post(query), both[0].post(query)
    assert (told(first), told(again)) == ("MISS", "HIT")
    append(connection, sample_events.lesson("ben", 4))
    later = both[0].post(query)
    assert (told(later), later["data"]["streak"]) == ("HIT", first["data"]["streak"])
    assert later["data"]["projectionStatus"] != again["data"]["projectionStatus"]
    assert told(both[0].post("{ projectionStatus { name } }")) == "MISS"


def study(connection: Connection) -> None:
    append(connection, sample_events.lesson("ann", 4))
    Projector(connection, publisher=publisher()).catch_up_all()


def describe(connection: Connection) -> None:
    later = sample_events.BEGIN + timedelta(days=9)
    append(
        connection,
        [sample_events.item_published("new"), sample_events.item_published("i0", "B2", at=later)],
    )
    Projector(connection, publisher=publisher()).catch_up_all()


def run_batch(connection: Connection) -> None:
    describe(connection)
    batch.run(connection, publisher=publisher())


def delete(connection: Connection) -> None:
    gone = sample_events.envelope("UserDeleted", {"user_id": "ann"}, at=datetime.now(UTC))
    append(connection, [gone])
    Projector(connection, publisher=publisher()).catch_up_all()


@pytest.mark.parametrize("happen", [study, describe, run_batch, delete])
def test_what_happens_is_in_the_next_answer(
    both: list[Api], connection: Connection, happen: Callable[[Connection], None]
) -> None:
    before = [ask(each)["data"] for each in both]
    happen(connection)
    after = [ask(each)["data"] for each in both]
    wanted = ask(both[0], **NO_CACHE)["data"]
    assert after == [wanted, wanted]
    assert before == [before[0], before[0]] != after


def test_a_rebuild_is_in_the_next_answer(
    both: list[Api], connection: Connection, store: Store
) -> None:
    right = ask(both[0])["data"]
    connection.run("UPDATE daily_stats SET answers = answers + 1")
    for each in both:
        assert ask(each, **NO_CACHE)["data"] != right
    rebuild.run(store.connect, publisher=publisher())
    for each in both:
        assert ask(each)["data"] == right


def test_an_answer_says_how_far_the_projections_have_come(
    both: list[Api], connection: Connection
) -> None:
    (head,) = connection.run("SELECT max(global_position)::text, max(created_at) FROM events")
    reached = ask(both[0])["extensions"]["projectedTo"]
    assert (reached["position"], datetime.fromisoformat(reached["time"])) == tuple(head)


def test_a_redis_that_hangs_costs_no_answer(store: Store, connection: Connection) -> None:
    with (
        cache_instances.valkey_of_its_own() as own,
        api.serve(store.url, redis_url=own.url) as one,
        api.serve(store.url) as without,
    ):
        wanted = ask(without)["data"]
        assert ask(one)["data"] == wanted
        own.stop()
        for _ in range(3):
            answer = ask(one)
            assert (told(answer), answer["data"]) == ("MISS", wanted)


def test_a_version_that_redis_had_is_not_read_again(both: list[Api]) -> None:
    one, _ = both
    one._reader = reader = cache_instances.CountingReader(one.url)

    def asked(first_day: str, reading: str) -> None:
        query = f'{{ dailyStats(from: "{first_day}", to: "2024-05-05") {{ answers }} }}'
        reader.asked.clear()
        assert told(one.post(query)) == "MISS"
        of_days = [text for text in reader.asked if "FROM daily_stats" in text]
        assert [reading in text for text in of_days] == [True]
        assert told(one.post(query)) == "HIT"

    asked("2024-03-25", "SELECT version FROM user_progress")
    asked("2024-03-26", "")
    assert not any("SELECT version" in text for text in reader.asked)
