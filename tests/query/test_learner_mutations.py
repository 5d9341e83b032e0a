"""Goals and rest days that learners set through the API: recorded once, and counted."""

import asyncio
import itertools
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress import settings
from progress.adapters import request_scope
from progress.adapters.postgres import database
from progress.event_store import dead_letters
from progress.projections.projector import Projector
from progress.query import own_events
from progress.query.graphql import learner_mutations
from progress.serve import ports, readiness
from tests.conftest import Store
from tests.support import api, recent_events, sample_events
from tests.support.api import Api, Body
from tests.support.fake_publisher import FakePublisher
from tests.support.postgres_servers import url_of
from tests.support.stage import append, connect

EARLIEST, LATEST = "Pacific/Kiritimati", "Pacific/Pago_Pago"  # UTC+14 and UTC-11
REFUSED = "BAD_USER_INPUT"
_MINUTE = timedelta(minutes=1)
SET_GOAL = """mutation($n: Int!, $key: ID!) {
  setGoal(answersPerDay: $n, idempotencyKey: $key) { eventId counted } }"""
TAKE_REST_DAY = """mutation($day: Date!, $key: ID!) {
  takeRestDay(date: $day, idempotencyKey: $key) { eventId counted } }"""
SET_ASIDE = """mutation($item: ID!, $aside: Boolean!, $key: ID!) {
  setItemAside(itemId: $item, aside: $aside, idempotencyKey: $key) { eventId counted } }"""
RETRACT = """mutation($event: ID!, $key: ID!) {
  retractEvent(eventId: $event, idempotencyKey: $key) { eventId counted } }"""

_BOTH = pytest.mark.parametrize("world", ["redis", "instance"], indirect=True)
_numbers = itertools.count()


class World:
    """The API, and a Pub/Sub whose wake-ups fold the log at once."""

    def __init__(
        self, store: Store, sent: FakePublisher, served: Api, options: dict[str, Any]
    ) -> None:
        self.api, self.sent, self.options = served, sent, options
        self.connection, self._folder = connect(store.url), connect(store.url)
        self.is_folding = True
        self._folding = threading.Lock()
        sent.on_stored = lambda _request: self.fold() if self.is_folding else None

    def fold(self) -> None:
        # A wake-up that nobody waits for any longer may fold while the test uses its connection.
        with self._folding:
            Projector(self._folder).catch_up_all()

    def close(self) -> None:
        self.is_folding = False
        with self._folding:
            self._folder.close()
        self.connection.close()

    def rows(self) -> list[Any]:
        """Return what the mutations have recorded: type, data, time and metadata."""
        rows: list[Any] = self.connection.run(
            "SELECT event_type, event_data, occurred_at, metadata FROM event_store.events "
            "WHERE event_type IN ('GoalSet', 'RestDayTaken', 'EventRetracted', 'ItemSetAside',"
            " 'ItemResumed') "
            "ORDER BY global_position"
        )
        return rows

    def times(self, kind: str) -> list[Any]:
        """Return when the events of a type occurred, and their metadata."""
        return [row[2:] for row in self.rows() if row[0] == kind]

    @contextmanager
    def hang(self) -> Iterator[None]:
        """Let no append end."""
        with self.delay(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(own_events, "_ANSWER_S", request_scope.TIMEOUT_S - 0.1)
            yield
            self.wait_until_waiting(0)

    @contextmanager
    def delay(self) -> Iterator[None]:
        """Let no append end during the block."""
        with database.transaction(self.connection):
            self.connection.run(
                "SELECT pg_advisory_xact_lock(hashtextextended('event_store.append', 0))"
            )
            yield

    def wait_until_waiting(self, appends: int) -> None:
        waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        readiness.wait(lambda: len(self.connection.run(waiting)) == appends, "the appends' wait")

    def add_learner(self, zone: str | None = None) -> str:
        """Return a new learner; without `zone`, it is about noon where the learner is."""
        user = f"learner-{next(_numbers)}"
        self.move(user, zone or recent_events.noon_zone(), ago=timedelta(days=9))
        return user

    def move(self, user: str, zone: str, ago: timedelta = timedelta()) -> None:
        data = {"user_id": user, "timezone": zone}
        at = datetime.now(UTC) - ago
        with self._folding:  # a wake-up of an earlier call may fold now
            append(self.connection, [sample_events.envelope("UserPreferencesChanged", data, at=at)])
        self.fold()

    def today(self, user: str) -> date:
        (day,) = self.api.data("{ dueForecast(days: 1) { date } }", user)["dueForecast"]
        return date.fromisoformat(day["date"])

    def set_goal(self, user: str, answers: int, key: str = "k") -> Any:
        return outcome(self.api.post(SET_GOAL, user, n=answers, key=key))

    def take(self, user: str, day: date, key: str = "k") -> Any:
        return outcome(self.api.post(TAKE_REST_DAY, user, day=f"{day}", key=key))

    def set_aside(self, user: str, item: str, *, aside: bool, key: str) -> Any:
        return outcome(self.api.post(SET_ASIDE, user, item=item, aside=aside, key=key))

    def list_set_aside(self, user: str) -> list[str]:
        query = "{ itemStats(filter: SET_ASIDE) { edges { node { itemId } } } }"
        edges = self.api.data(query, user)["itemStats"]["edges"]
        return [edge["node"]["itemId"] for edge in edges]

    def retract(self, user: str, event_id: str, key: str = "k") -> Any:
        return outcome(self.api.post(RETRACT, user, event=event_id, key=key))

    def rest_days(self, user: str) -> list[str]:
        today = datetime.now(UTC).date()
        ends = {"from": f"{today - timedelta(days=20)}", "to": f"{today + timedelta(days=20)}"}
        query = "query($from: Date!, $to: Date!) { restDays(from: $from, to: $to) }"
        days: list[str] = self.api.data(query, user, **ends)["restDays"]
        return days

    def recorded(self, user: str) -> list[tuple[str, Any]]:
        query = """query($id: ID!) { events(userId: $id, first: 200, types: ["GoalSet",
          "RestDayTaken"]) { edges { node { eventId data } } } }"""
        edges = self.api.post(query, "ada", roles="admin", id=user)["data"]["events"]["edges"]
        values = [(edge["node"]["eventId"], json.loads(edge["node"]["data"])) for edge in edges]
        return [
            (event_id, data.get("date") or data["answers_per_day"])
            for event_id, data in reversed(values)
        ]


def outcome(body: Body) -> Any:
    if "errors" in body:
        (error,) = body["errors"]
        return error["extensions"]["code"]
    (event,) = body["data"].values()
    return event


@contextmanager
def open_world(
    store: Store, sent: FakePublisher, redis_url: str | None, **more: Any
) -> Iterator[World]:
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("PUBSUB_EMULATOR_HOST", sent.address)
        settings.current.cache_clear()
        options = {"redis_url": redis_url, **more}
        served = stack.enter_context(api.serve(url_of(store.url, "query"), **options))
        yield stack.enter_context(closing(World(store, sent, served, options)))


@pytest.fixture(params=["redis", pytest.param("instance", marks=pytest.mark.exhaustive)])
def world(
    request: pytest.FixtureRequest, store: Store, fake_publisher: FakePublisher, patient_redis: str
) -> Iterator[World]:
    """The world; it counts in Redis or, without Redis, in the instance, as few tests depend on."""
    url = patient_redis if request.param == "redis" else None
    with open_world(store, fake_publisher, url) as made:
        yield made


@_BOTH
def test_a_goal_and_a_rest_day_are_recorded_counted_and_shown(world: World) -> None:
    user = world.add_learner()
    goal, today = "{ goal { answersPerDay } }", world.today(user)
    assert world.api.data(goal, user) == {"goal": None}
    assert world.rest_days(user) == []
    set_, taken = world.set_goal(user, 30), world.take(user, today)
    assert (set_["counted"], taken["counted"]) == (True, True)
    for event, mutation in ((set_, "setGoal"), (taken, "takeRestDay")):
        identity = f'["{user}","{mutation}","k"]'
        assert event["eventId"] == str(uuid5(NAMESPACE_OID, identity))
    assert world.api.data(goal, user) == {"goal": {"answersPerDay": 30}}
    assert world.rest_days(user) == [f"{today}"]
    assert world.api.data("{ streak { restToday } }", user)["streak"] == {"restToday": True}
    assert [row[:2] for row in world.rows()] == [
        ["GoalSet", {"user_id": user, "answers_per_day": 30}],
        ["RestDayTaken", {"user_id": user, "date": f"{today}"}],
    ]
    assert [row[3] for row in world.rows()] == [{"occurred_at_source": "publish_time"}] * 2
    assert world.set_goal(user, 0, "none")["counted"]
    assert world.api.data(goal, user) == {"goal": None}


def test_an_item_is_set_aside_and_resumed(world: World) -> None:
    user = f"learner-{next(_numbers)}"
    assert world.set_aside(user, "i", aside=True, key="a")["counted"], "it makes the learner known"
    assert world.list_set_aside(user) == [], "an item that was never met has no row"
    now = datetime.now(UTC)
    ((at, marked),) = world.times("ItemSetAside")
    assert (at < now, marked) == (True, {"occurred_at_source": "publish_time"})
    review = {"user_id": user, "item_id": "i", "new_interval": 0}
    earlier = now - timedelta(hours=1)
    append(world.connection, [sample_events.envelope("ReviewProcessed", review, at=earlier)])
    world.fold()
    assert world.list_set_aside(user) == ["i"]
    resumed = world.set_aside(user, "i", aside=False, key="b")
    assert world.list_set_aside(user) == []
    assert world.set_aside(user, "i", aside=False, key="b")["eventId"] == resumed["eventId"]
    assert world.set_aside(user, "i", aside=True, key="b") == REFUSED, "the key is of ItemResumed"


@pytest.mark.parametrize("kind", ["GoalSet", "ItemSetAside", "ItemResumed"])
def test_a_choice_follows_those_of_a_clock_that_is_ahead(world: World, kind: str) -> None:
    user, now = world.add_learner(), datetime.now(UTC)
    own = {"user_id": user} | ({"answers_per_day": 5} if kind == "GoalSet" else {"item_id": "i"})
    others = [own | {"user_id": "somebody else"}]
    if kind != "GoalSet":
        others.append(own | {"item_id": "j"})
    for minutes, is_folded in ((7, True), (8, False)):
        ahead = now + timedelta(minutes=minutes)
        sent = [(own, ahead), (own, ahead - _MINUTE), *((data, ahead + _MINUTE) for data in others)]
        append(world.connection, [sample_events.envelope(kind, data, at=at) for data, at in sent])
        if is_folded:
            world.fold()
        if kind == "GoalSet":
            assert world.set_goal(user, minutes, f"{minutes}")["counted"]
            answered = world.api.data("{ goal { answersPerDay } }", user)
            assert answered == {"goal": {"answersPerDay": minutes}}
            chosen = kind
        else:
            assert world.set_aside(user, "i", aside=is_folded, key=f"{minutes}")["counted"]
            chosen = "ItemSetAside" if is_folded else "ItemResumed"
        assert world.times(chosen)[-1] == [ahead + timedelta(microseconds=1), {}]


def test_a_repeated_call_finds_the_recorded_event_even_after_midnight(world: World) -> None:
    user = world.add_learner(LATEST)
    day = world.today(user)
    first = world.take(user, day)
    assert world.take(user, day) == first
    world.move(user, EARLIEST)
    assert world.today(user) > day
    assert world.take(user, day) == first
    assert world.take(user, day, "another") == "BAD_USER_INPUT"
    assert world.take(user, day + timedelta(days=1)) == "BAD_USER_INPUT", "the key is of `day`"
    assert len(world.recorded(user)) == 1


def test_a_goal_s_last_change_is_retracted_and_a_repeated_call_does_not_set_it_again(
    world: World,
) -> None:
    user, goal = world.add_learner(), "{ goal { answersPerDay } }"
    world.set_goal(user, 20, "first")
    changed = world.set_goal(user, 30, "second")
    retraction = world.retract(user, changed["eventId"])
    assert retraction["counted"]
    assert retraction["eventId"] == str(uuid5(NAMESPACE_OID, f'["{user}","retractEvent","k"]'))
    named = {"user_id": user, "retracted_event_id": changed["eventId"]}
    assert world.rows()[-1][:2] == ["EventRetracted", named]
    assert world.api.data(goal, user) == {"goal": {"answersPerDay": 20}}
    count = len(world.rows())
    assert world.set_goal(user, 30, "second") == changed
    assert world.retract(user, changed["eventId"]) == retraction
    assert world.retract(user, "another event") == "BAD_USER_INPUT", "the key is of the goal"
    assert len(world.rows()) == count
    assert world.api.data(goal, user) == {"goal": {"answersPerDay": 20}}


@pytest.mark.parametrize("folded", [("taken", "retracted"), ("taken",), ()])
def test_a_rest_day_that_was_taken_back_can_be_taken_again(
    world: World, monkeypatch: pytest.MonkeyPatch, folded: tuple[str, ...]
) -> None:
    monkeypatch.setattr(learner_mutations, "_MAX_WAIT_S", 5.0 if "retracted" in folded else 0.05)
    user = world.add_learner()
    days = list_days(world.today(user))
    world.is_folding = "taken" in folded
    one, two = (world.take(user, day, f"{day}") for day in days[:2])
    world.is_folding = "retracted" in folded
    assert world.retract(user, one["eventId"], "r")["counted"] == world.is_folding
    repeated = world.take(user, days[0], f"{days[0]}")["eventId"]
    assert repeated == one["eventId"], "a redelivery: the event stays retracted"
    assert world.take(user, days[1], "b") == REFUSED, "it is still a rest day"
    assert world.take(user, days[0], "again")["eventId"] != repeated
    assert world.take(user, days[2], "c") == REFUSED, "the week has two"
    assert world.retract(user, two["eventId"], "s")["eventId"]
    assert world.take(user, days[2], "c")["eventId"]
    world.fold()
    assert world.rest_days(user) == [f"{days[0]}", f"{days[2]}"]


def test_only_an_own_recent_goal_and_an_own_rest_day_ahead_can_be_retracted(world: World) -> None:
    user, other = world.add_learner(), world.add_learner()
    today, now = world.today(user), datetime.now(UTC)
    goal = {"user_id": user, "answers_per_day": 5}

    def rest(ahead: int) -> dict[str, Any]:
        return {"user_id": user, "date": f"{today + timedelta(days=ahead)}"}

    week = now - timedelta(days=9)
    refused = [
        sample_events.envelope(
            "GoalSet", goal | {"answers_per_day": 7}, at=now - timedelta(hours=24, minutes=1)
        ),
        sample_events.envelope("RestDayTaken", rest(-1), at=now),
        sample_events.envelope("GoalSet", goal | {"user_id": other}, at=now),
        sample_events.envelope("LearnerJoinedGroup", {"user_id": user, "group_id": "g"}, at=now),
        *sample_events.lesson(user, 1),
    ]
    accepted = [
        sample_events.envelope("GoalSet", goal, at=now - timedelta(hours=23, minutes=50)),
        sample_events.envelope("RestDayTaken", rest(0), at=week),
        sample_events.envelope("RestDayTaken", rest(30), at=week),
        sample_events.envelope("GoalSet", goal, at=now) | {"event_id": f"goal of {user}"},
    ]
    append(world.connection, [*refused, *accepted])
    world.fold()
    for event_id in (*(event["event_id"] for event in refused), "unknown", "", "x" * 201):
        assert world.retract(user, event_id) == "BAD_USER_INPUT", event_id
    assert [row[0] for row in world.rows()].count("EventRetracted") == 0
    for number, event in enumerate(accepted):
        assert world.retract(user, event["event_id"], f"{number}")["counted"], event
    assert world.retract("new", accepted[0]["event_id"]) == "BAD_USER_INPUT"
    assert world.api.data("{ goal { answersPerDay } }", user) == {"goal": {"answersPerDay": 7}}
    assert dead_letters.list_letters(world.connection) == []


def list_days(today: date) -> list[date]:
    """Return four days or more of one ISO week, from today to 7 days ahead."""
    days = [today + timedelta(days=n) for n in range(8)]
    weeks = [list(group) for _, group in itertools.groupby(days, lambda day: day.isocalendar()[1])]
    return max(weeks, key=len)


def test_a_goal_makes_a_learner_known(world: World) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    assert world.take("new", tomorrow) == "NOT_FOUND"
    assert world.set_goal("new", 1)["counted"]
    assert world.api.data("{ goal { answersPerDay } }", "new") == {"goal": {"answersPerDay": 1}}
    assert world.take("new", tomorrow)["counted"]


def test_nobody_records_without_a_token_or_after_their_deletion(world: World) -> None:
    deleted, erased = world.add_learner(), world.add_learner()
    gone = sample_events.envelope("UserDeleted", {"user_id": deleted}, at=datetime.now(UTC))
    append(world.connection, [gone])
    world.fold()
    world.connection.run("SELECT event_store.forbid_learner(:id, gen_random_uuid())", id=erased)
    for learner in (deleted, erased):
        assert world.set_goal(learner, 1) == "NOT_FOUND"
        assert world.take(learner, datetime.now(UTC).date()) == "NOT_FOUND"
    body = (
        b'{"query": "mutation { setGoal(answersPerDay: 1, idempotencyKey: \\"k\\") { eventId } }"}'
    )
    headers = {"content-type": "application/json"}
    assert world.api.request("POST", "/graphql", body, headers).status_code == 401
    assert world.rows() == []


def test_of_two_calls_with_one_key_at_once_the_second_s_content_decides(world: World) -> None:
    user = world.add_learner()
    calls = [{"n": number, "key": "k"} for number in (5, 6)]
    with ThreadPoolExecutor(1) as pool:
        with world.delay():
            calling = pool.submit(call_at_once, [world.api], user, SET_GOAL, calls)
            world.wait_until_waiting(2)
        told = [outcome for _, outcome in calling.result()]
    assert told.count(REFUSED) == len(world.recorded(user)) == 1


def test_without_pubsub_and_redis_an_event_is_recorded(
    store: Store, fake_publisher: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner_mutations, "_MAX_WAIT_S", 0.05)
    fake_publisher.is_down = True
    with open_world(store, fake_publisher, f"redis://{ports.HOST}:{ports.reserve()}") as world:
        user = world.add_learner()
        assert world.take(user, world.today(user))["counted"] is False
        assert world.set_goal(user, 3)["counted"] is False
        world.fold()
        assert world.set_goal(user, 3)["counted"] is True
        assert len(world.rows()) == 2


def test_an_answer_waits_only_for_the_fields_that_were_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = world.add_learner()
    world.is_folding = False
    query = SET_GOAL.replace("counted", "")
    assert set(world.api.data(query, user, n=1, key="k")["setGoal"]) == {"eventId"}
    monkeypatch.setattr(learner_mutations, "_MAX_WAIT_S", 0.2)
    assert world.set_goal(user, 1)["counted"] is False
    monkeypatch.undo()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(world.set_goal, user, 2, "l")
        while len(world.rows()) < 2:
            assert not waiting.done()
        world.fold()
        assert waiting.result()["counted"] is True


@pytest.mark.parametrize("world", ["redis"], indirect=True)
def test_all_waits_of_a_request_end_before_its_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, world.is_folding = world.add_learner(), False
    monkeypatch.setattr(request_scope, "TIMEOUT_S", 6.0)
    monkeypatch.setattr(learner_mutations, "_MAX_WAIT_S", 3.0)
    monkeypatch.setattr(learner_mutations, "_KEPT_S", 3.0)
    goal = '{0}: setGoal(answersPerDay: 1, idempotencyKey: "{0}") {{ counted }}'
    data = world.api.data(f"mutation {{ {' '.join(map(goal.format, 'abc'))} }}", user)
    assert list(data.values()) == [{"counted": False}] * 3


@_BOTH
def test_of_twenty_callers_at_once_two_have_a_rest_day_in_the_week(
    world: World, store: Store
) -> None:
    """Each of two instances gets each call, while a device posts; a repeated key is one event."""
    with (
        api.serve(url_of(store.url, "query"), **world.options) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        for _ in range(3):
            user = world.add_learner()
            days = list_days(world.today(user))
            calls = [
                {"day": f"{days[n % len(days)]}", "key": f"{n}"} for n in range(10) for _ in "ab"
            ]
            posting = pool.submit(append_each, store, sample_events.lesson(user, 1))
            told = call_at_once((world.api, other), user, TAKE_REST_DAY, calls)
            posting.result()
            taken = {call["day"] for call, result in told if result != REFUSED}
            events = {str(result) for _, result in told if result != REFUSED}
            assert len(taken) == len(events) == 2, told
            assert world.rest_days(user) == sorted(taken)


def call_at_once(
    instances: Sequence[Api], user: str, query: str, calls: Sequence[dict[str, Any]]
) -> list[tuple[dict[str, Any], Any]]:
    """Call the instances in turn, all at once; return each call with its outcome."""

    async def call(served: Api, variables: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        response = await served.answer("POST", "/graphql", body, api.headers(user))
        return variables, outcome(api.read(response))

    async def call_all(served: Api, some: Sequence[dict[str, Any]]) -> list[Any]:
        return [*await asyncio.gather(*(call(served, each) for each in some))]

    number = len(instances)
    with ThreadPoolExecutor(number) as pool:
        parts = (calls[n::number] for n in range(number))
        told = pool.map(lambda served, some: served.run(call_all(served, some)), instances, parts)
        return [each for some in told for each in some]


def append_each(store: Store, envelopes: list[Any]) -> None:
    with closing(connect(store.url)) as connection:
        for each in envelopes:
            append(connection, [each])


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["goal", "rest"]),
        st.integers(-1, 8) | st.sampled_from([-9_999, 1_001]),  # the goal, or the days from today
        st.sampled_from(["a", "b", "c", "d", "k" * 201]),
        st.booleans(),  # whether the log is folded then
    ),
    max_size=12,
)


@_BOTH
@given(steps=STEPS)
def test_any_calls_record_each_accepted_event_once(
    world: World, steps: list[tuple[str, int, str, bool]]
) -> None:
    user = world.add_learner()
    today = world.today(user)
    expected: dict[tuple[str, str], int] = {}
    for kind, number, key, world.is_folding in steps:
        if kind == "goal":
            result = outcome(world.api.post(BRIEF_GOAL, user, n=number, key=key))
        else:
            day = f"{today + timedelta(days=number)}"
            result = outcome(world.api.post(BRIEF_REST, user, day=day, key=key))
        is_accepted = expected.get((kind, key), number) == number and (
            (kind, key) in expected
            or (len(key) == 1 and kind == "goal" and 0 <= number <= 1_000)
            or (len(key) == 1 and kind == "rest" and is_free(today, number, expected))
        )
        assert isinstance(result, dict) == is_accepted, result
        if is_accepted:
            expected[kind, key] = number
    world.fold()
    values = [
        number if kind == "goal" else f"{today + timedelta(days=number)}"
        for (kind, _), number in expected.items()
    ]
    assert sorted(map(str, values)) == sorted(str(value) for _, value in world.recorded(user))
    assert world.rest_days(user) == sorted(value for value in values if isinstance(value, str))
    assert dead_letters.list_letters(world.connection) == []


BRIEF_GOAL, BRIEF_REST = (text.replace("counted", "") for text in (SET_GOAL, TAKE_REST_DAY))


def is_free(today: date, ahead: int, taken: dict[tuple[str, str], int]) -> bool:
    week = (today + timedelta(days=ahead)).isocalendar()[:2]
    days = [number for (kind, _), number in taken.items() if kind == "rest"]
    same = [d for d in days if (today + timedelta(days=d)).isocalendar()[:2] == week]
    return 0 <= ahead <= 7 and ahead not in days and len(same) < 2


def test_a_learner_records_at_most_sixty_events_an_hour(world: World) -> None:
    def record_too_many() -> list[Any]:
        user = world.add_learner()
        days = list_days(world.today(user))
        assert world.take(user, days[0], "rest")["counted"]
        assert world.take(user, days[0], "refused") == "BAD_USER_INPUT"
        keys = [f"{n}" for n in range(59)]
        for key in (*keys, *keys[:3]):  # a repeated call records nothing new
            assert "errors" not in world.api.post(BRIEF_GOAL, user, n=1, key=key)
        assert "errors" not in world.api.post(BRIEF_GOAL, world.add_learner(), n=1, key="k")
        return [outcome(world.api.post(BRIEF_GOAL, user, n=1, key="more")) for _ in range(2)]

    assert recent_events.ask_within(3_600, record_too_many) == ["RATE_LIMITED"] * 2


def test_what_is_not_recorded_does_not_count_and_leaves_the_key_and_the_day_free(
    store: Store,
    fake_publisher: FakePublisher,
    patient_redis: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(learner_mutations, "_MAX_EVENTS_PER_HOUR", 2)

    def ask(world: World) -> list[Any]:
        user = world.add_learner()
        days, count = list_days(world.today(user)), len(world.rows())
        with world.hang():
            hanging = [world.set_goal(user, n, f"{n}") for n in range(2)]
            hanging.append(world.take(user, days[0]))
        assert hanging == ["UNAVAILABLE"] * 3
        assert "time limit" not in capsys.readouterr().out
        assert len(world.rows()) == count
        told = [world.take(user, days[1]), *(world.set_goal(user, 9, f"{n}") for n in range(2))]
        return [each if isinstance(each, str) else "" for each in told]

    for url in (patient_redis, None):
        with open_world(store, fake_publisher, url) as world:
            assert recent_events.ask_within(3_600, partial(ask, world)) == ["", "", "RATE_LIMITED"]


def test_each_field_of_a_mutation_counts_as_a_request(
    store: Store, fake_publisher: FakePublisher, patient_redis: str
) -> None:
    def document(number: int) -> str:
        fields = (
            f'a{n}: setGoal(answersPerDay: {n}, idempotencyKey: "{n}") {{ eventId }}'
            for n in range(number)
        )
        hidden = 'b: setGoal(answersPerDay: 1, idempotencyKey: "b") @include(if: false) { eventId }'
        inner = f"fragment Last on Mutation {{ a0: {next(fields).removeprefix('a0: ')} }}"
        return f"mutation {{ {' '.join(fields)} ...Last ...Last {hidden} }} {inner}"

    def ask(world: World) -> list[Any]:
        user = world.add_learner()
        bodies = [world.api.post(document(n), user) for n in (5, 4, 1, 1)]
        assert len(bodies[0]["data"]) == 5
        return [outcome(body) if "errors" in body else "" for body in bodies]

    for url in (patient_redis, None):
        with open_world(store, fake_publisher, url, rate_limit_per_minute=10) as world:
            assert recent_events.ask_within(60, partial(ask, world)) == ["", "", "", "RATE_LIMITED"]
