"""Streams of Server-Sent Events from a query function that runs in a separate process."""

import asyncio
import http.client
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.types import Message

from progress.adapters.postgres import statements
from progress.operations import records
from progress.operations.records import OperationKind
from progress.query.http.subscriptions import EventStream, OpenSubscription, Streams
from progress.serve import ports
from tests.support import api, sample_events, stage, subscription_client, token_issuer
from tests.support.http_client import fetch_json
from tests.support.recent_events import of
from tests.support.subscription_client import PROGRESS, STREAK, LessonRecorder, Subscribe


@pytest.fixture(scope="module")
def port(database: str) -> Iterator[int]:
    with subscription_client.query_function(database) as function:
        yield function.port


def test_a_stream_sends_what_has_changed_and_no_unchanged_result(
    port: int, subscribe: Subscribe, recorder: LessonRecorder
) -> None:
    streak, progress = (subscribe(port, query, "bea") for query in (STREAK, PROGRESS))
    assert streak.next_value() == {"current": 0, "lastStudyDate": None}
    assert progress.response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert progress.next_value() is None
    recorder.add_lesson("bea")
    assert streak.next_value() == {"current": 0, "lastStudyDate": "2024-04-01"}
    assert progress.next_value()["totalSessionsCompleted"] == 1
    same_day = sample_events.lesson("bea", 0)
    for event in same_day:
        event["data"] = {**event["data"], "session_id": "bea-again"}
    recorder.append(*same_day)
    assert progress.next_value()["totalSessionsCompleted"] == 2
    recorder.add_lesson("bea")
    assert streak.next_value() == {"current": 0, "lastStudyDate": "2024-04-02"}


def test_a_new_item_changes_the_progress_and_a_deletion_sends_null(
    port: int, subscribe: Subscribe, recorder: LessonRecorder
) -> None:
    recorder.add_lesson("cat")
    query = "subscription { progressUpdated { masteryStats { unlearned } } }"
    stream = subscribe(port, query, "cat")
    unlearned = stream.next_value()["masteryStats"]["unlearned"]
    recorder.append(sample_events.item_published("never met"))
    assert stream.next_value()["masteryStats"]["unlearned"] == unlearned + 1
    recorder.append(sample_events.user_deleted("cat"))
    assert stream.next_value() is None


def test_an_assignment_sends_the_progress_of_each_pupil_again(
    port: int, subscribe: Subscribe, recorder: LessonRecorder
) -> None:
    recorder.add_lesson("fay")
    recorder.append(of("LearnerJoinedGroup", "fay", 0, group_id="g1"))
    stream = subscribe(port, PROGRESS, "fay")
    first = stream.next_value()
    task = {"list_id": "l1", "group_id": "g1"}
    for kind, more in (
        ("ListAssigned", {"due_on": "2024-05-01"}),
        ("ListAssigned", {"due_on": "2024-05-02"}),
        ("ListUnassigned", {}),
    ):
        recorder.append(sample_events.envelope(kind, task | more, at=datetime.now(UTC)))
        assert stream.next_value() == first


def test_a_stream_sends_each_state_of_an_operation_until_the_operation_ends(
    port: int, subscribe: Subscribe, database: str
) -> None:
    query = "subscription($id: ID!) { operationUpdated(id: $id) { state progress } }"
    blocks = statements.blocks("operations/operations")
    with closing(stage.connect(database)) as connection:
        accepted = records.accept(
            connection, OperationKind.RUN_BATCH, caller="root", key="k", subject="batch"
        )
        stream = subscribe(port, query, "root", roles=["admin"], id=str(accepted))
        assert stream.next_value() == {"state": "PENDING", "progress": 0}
        connection.run(blocks["claim"], operation_id=accepted)
        assert stream.next_value() == {"state": "RUNNING", "progress": 0}
        ended: dict[str, str | None] = {"state": "SUCCEEDED", "outcome": "{}"}
        ended |= dict.fromkeys(("failing_state", "error", "cancelled_by"))
        connection.run(blocks["set state"], operation_id=accepted, **ended)
        assert stream.next_value() == {"state": "SUCCEEDED", "progress": 1}
    assert stream.next_event() == ("complete", None)
    for user, name in (("ann", str(accepted)), ("root", str(uuid.uuid4()))):
        roles = ["admin"] if user == "root" else []
        error = subscribe(port, query, user, roles=roles, id=name).next_error()
        assert error["extensions"] == {"code": "NOT_FOUND"}


@pytest.mark.parametrize(
    ("query", "expected"),
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
def test_a_stream_without_a_valid_subscription_sends_one_result_and_completes(
    port: int, subscribe: Subscribe, query: str, expected: Any
) -> None:
    stream = subscribe(port, query, "nil")
    assert stream.status == 200
    event = stream.next_event()
    assert event
    assert event[0] == "next"
    if isinstance(expected, str):
        assert expected in event[1]["errors"][0]["message"]
    else:
        assert event[1]["data"] == expected
    assert stream.next_event() == ("complete", None)
    assert stream.next_event() is None


def test_a_stream_about_a_learner_who_leaves_the_teacher_s_group_ends_with_forbidden(
    port: int, subscribe: Subscribe, recorder: LessonRecorder
) -> None:
    recorder.append(of("LearnerJoinedGroup", "lea", 0, group_id="g1"))
    token = token_issuer.token("tina", roles=["teacher"], groups=["g1"])
    teacher = {"authorization": f"Bearer {token}"}
    query = "subscription($of: ID) { progressUpdated(userId: $of) { totalSessionsCompleted } }"
    stream = subscribe(port, query, headers=teacher, of="lea")
    assert stream.next_value() == {"totalSessionsCompleted": 0}
    recorder.add_lesson("lea")
    assert stream.next_value() == {"totalSessionsCompleted": 1}
    recorder.append(of("LearnerLeftGroup", "lea", 0, group_id="g1"))
    error = stream.next_error()
    assert (error["extensions"]["code"], error["path"]) == ("FORBIDDEN", ["progressUpdated"])
    assert stream.next_event() == ("complete", None)
    refused = subscribe(port, query, headers=teacher, of="lea").next_error()
    assert refused == subscribe(port, query, headers=teacher, of="nobody").next_error()
    assert refused["extensions"]["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer no"}, 401),
        ({"accept": "application/json"}, 406),
        ({"content-type": "text/plain"}, 415),
    ],
)
def test_an_invalid_request_gets_an_error_status(
    port: int, subscribe: Subscribe, headers: dict[str, str], status: int
) -> None:
    stream = subscribe(port, PROGRESS, headers=headers)
    assert stream.status == status
    assert stream.read_body()["errors"]


def test_a_subscription_may_be_sent_by_get_but_a_mutation_may_not(port: int) -> None:
    headers = api.headers("gus", ["admin"], accept="text/event-stream")
    for query, status in (
        (STREAK, 200),
        ('mutation { runBatch(idempotencyKey: "k") { id } }', 405),
    ):
        connection = http.client.HTTPConnection(
            ports.HOST, port, timeout=subscription_client.TIMEOUT_S
        )
        address = "/graphql/stream?" + urlencode({"query": query})
        connection.request("GET", address, headers=headers)
        answer = connection.getresponse()
        assert answer.status == status
        if status == 200:
            assert answer.readline() == b"event: next\n"
        answer.close()
        connection.close()


def test_a_subscription_on_the_query_path_is_an_error(port: int) -> None:
    status, answer = fetch_json(port, "POST", "/graphql", {"query": STREAK}, **api.headers())
    assert status == 200
    assert "/graphql/stream" in answer["errors"][0]["message"]


def test_a_stream_completes_when_its_token_expires(port: int, subscribe: Subscribe) -> None:
    for life in (5, 15):  # on a busy machine, a token may expire before the first value
        token = token_issuer.token("hal", exp=time.time() + life)
        stream = subscribe(port, PROGRESS, headers={"authorization": f"Bearer {token}"})
        if stream.next_event() == ("next", {"data": {"progressUpdated": None}}):
            break
    assert stream.next_event() == ("complete", None)
    assert stream.next_event() is None


HEARTBEAT = b":\n\n"


def test_a_result_that_is_computed_during_a_heartbeat_is_sent() -> None:
    """A heartbeat may be due while a download link is being signed, for example."""
    results = [b"final"]
    sent: list[bytes] = []

    async def run() -> None:
        heartbeat = asyncio.Event()

        async def next_result() -> bytes:
            if not results:
                raise StopAsyncIteration
            result = results.pop()
            await heartbeat.wait()
            return result

        async def receive() -> Message:
            return await asyncio.Future()

        async def send(message: Message) -> None:
            sent.append(message.get("body", b""))
            if sent[-1] == HEARTBEAT:
                heartbeat.set()

        subscription = OpenSubscription(b"first", next_result, lambda: None, ExitStack())
        end = time.time() + 60
        stream = EventStream(subscription, ExitStack(), expires_at=end, heartbeat=0.01)
        await stream({"type": "http", "method": "GET"}, receive, send)

    asyncio.run(run())
    assert HEARTBEAT in sent
    assert b"event: next\ndata: final\n\n" in sent
    assert sent[-1] == b"event: complete\ndata:\n\n"


STANDING = """subscription($group: ID!) { groupUpdated(groupId: $group) {
  members answersLast7Days weeks { answers } knowledge { items } } }"""


def test_a_group_s_stream_follows_its_members_and_their_answers(
    port: int, recorder: LessonRecorder, subscribe: Subscribe
) -> None:
    group = f"group-{uuid.uuid4()}"
    token = token_issuer.token("tom", roles=["teacher"], groups=[group])
    teacher = {"authorization": f"Bearer {token}"}
    streams = [subscribe(port, STANDING, headers=teacher, group=group) for _ in range(2)]
    assert [stream.next_value() for stream in streams] == [None, None]
    recorder.append(of("LearnerJoinedGroup", "gus", 0, group_id=group))
    recorder.append(of("LearnerJoinedGroup", "gil", 0, group_id=f"not {group}"))
    noon = datetime.now(UTC)
    for members, answers, items, cause in (
        (1, 0, 0, []),
        (1, 3, 3, sample_events.lesson("gus", (noon - sample_events.BEGIN).days)),
        (0, 0, 0, [of("LearnerLeftGroup", "gus", 0, group_id=group)]),
    ):
        recorder.append(*sample_events.lesson("gil", members + items), *cause)
        for stream in streams:
            value = stream.next_value()
            if not members:
                assert value is None
                continue
            assert (value["members"], value["answersLast7Days"]) == (members, answers)
            assert value["knowledge"] == {"items": items}
            assert len(value["weeks"]) == 12


@pytest.mark.parametrize(
    ("claims", "selection", "code"),
    [
        ({"roles": ["teacher"], "groups": ["other"]}, "members", "FORBIDDEN"),
        ({"roles": ["learner"], "groups": ["g"]}, "members", "FORBIDDEN"),
        ({"roles": ["support"]}, ("a: knowledge { items } b: itemsFading { itemId } "
         "...on Group { c: knowledge { items } }"), "QUERY_TOO_COMPLEX"),
    ],
)  # fmt: skip
def test_a_group_s_stream_has_the_rights_and_the_limit_of_the_group(
    port: int, subscribe: Subscribe, claims: dict[str, Any], selection: str, code: str
) -> None:
    token = token_issuer.token("tom", **claims)
    query = f'subscription {{ groupUpdated(groupId: "g") {{ {selection} }} }}'
    stream = subscribe(port, query, headers={"authorization": f"Bearer {token}"})
    assert stream.next_error()["extensions"]["code"] == code


def test_a_signal_after_the_end_of_the_event_loop_goes_to_the_former_handler() -> None:
    received = list[int]()
    former = {
        number: signal.signal(number, lambda number, _: received.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }

    async def open_stream() -> None:
        Streams()._handle_signals()

    try:
        with asyncio.Runner() as runner:
            runner.run(open_stream())
        for number in former:
            signal.raise_signal(number)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    assert received == [*former]
