"""Operations, dead letters and undelivered messages in the API."""

import base64
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.event_store import dead_letters, log
from progress.ingest import push
from progress.local import ports
from tests.conftest import Store
from tests.support import api
from tests.support.api import Api
from tests.support.fake_publisher import FakePublisher, serve_monitoring
from tests.support.operation_fixtures import FIELDS, Operator, write_dead_letters
from tests.support.pushes import encode_push

UNKNOWN = "00000000-0000-0000-0000-000000000000"
ADMINISTRATORS_ONLY = {
    "deadLetters": "{ deadLetters { totalCount } }",
    "operations": "{ operations { pageInfo { endCursor } } }",
    "rebuildProjections": 'mutation { rebuildProjections(idempotencyKey: "k") { id } }',
    "runBatch": 'mutation { runBatch(idempotencyKey: "k") { id } }',
    "replayDeadLetters": 'mutation { replayDeadLetters(ids: ["1"], idempotencyKey: "k") { id } }',
    "discardDeadLetters": 'mutation { discardDeadLetters(ids: ["1"], reason: "r") }',
    "archiveEvents": """mutation {
      archiveEvents(before: "2024-01-01T00:00:00Z", idempotencyKey: "k") { id } }""",
    "eraseUser": 'mutation { eraseUser(userId: "u", idempotencyKey: "k") { id } }',
    "exportUser": 'mutation { exportUser(userId: "u", idempotencyKey: "k") { id } }',
}


@pytest.mark.parametrize("field", ADMINISTRATORS_ONLY)
@pytest.mark.parametrize("role", ["learner", "support"])
def test_only_administrators_may_use_the_administration_fields(
    operator: Operator, connection: Connection, field: str, role: str
) -> None:
    write_dead_letters(connection, 1)
    assert operator.error(ADMINISTRATORS_ONLY[field], "ann", roles=role)[0] == "FORBIDDEN"
    assert operator.data("{ operations { edges { cursor } } }") == {"operations": {"edges": []}}
    assert len(dead_letters.list_letters(connection)) == 1


def test_administrators_and_the_caller_that_started_an_operation_can_read_it(
    operator: Operator,
) -> None:
    started = operator.start("runBatch")
    question = f'{{ operation(id: "{started["id"]}") {FIELDS} }}'
    assert operator.ask(question, "another", roles="admin")["data"] == {"operation": started}
    assert operator.ask(question, roles="learner")["data"] == {"operation": started}
    for role in ("learner", "support"):
        assert operator.ask(question, "ann", roles=role) == operator.ask(
            question.replace(started["id"], UNKNOWN)
        )


def test_an_accepted_operation_wakes_its_worker(operator: Operator) -> None:
    started = operator.start("rebuildProjections")
    assert started["kind"] == "REBUILD"
    assert started["state"] == "PENDING"
    assert [step["name"] for step in started["steps"]] == ["fold", "swap"]
    assert (started["progress"], started["error"], started["result"]) == (0, None, None)
    assert operator.called() == [started["id"]]
    assert operator.get(started["id"]) == started


def test_a_repeated_idempotency_key_starts_only_one_operation(operator: Operator) -> None:
    first = operator.start("runBatch", key="once")
    assert operator.start("runBatch", key="once") == first
    # The command is published again, because the first one may be lost.
    assert operator.called() == [first["id"]] * 2
    assert operator.start("rebuildProjections", key="once")["id"] != first["id"]
    assert operator.start("runBatch", key="twice")["id"] == first["id"], "the first is unfinished"
    done = operator.run(first["id"])
    assert operator.start("runBatch", key="once") == done
    other = operator.ask('mutation { runBatch(idempotencyKey: "once") { id } }', "bea")
    assert other["data"]["runBatch"]["id"] != first["id"]


def test_concurrent_requests_with_the_same_idempotency_key_start_one_operation(
    operator: Operator, store: Store
) -> None:
    def start(query_api: Api) -> str:
        answer = query_api.post(
            'mutation { runBatch(idempotencyKey: "at once") { id } }', "ada", roles="admin"
        )
        operation_id: str = answer["data"]["runBatch"]["id"]
        return operation_id

    with api.serve(store.url) as other, ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(start, (operator.api, other)))) == 1
    assert len(operator.data("{ operations { edges { cursor } } }")["operations"]["edges"]) == 1


def test_a_repeated_idempotency_key_with_different_arguments_is_rejected(
    operator: Operator, connection: Connection
) -> None:
    one, two = write_dead_letters(connection, 2)
    first = operator.start("replayDeadLetters", f'ids: ["{one}", "{two}"]', key="k")
    assert operator.start("replayDeadLetters", f'ids: ["{two}", "{one}"]', key="k") == first
    code, why = operator.error(
        f'mutation {{ replayDeadLetters(ids: ["{one}"], idempotencyKey: "k") {{ id }} }}'
    )
    assert code == "BAD_USER_INPUT"
    assert why.startswith("idempotencyKey: expected a new key")
    assert first["id"] in why


def test_a_command_that_cannot_be_published_does_not_change_the_response(
    operator: Operator, fake_publisher: FakePublisher
) -> None:
    fake_publisher.is_down = True
    assert operator.start("runBatch")["state"] == "PENDING"
    assert fake_publisher.attempts == 1


BAD = {
    'replayDeadLetters(ids: [], idempotencyKey: "k") { id }': "ids: expected 1 to 200 ids",
    'replayDeadLetters(ids: ["x"], idempotencyKey: "k") { id }': "ids: expected ids of dead",
    'replayDeadLetters(ids: ["0"], idempotencyKey: "k") { id }': "ids: expected ids of dead",
    f'replayDeadLetters(ids: ["{2**63}"], idempotencyKey: "k") {{ id }}': "ids: expected ids of",
    'replayDeadLetters(ids: ["1"], idempotencyKey: "") { id }': "idempotencyKey: expected 1 to 200",
    'runBatch(idempotencyKey: "") { id }': "idempotencyKey: expected 1 to 200 characters",
    'runBatch(idempotencyKey: "\\u0000") { id }': "idempotencyKey: expected 1 to 200 characters",
    'discardDeadLetters(ids: ["1", "-2"], reason: "r")': "ids: expected ids of dead",
    'discardDeadLetters(ids: ["1"], reason: " ")': "reason: expected 1 to 1000 characters",
    'discardDeadLetters(ids: ["1"], reason: "\\u0000")': "reason: expected 1 to 1000 characters",
    'eraseUser(userId: "", idempotencyKey: "k") { id }': "userId: expected 1 to 200 characters",
}


@pytest.mark.parametrize("call", BAD)
def test_the_error_names_an_invalid_argument(
    operator: Operator, connection: Connection, call: str
) -> None:
    write_dead_letters(connection, 1)
    code, why = operator.error(f"mutation {{ {call} }}")
    assert code == "BAD_USER_INPUT"
    assert why.startswith(BAD[call])
    assert len(dead_letters.list_letters(connection)) == 1


def test_more_than_200_ids_are_rejected(operator: Operator) -> None:
    ids = ", ".join(f'"{n}"' for n in range(1, 202))
    rejection = operator.error(f'mutation {{ discardDeadLetters(ids: [{ids}], reason: "r") }}')
    assert rejection == ("BAD_USER_INPUT", "ids: expected 1 to 200 ids - found 201")


@pytest.mark.parametrize("text", ["7", "x" * 300, UNKNOWN[:-1], "{" + UNKNOWN + "}"])
def test_the_error_names_an_invalid_operation_id(operator: Operator, text: str) -> None:
    answer = operator.ask(f'{{ operation(id: "{text}") {{ id }} }}')
    (fault,) = answer["errors"]
    assert fault["extensions"]["code"] == "BAD_USER_INPUT"
    assert fault["message"].startswith("id: expected the id of an operation, a UUID - found")


def test_unknown_dead_letters_are_reported_and_known_ones_stay_unchanged(
    operator: Operator, connection: Connection
) -> None:
    (known,) = write_dead_letters(connection, 1)
    for call in (
        'discardDeadLetters({}, reason: "r")',
        'replayDeadLetters({}, idempotencyKey: "k") {{ id }}',
    ):
        ids = f'ids: ["99", "{known}", "98"]'
        code, why = operator.error(f"mutation {{ {call.format(ids)} }}")
        assert code == "NOT_FOUND"
        assert "98, 99" in why
    assert len(dead_letters.list_letters(connection)) == 1
    assert operator.called() == []


def test_discarded_dead_letters_keep_the_reason(operator: Operator, connection: Connection) -> None:
    one, two, three = write_dead_letters(connection, 3)
    discard = f'discardDeadLetters(ids: ["{one}", "{three}", "{one}"], reason: " of ann@x.org ")'
    assert operator.data(f"mutation {{ {discard} }}") == {"discardDeadLetters": 2}
    assert operator.data(f"mutation {{ {discard} }}") == {"discardDeadLetters": 0}
    assert [str(x.letter_id) for x in dead_letters.list_letters(connection)] == [two]
    assert dead_letters.read(connection, int(one)).discard_reason == "of a***@x.org"


@pytest.mark.parametrize("query", ["deadLetters", "operations"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("first: 0", "first: expected an integer from 1 to 200"),
        ("first: 201", "first: expected an integer from 1 to 200"),
        ('after: "x"', "after: expected an endCursor of this list"),
        ('after: "WzBd"', "after: expected an endCursor of this list"),
    ],
)
def test_invalid_pagination_arguments_are_rejected(
    operator: Operator, query: str, arguments: str, message: str
) -> None:
    code, why = operator.error(f"{{ {query}({arguments}) {{ pageInfo {{ endCursor }} }} }}")
    assert code == "BAD_USER_INPUT"
    assert why.startswith(message)


def test_operations_are_listed_newest_first(operator: Operator, connection: Connection) -> None:
    (letter_id,) = write_dead_letters(connection, 1)
    replay = f'ids: ["{letter_id}"]'
    started = [operator.start("replayDeadLetters", replay)["id"] for _ in range(5)]
    query = "{ operations(%s) { pageInfo { hasNextPage endCursor } edges { node { id } } } }"
    assert list_ids(operator, query, "first: 2") == started[::-1]


def test_a_mutation_in_a_get_request_is_rejected(operator: Operator) -> None:
    response = operator.api.get('mutation { runBatch(idempotencyKey: "k") { id } }', "ada")
    assert response.status_code == 405
    assert operator.called() == []


LETTERS = """{ deadLetters(%s) { totalCount pageInfo { hasNextPage endCursor } edges { cursor node {
  id kind topic eventId eventType reason payload receivedAt replayedAt } } } }"""


def list_ids(operator: Operator, query: str, arguments: str) -> list[str]:
    """Return the ids of all entries, fetched page by page."""
    ids: list[str] = []
    after = "null"
    while True:
        (page,) = operator.data(query % f"{arguments} after: {after}").values()
        ids += [edge["node"]["id"] for edge in page["edges"]]
        if not page["pageInfo"]["hasNextPage"]:
            assert page.get("totalCount", len(ids)) == len(ids)
            return ids
        after = f'"{page["pageInfo"]["endCursor"]}"'


def test_waiting_dead_letters_precede_replayed_ones_and_each_group_is_newest_first(
    operator: Operator, connection: Connection
) -> None:
    ids = write_dead_letters(connection, 6)
    for replayed in (ids[4], ids[1]):
        connection.run(blocks("event_store/dead_letters")["mark replayed"], letter_id=int(replayed))
    dead_letters.discard(connection, int(ids[2]), "of no use")
    expected = [ids[n] for n in (5, 3, 0, 4, 1)]
    for first in (1, 2, 3, 50):
        assert list_ids(operator, LETTERS, f"first: {first}") == expected
    assert list_ids(operator, LETTERS, "kind: MALFORMED, first: 2") == expected
    assert list_ids(operator, LETTERS, "kind: POISONED") == []


def test_a_dead_letter_is_returned_as_stored(operator: Operator, connection: Connection) -> None:
    event = {
        "event_id": str(uuid.uuid4()),
        "event_type": "SessionCompleted",
        "occurred_at": "2024-03-01T00:00:00Z",
        "data": {"session_id": "s", "score": 101, "duration_seconds": 1, "email": "ann@x.org"},
    }
    log.append(connection, [push.parse_delivery(encode_push(event))])
    (edge,) = operator.data(LETTERS % "first: 1")["deadLetters"]["edges"]
    letter = edge["node"]
    assert (letter["kind"], letter["eventType"]) == ("INVALID", "SessionCompleted")
    assert letter["eventId"] == event["event_id"]
    assert letter["reason"].endswith("at $.data.score")
    assert "a***@x.org" in letter["payload"]
    assert letter["replayedAt"] is None


def test_at_most_16_kib_of_a_payload_are_returned(
    operator: Operator, connection: Connection
) -> None:
    texts = [
        text[:length]
        for begin in ("", "x", "xx", "xxx")
        for text in (begin + character * 17_000 for character in "xé€😀")
        for length in (4_096, 4_097, 16_383, 16_384, 16_385, 17_000)
    ]
    for text in texts:
        log.append(connection, [push.parse_delivery(encode_push(text.encode()))])
    cut = [text.encode()[:16_384].decode(errors="ignore") for text in reversed(texts)]
    edges = operator.data(LETTERS % "first: 100")["deadLetters"]["edges"]
    assert [edge["node"]["payload"] for edge in edges] == cut
    whole = {"kind": None, "first": 100, "after_replayed": None, "after_at": None, "after_id": None}
    rows = connection.run(blocks("event_store/dead_letters")["page"], **whole)
    at = [column["name"] for column in connection.columns or []].index("payload")
    assert [row[at] for row in rows] == cut
    assert [x.payload for x in dead_letters.list_letters(connection)] == texts


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_cursor_with_a_time_out_of_range_is_rejected(operator: Operator, moment: str) -> None:
    cursor = base64.urlsafe_b64encode(f'[true,"{moment}",1]'.encode()).decode().rstrip("=")
    code, why = operator.error(f'{{ deadLetters(after: "{cursor}") {{ totalCount }} }}')
    assert code == "BAD_USER_INPUT"
    assert why.startswith("after: expected an endCursor of this list")


QUERY = "{ undelivered { subscription messages } }"


def test_only_administrators_get_the_cached_counts(postgres: str) -> None:
    requests: list[Any] = []
    counts = {"user-events-ingest-sub": [7], "progress-projection-sub": [0]}
    with (
        serve_monitoring(counts, requests) as address,
        api.serve(postgres, pubsub_emulator_host=address) as query_api,
    ):
        for _ in range(2):
            assert query_api.data(QUERY, roles=["admin"]) == {
                "undelivered": [
                    {"subscription": "progress-projection-sub", "messages": 0},
                    {"subscription": "user-events-ingest-sub", "messages": 7},
                ]
            }
        assert len(requests) == 1
        for role in ("learner", "support"):
            answer = query_api.post(QUERY, roles=[role])
            assert [error["extensions"]["code"] for error in answer["errors"]] == ["FORBIDDEN"]


def test_the_counts_are_null_if_monitoring_does_not_respond(postgres: str) -> None:
    nobody = f"127.0.0.1:{ports.reserve()}"
    with api.serve(postgres, pubsub_emulator_host=nobody) as query_api:
        assert query_api.data(QUERY, roles=["admin"]) == {"undelivered": None}
