"""Subscriptions as a client reads them: the real function, over HTTP."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import issuing
import lessons
import pytest
import streaming
from conftest import Store
from streaming import STANDING, STREAK, Learning, Stream

Subscribe = Callable[..., Stream]


@pytest.fixture
def learning(store: Store) -> Iterator[Learning]:
    made = Learning(store)
    yield made
    made.close()


@pytest.fixture
def subscribe() -> Iterator[Subscribe]:
    """Opens streams, which end with the test."""
    opened: list[Stream] = []

    def made(*asked: Any, **more: Any) -> Stream:
        opened.append(Stream(*asked, **more))
        return opened[-1]

    yield made
    for stream in opened:
        stream.close()


@pytest.fixture
def port(store: Store, tmp_path: Path) -> Iterator[int]:
    with streaming.function(store, tmp_path / "function") as port:
        yield port


def test_a_subscriber_is_told_the_standing_at_once_and_after_each_change(
    port: int, subscribe: Subscribe, learning: Learning
) -> None:
    stream = subscribe(port, STANDING)
    assert stream.status == 200
    assert stream.response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert stream.told() is None
    for done in (1, 2, 3):
        learning.lesson()
        assert stream.told() == {"totalSessionsCompleted": done, "currentStreak": 0}


def test_a_streak_is_told_when_it_changes_and_only_then(
    port: int, subscribe: Subscribe, learning: Learning
) -> None:
    stream = subscribe(port, STREAK)
    assert stream.told() == {"current": 0, "lastStudyDate": None}
    learning.lesson()
    assert stream.told() == {"current": 0, "lastStudyDate": "2024-04-01"}
    # On the same day: the standing changes, the streak does not.
    learning.record(lessons.word("new"))
    learning.lesson()
    assert stream.told() == {"current": 0, "lastStudyDate": "2024-04-02"}


def test_what_is_no_subscription_is_one_result_and_the_end(port: int, subscribe: Subscribe) -> None:
    for query, result in (
        ("{ streak { current } }", {"data": {"streak": {"current": 0}}}),
        ("{ streak { nothing } }", "Cannot query field 'nothing' on type 'Streak'."),
        ("{ streak {", "Syntax Error: Expected Name, found <EOF>."),
        ('subscription { streakUpdated(userId: "") { current } }', "userId: expected 1 to 200"),
        ('subscription { progressUpdated(userId: "bob") { userId } }', "a learner may read"),
    ):
        stream = subscribe(port, query)
        assert stream.status == 200
        event = stream.event()
        assert event
        name, told = event
        assert name == "next"
        if isinstance(result, str):
            assert result in told["errors"][0]["message"]
        else:
            assert told == result
        assert stream.event() == ("complete", None)
        assert stream.event() is None


def test_another_learner_is_forbidden_and_never_confirmed_to_exist(
    port: int, subscribe: Subscribe, learning: Learning
) -> None:
    learning.lesson("bob")
    told = []
    for other in ("bob", "nobody"):
        stream = subscribe(
            port, f'subscription {{ progressUpdated(userId: "{other}") {{ userId }} }}'
        )
        told.append(stream.event())
    assert told[0] == told[1]
    assert told[0]
    assert told[0][1]["data"] is None
    assert told[0][1]["errors"][0]["extensions"] == {"code": "FORBIDDEN"}
    stream = subscribe(
        port, 'subscription { progressUpdated(userId: "bob") { userId } }', roles=["support"]
    )
    assert stream.told() == {"userId": "bob"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer no"}, 401),
        ({"accept": "application/json"}, 406),
        ({"content-type": "text/plain"}, 415),
    ],
)
def test_a_request_that_is_none_is_refused_by_its_status(
    port: int, subscribe: Subscribe, headers: dict[str, str], status: int
) -> None:
    stream = subscribe(port, STANDING, headers=headers)
    assert stream.status == status
    assert stream.body()["errors"]


def test_an_end_of_the_token_is_an_end_of_the_stream(port: int, subscribe: Subscribe) -> None:
    token = issuing.token(exp=time.time() + 2)
    stream = subscribe(port, STANDING, headers={"authorization": f"Bearer {token}"})
    assert stream.told() is None
    assert stream.event() == ("complete", None)
    assert stream.event() is None
