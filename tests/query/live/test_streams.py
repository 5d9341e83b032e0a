"""Subscriptions as a client reads them: the real function, over HTTP."""

import http.client
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from progress.adapters.postgres import statements
from progress.local import ports
from tests.query.test_process import asked
from tests.support import api, rows_by_hand, sample_events, subscription_client, token_issuer
from tests.support.postgres_servers import EMBEDDED, Server
from tests.support.subscription_client import STANDING, STREAK, Learning, Subscribe, subscribe

__all__ = ["subscribe"]


@pytest.fixture(scope="module")
def database(servers: Callable[[str], Server]) -> Iterator[str]:
    """One for all tests of the module: each has learners of its own."""
    server = servers(EMBEDDED)
    name = server.store()
    yield server.sibling(name)
    server.drop(name)


@pytest.fixture(scope="module")
def learning(database: str) -> Iterator[Learning]:
    made = Learning(database)
    yield made
    made.close()


@pytest.fixture(scope="module")
def port(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with subscription_client.function(database, tmp_path_factory.mktemp("function")) as running:
        yield running.port


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


def test_what_did_not_change_is_not_told(
    port: int, subscribe: Subscribe, learning: Learning
) -> None:
    streak, standing = (subscribe(port, query, "bea") for query in (STREAK, STANDING))
    assert streak.told() == {"current": 0, "lastStudyDate": None}
    assert standing.told() is None
    learning.lesson("bea")
    assert streak.told() == {"current": 0, "lastStudyDate": "2024-04-01"}
    assert standing.told()["totalSessionsCompleted"] == 1
    same_day = sample_events.lesson("bea", 0)
    for event in same_day:
        event["data"] = {**event["data"], "session_id": "bea-again"}
    learning.record(*same_day)
    assert standing.told()["totalSessionsCompleted"] == 2
    learning.lesson("bea")
    assert streak.told() == {"current": 0, "lastStudyDate": "2024-04-02"}


def test_a_changed_catalogue_changes_the_standing(
    port: int, subscribe: Subscribe, learning: Learning
) -> None:
    learning.lesson("cat")
    query = "subscription { progressUpdated { masteryStats { unlearned } } }"
    stream = subscribe(port, query, "cat")
    unlearned = stream.told()["masteryStats"]["unlearned"]
    learning.record(sample_events.item_published("never met"))
    assert stream.told()["masteryStats"]["unlearned"] == unlearned + 1


def test_a_learner_who_is_deleted_is_told_to_have_no_standing(
    port: int, subscribe: Subscribe, learning: Learning
) -> None:
    learning.lesson("dee")
    stream = subscribe(port, STANDING, "dee")
    assert stream.told()["totalSessionsCompleted"] == 1
    learning.record(
        sample_events.envelope("UserDeleted", {"user_id": "dee"}, at=sample_events.BEGIN)
    )
    assert stream.told() is None


def test_an_end_of_the_local_day_ends_a_streak(
    port: int, subscribe: Subscribe, database: str
) -> None:
    now = datetime.now(UTC)
    start = now + timedelta(seconds=7)  # of the next local day
    day_start = start - start.replace(hour=0, minute=0, second=0, microsecond=0)
    studied = (now - day_start).date() - timedelta(days=1)
    with closing(rows_by_hand.connect(database)) as connection:
        rows_by_hand.insert(
            connection,
            "learning_streaks",
            {"user_id": "eve", "starts": studied, "ends": studied},
        )
        rows_by_hand.insert(
            connection,
            "zones_in_force",
            {
                "user_id": "eve",
                "starts_at": "-infinity",
                "ends_at": "infinity",
                "timezone": "UTC",
                "day_start": str(day_start),
            },
        )
    stream = subscribe(port, "subscription { streakUpdated { current atRisk } }", "eve")
    assert stream.told() == {"current": 1, "atRisk": True}
    assert stream.told() == {"current": 0, "atRisk": False}
    assert datetime.now(UTC) >= start


def test_an_operation_is_told_to_its_end(port: int, subscribe: Subscribe, database: str) -> None:
    query = "subscription($id: ID!) { operationUpdated(id: $id) { state progress } }"
    blocks = statements.blocks("operations/operations")
    with closing(rows_by_hand.connect(database)) as connection:
        batch = {"kind": "RUN_BATCH", "started_by": "root", "key": "k"}
        ((accepted, *_),) = connection.run(
            blocks["accept"], **batch, arguments="{}", steps=["fold"]
        )
        stream = subscribe(port, query, "root", roles=["admin"], id=str(accepted))
        assert stream.told() == {"state": "PENDING", "progress": 0}
        connection.run(blocks["claim"], operation_id=accepted)
        assert stream.told() == {"state": "RUNNING", "progress": 0}
        ended = {"state": "SUCCEEDED", "error": None, "result": "{}"}
        connection.run(blocks["finish"], operation_id=accepted, **ended)
        assert stream.told() == {"state": "SUCCEEDED", "progress": 1}
    assert stream.event() == ("complete", None)
    for user, name in (("ann", str(accepted)), ("root", str(uuid.uuid4()))):
        roles = ["admin"] if user == "root" else []
        event = subscribe(port, query, user, roles=roles, id=name).event()
        assert event
        assert event[1]["errors"][0]["extensions"] == {"code": "NOT_FOUND"}


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("{ streak { current } }", {"streak": {"current": 0}}),
        ("{ streak { nothing } }", "Cannot query field 'nothing' on type 'Streak'."),
        ("{ streak {", "Syntax Error: Expected Name, found <EOF>."),
        ("subscription($id: ID!) { operationUpdated(id: $id) { id } }", "Variable '$id'"),
        ('subscription { operationUpdated(id: "7") { id } }', "expected the id of an operation"),
        ('subscription { streakUpdated(userId: "") { current } }', "userId: expected 1 to 200"),
        ("subscription { streakUpdated { current } progressUpdated { userId } }", "only one"),
        ("subscription { " + 40 * "a: streakUpdated { current } " + "}", "aliases"),
    ],
)
def test_what_does_not_go_on_is_one_result_and_the_end(
    port: int, subscribe: Subscribe, query: str, told: Any
) -> None:
    stream = subscribe(port, query, "nil")
    assert stream.status == 200
    event = stream.event()
    assert event
    assert event[0] == "next"
    if isinstance(told, str):
        assert told in event[1]["errors"][0]["message"]
    else:
        assert event[1]["data"] == told
    assert stream.event() == ("complete", None)
    assert stream.event() is None


def test_another_learner_is_forbidden_and_never_confirmed_to_exist(
    port: int, subscribe: Subscribe, learning: Learning
) -> None:
    learning.lesson("bob")
    query = "subscription($of: ID) { progressUpdated(userId: $of) { userId } }"
    there, absent = (subscribe(port, query, of=of).event() for of in ("bob", "nobody"))
    assert there == absent
    assert there
    assert there[1]["data"] is None
    assert there[1]["errors"][0]["extensions"] == {"code": "FORBIDDEN"}
    assert subscribe(port, query, "sue", roles=["support"], of="bob").told() == {"userId": "bob"}


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


def test_an_address_may_subscribe_and_may_not_change_anything(port: int) -> None:
    headers = api.headers("gus", ["admin"], accept="text/event-stream")
    for query, status in (
        (STREAK, 200),
        ('mutation { runBatch(idempotencyKey: "k") { id } }', 405),
    ):
        connection = http.client.HTTPConnection(
            ports.HOST, port, timeout=subscription_client.SECONDS
        )
        address = "/graphql/stream?" + urlencode({"query": query})
        connection.request("GET", address, headers=headers)
        answer = connection.getresponse()
        assert answer.status == status
        if status == 200:
            assert answer.readline() == b"event: next\n"
        answer.close()
        connection.close()


def test_a_subscription_is_not_answered_where_no_stream_is(port: int) -> None:
    status, answer = asked(port, "POST", "/graphql", {"query": STREAK}, **api.headers())
    assert status == 200
    assert "/graphql/stream" in answer["errors"][0]["message"]


def test_an_end_of_the_token_is_an_end_of_the_stream(port: int, subscribe: Subscribe) -> None:
    token = token_issuer.token("hal", exp=time.time() + 5)
    stream = subscribe(port, STANDING, headers={"authorization": f"Bearer {token}"})
    assert stream.told() is None
    assert stream.event() == ("complete", None)
    assert stream.event() is None
