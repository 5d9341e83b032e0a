"""The subscription `milestoneReached` sends each milestone that is told, once and in order."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from progress.query.live import milestone_feed
from progress.query.live.milestone_feed import read_following
from progress.query.read_models.reader import open_reader
from progress.serve import readiness
from tests.support import sample_events, subscription_client
from tests.support.recent_events import of, study
from tests.support.subscription_client import LessonRecorder, Subscribe

QUERY = """subscription($user: ID, $after: ID) {
  milestoneReached(userId: $user, after: $after) { id kind value level reachedOn } }"""


@pytest.fixture(scope="module")
def port(database: str) -> Iterator[int]:
    with subscription_client.query_function(database, limits="heartbeat=0.2") as function:
        yield function.port


def reach(recorder: LessonRecorder, user: str) -> None:
    """Record sessions of three days, and a goal that the answer of today meets."""
    recorder.append(*(event for days in (2, 1, 0) for event in study(user, days)))
    recorder.append(of("GoalSet", user, 0, answers_per_day=1), *study(user, 0, answers=1))


def kinds(values: list[Any]) -> list[tuple[str, Any]]:
    return [(value["kind"], value["value"]) for value in values]


REACHED = [("STREAK", 3), ("GOAL_MET", 1)]


def test_milestones_arrive_in_order_and_again_after_the_id_of_an_earlier_one(
    port: int, subscribe: Subscribe, recorder: LessonRecorder
) -> None:
    live = subscribe(port, QUERY)
    assert live.status == 200  # though there is no milestone yet
    reach(recorder, "ann")
    first, second = told = [live.next_value(), live.next_value()]
    assert kinds(told) == REACHED
    again = subscribe(port, QUERY, after=first["id"].upper())
    assert again.next_value() == second
    new = subscribe(port, QUERY)
    # The goal is raised and met again; that is no new milestone. Ten more items are one.
    recorder.append(of("GoalSet", "ann", 0, answers_per_day=2), *study("ann", 0, answers=10))
    for stream in (live, again, new):
        assert kinds([stream.next_value()]) == [("ITEMS_LEARNED", 10)]


def test_milestones_whose_selected_fields_are_equal_are_all_sent(
    port: int, subscribe: Subscribe, recorder: LessonRecorder
) -> None:
    stream = subscribe(port, "subscription { milestoneReached { kind } }", "cat")
    goals = [of("GoalSet", "cat", 5, answers_per_day=1)]
    recorder.append(*goals, *study("cat", 1, answers=1), *study("cat", 0, answers=1))
    assert [stream.next_value() for _ in range(2)] == [{"kind": "GOAL_MET"}] * 2


def test_a_feed_may_have_more_milestones_than_one_statement_reads(
    database: str, recorder: LessonRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    goal = of("GoalSet", "gus", 5, answers_per_day=1)
    recorder.append(goal, *(event for days in (2, 1, 0) for event in study("gus", days, answers=1)))

    async def read() -> list[int]:
        async with open_reader(database) as reader:
            return [number for number, _ in await read_following(reader, "gus", 0)]

    numbers = asyncio.run(read())
    assert len(numbers) > 2
    for at_once in (1, 2):
        monkeypatch.setattr(milestone_feed, "_AT_ONCE", at_once)
        assert asyncio.run(read()) == numbers


@pytest.mark.parametrize("after", ["0191f0c4-7d7e-7c3a-9c1e-5a4d3c2b1a09", "x", "' OR true"])
def test_an_unknown_id_is_an_invalid_argument(
    port: int, subscribe: Subscribe, recorder: LessonRecorder, after: str
) -> None:
    error = subscribe(port, QUERY, "dan", after=after).next_error()
    assert error["extensions"] == {"code": "BAD_USER_INPUT"}
    assert error["message"] == "after: expected the id of a milestone that the learner was told"


def test_a_milestone_of_another_learner_is_an_unknown_id_and_needs_the_right_to_read(
    port: int, subscribe: Subscribe, recorder: LessonRecorder
) -> None:
    live = subscribe(port, QUERY, "eva")
    reach(recorder, "eva")
    eva_id = live.next_value()["id"]
    assert subscribe(port, QUERY, "dan", after=eva_id).next_error()["extensions"] == {
        "code": "BAD_USER_INPUT"
    }
    assert subscribe(port, QUERY, "dan", user="eva").next_error()["extensions"] == {
        "code": "FORBIDDEN"
    }
    support = subscribe(port, QUERY, "sue", user="eva", after=eva_id, roles=["support"])
    assert kinds([support.next_value()]) == REACHED[1:]


def test_a_deleted_learner_is_told_nothing(
    port: int, subscribe: Subscribe, recorder: LessonRecorder
) -> None:
    live = subscribe(port, QUERY, "fay")
    reach(recorder, "fay")
    first = live.next_value()["id"]
    recorder.append(sample_events.user_deleted("fay"))

    def is_unknown() -> bool:
        return "errors" in (subscribe(port, QUERY, "fay", after=first).next_event() or ("", {}))[1]

    readiness.wait(is_unknown, "the deletion", seconds=60)
