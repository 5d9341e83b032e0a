"""Live queries send the newest states to subscribers; the formats of subscriptions' results."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from graphql import Executor, parse
from msgspec import Struct

from progress.auth import Caller
from progress.errors import Forbidden, InstanceUnavailable
from progress.query.execution import execute
from progress.query.execution.execute import RequestLog
from progress.query.graphql.context import Context
from progress.query.graphql.downloads import Downloads
from progress.query.graphql.schema import GRAPHQL
from progress.query.http import protocol, subscriptions
from progress.query.live import hub
from progress.query.live.hub import LiveQueries, Subscription
from progress.query.read_models.accesses import AccessTrace
from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import Reader
from progress.query.read_models.rows import MasteryStats, Streak, UserProgress
from progress.settings import Settings
from tests.query.test_operations import finished_export
from tests.support.event_loop import in_event_loop


class Number(Struct, frozen=True):
    version: str
    value: int
    is_final: bool = False
    begins_at: datetime | None = None
    expires_at: datetime | None = None


class Numbers:
    pause_s = 0.0

    def __init__(self) -> None:
        self.states: dict[str, Number] = {}
        self.error: Exception | None = None
        self.compared: list[int] = []
        self.batches: list[list[str]] = []

    def set(self, name: str, value: int, *, is_final: bool = False) -> None:
        self.states[name] = Number(str(value), value, is_final)

    async def fetch_versions(self, ids: Sequence[str]) -> Mapping[str, str]:
        self.compared.append(len(ids))
        return {id_: self.states[id_].version for id_ in ids}

    async def fetch_states(self, ids: Sequence[str]) -> Mapping[str, Number]:
        self.batches.append(list(ids))
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return {id_: self.states[id_] for id_ in ids}


def value(state: Any) -> int:
    number: int = state.value
    return number


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "POLL_S", 0.01)


@pytest.fixture
def numbers() -> Numbers:
    made = Numbers()
    made.set("a", 1)
    return made


def subscribe(numbers: Numbers, *names: str) -> tuple[LiveQueries, list[Subscription[int]]]:
    live_queries = LiveQueries({"number": numbers})
    return live_queries, [live_queries.subscribe("number", name, value) for name in names]


@pytest.mark.parametrize("hours", [(-26, -2), (2, 26)], ids=["of yesterday", "of tomorrow"])
@in_event_loop
async def test_a_state_of_another_day_is_replaced(numbers: Numbers, hours: tuple[int, int]) -> None:
    """A state is of tomorrow if the clock was ahead and is set back."""
    begins_at, expires_at = (datetime.now(UTC) + timedelta(hours=n) for n in hours)
    numbers.states["a"] = Number("1", 1, begins_at=begins_at, expires_at=expires_at)
    _, (subscription,) = subscribe(numbers, "a")
    assert await anext(subscription) == 1
    numbers.states["a"] = Number("1", 2)
    async with asyncio.timeout(60):
        assert await anext(subscription) == 2
    subscription.close()


@in_event_loop
async def test_the_states_of_many_subjects_are_read_and_compared_in_few_batches() -> None:
    numbers = Numbers()
    names = [f"t{n}" for n in range(1_001)]
    for name in names:
        numbers.set(name, 1)
    _, subscriptions = subscribe(numbers, *names, *names)
    assert [await anext(subscription) for subscription in subscriptions] == [1] * 2_002
    assert sorted(map(len, numbers.batches)) == [1, *[100] * 10]
    for name in (names[0], names[-1]):
        numbers.set(name, 2)
    assert [await anext(subscriptions[n]) for n in (0, -1)] == [2, 2]
    assert numbers.compared[:2] == [1_000, 1]
    for subscription in subscriptions:
        subscription.close()


@in_event_loop
async def test_a_subject_with_a_pause_is_read_once_in_each(
    numbers: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers, "pause_s", 0.05)
    live_queries, (old,) = subscribe(numbers, "a")
    assert await anext(old) == 1
    began = time.monotonic()
    for number in (2, 3, 4):
        numbers.set("a", number)
        new = live_queries.subscribe("number", "a", value)
        assert await anext(new) == number - 1, "the known state, without another read"
        assert await anext(old) == number
        new.close()
    assert time.monotonic() - began >= 3 * 0.05
    assert len(numbers.batches) == 4
    old.close()


@in_event_loop
async def test_a_final_state_ends_the_subscription(numbers: Numbers) -> None:
    _, (subscription,) = subscribe(numbers, "a")
    assert await anext(subscription) == 1
    numbers.set("a", 2, is_final=True)
    assert [number async for number in subscription] == [2]


@in_event_loop
async def test_a_crash_raises_an_error_for_current_subscribers_but_not_for_later_ones(
    numbers: Numbers, capsys: pytest.CaptureFixture[str]
) -> None:
    live_queries, (old,) = subscribe(numbers, "a")
    assert await anext(old) == 1
    numbers.error = ValueError("odd")
    numbers.set("a", 2)
    with pytest.raises(InstanceUnavailable):
        await anext(old)
    old.close()
    numbers.error = None
    new = live_queries.subscribe("number", "a", value)
    assert await anext(new) == 2
    new.close()
    assert "ValueError: odd" in capsys.readouterr().out


LOG = RequestLog("stream", f"00-{32 * 'a'}-{16 * 'b'}-01")


def write(query: str, value: object, context: Context | None = None) -> bytes:
    """Return the result of a subscription whose event has this value."""
    executor: Any = Executor.build(
        GRAPHQL, parse(query), context_value=context, raw_variable_values={}
    )
    result = asyncio.run(subscriptions.execute_state(executor, value))
    return protocol.body(execute.to_response(result, LOG))


def test_numbers_and_times_are_formatted_as_in_query_results() -> None:
    moment = datetime(2024, 3, 1, 12, 30, 0, 250, UTC)
    row = UserProgress("ann", None, 2**40, 0, 0, 0, None, MasteryStats(0, 0, 0, 0), moment)
    written = write("subscription { progressUpdated { totalItemsLearned lastUpdated } }", row)
    expected = b'{"totalItemsLearned":2147483647,"lastUpdated":"2024-03-01T12:30:00.000250Z"}'
    assert written == b'{"data":{"progressUpdated":' + expected + b"}}"
    streak = Streak(
        1, 2, date(2024, 3, 1), None, None, active_today=True, at_risk=False, rest_today=False
    )
    query = "subscription { streakUpdated { longestStart longestEnd activeToday } }"
    expected = b'{"longestStart":"2024-03-01","longestEnd":null,"activeToday":true}'
    assert write(query, streak) == b'{"data":{"streakUpdated":' + expected + b"}}"


def test_a_stream_sends_download_links_that_are_valid_for_ten_minutes() -> None:
    began, now = datetime(2026, 1, 1, tzinfo=UTC), datetime.now(UTC)
    caller, downloads = Caller("ann", "learner"), Downloads(Settings())
    reader = Reader(Settings())
    context = Context(caller, Queries(reader), began, AccessTrace(reader), downloads=downloads)
    query = 'subscription { it: operationUpdated(id: "1") { download { bytes expiresAt } } }'
    written = write(query, finished_export(now), context)
    download = json.loads(written)["data"]["it"]["download"]
    assert download["bytes"] == 7
    assert datetime.fromisoformat(download["expiresAt"]) >= now + timedelta(minutes=10)


def test_an_error_is_reported_at_the_subscription_s_field() -> None:
    query = "subscription { ...s } fragment s on Subscription { it: streakUpdated { current } }"
    written = json.loads(write(query, Forbidden("no longer")))
    (error,) = written["errors"]
    assert error["message"] == "no longer"
    assert (error["path"], error["extensions"]["code"]) == (["it"], "FORBIDDEN")
    assert written["data"] is None
