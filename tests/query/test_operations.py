"""Operations, exports, dead letters and undelivered messages in the API."""

import asyncio
import hashlib
import json
import os
import random
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from progress import settings
from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.event_store import dead_letters
from progress.operations import export_files, records
from progress.operations.records import Operation, OperationKind, OperationState
from progress.projections import batch, schema
from progress.query.graphql import mutations
from progress.query.graphql.downloads import Downloads
from progress.serve import ports, readiness
from progress.settings import Settings
from tests.conftest import Store
from tests.support import api, cloud_scheduler, model_rows, recovery_fixtures, sample_events, stage
from tests.support.export_fixtures import export, get
from tests.support.fake_publisher import serve_monitoring
from tests.support.operation_fixtures import FIELDS, Operator, write_dead_letters
from tests.support.postgres_servers import url_of
from tests.support.pushes import record_push

UNKNOWN = "00000000-0000-0000-0000-000000000000"
ADMINISTRATORS_ONLY = (
    'mutation { rebuildProjections(idempotencyKey: "k") { id } }',
    'mutation { runBatch(idempotencyKey: "k") { id } }',
    'mutation { replayDeadLetters(ids: ["1"], idempotencyKey: "k") { id } }',
    'mutation { discardDeadLetters(ids: ["1"], reason: "r") }',
    """mutation {
      archiveEvents(before: "2024-01-01T00:00:00Z", idempotencyKey: "k") { id } }""",
    'mutation { eraseUser(userId: "u", idempotencyKey: "k") { id } }',
    'mutation { exportUser(userId: "u", idempotencyKey: "k") { id } }',
)


def test_only_administrators_may_use_the_mutations_of_the_administration(
    operator: Operator, connection: Connection
) -> None:
    write_dead_letters(connection, 1)
    for text in ADMINISTRATORS_ONLY:
        for role in ("learner", "support"):
            assert operator.error(text, "ann", roles=role)[0] == "FORBIDDEN", (text, role)
    assert operator.data("{ operations { edges { cursor } } }") == {"operations": {"edges": []}}
    assert len(dead_letters.list_letters(connection)) == 1


def test_administrators_and_who_started_an_operation_can_read_it(operator: Operator) -> None:
    started = operator.start("runBatch")
    question = f'{{ operation(id: "{started["id"]}") {FIELDS} }}'
    assert operator.ask(question, "another", roles="admin")["data"] == {"operation": started}
    assert operator.ask(question, roles="learner")["data"] == {"operation": started}
    for role in ("learner", "support"):
        assert operator.ask(question, "ann", roles=role) == operator.ask(
            question.replace(started["id"], UNKNOWN)
        )


def test_a_repeated_idempotency_key_starts_only_one_operation(operator: Operator) -> None:
    first = operator.start("runBatch", key="once")
    assert (first["state"], first["progress"], first["error"]) == ("PENDING", 0, None)
    assert operator.start("runBatch", key="once") == first
    # The command is published again, because the first one may be lost.
    assert operator.called() == [first["id"]] * 2
    assert operator.start("rebuildProjections", key="once")["id"] != first["id"]
    assert operator.start("runBatch", key="twice")["id"] == first["id"], "the first is unfinished"
    done, called = operator.run(first["id"]), operator.called()
    assert operator.start("runBatch", key="once") == done
    assert operator.called() == called
    other = operator.ask('mutation { runBatch(idempotencyKey: "once") { id } }', "bea")
    assert other["data"]["runBatch"]["id"] != first["id"]


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


BAD = {
    'replayDeadLetters(ids: [], idempotencyKey: "k") { id }': "ids: expected 1 to 200 ids",
    'replayDeadLetters(ids: ["x"], idempotencyKey: "k") { id }': "ids: expected ids of dead",
    f'replayDeadLetters(ids: ["{2**63}"], idempotencyKey: "k") {{ id }}': "ids: expected ids of",
    'replayDeadLetters(ids: ["1"], idempotencyKey: "") { id }': "idempotencyKey: expected 1 to 200",
    'runBatch(idempotencyKey: "\\u0000") { id }': "idempotencyKey: expected 1 to 200 characters",
    'discardDeadLetters(ids: ["1", "-2"], reason: "r")': "ids: expected ids of dead",
    f'discardDeadLetters(ids: {[*range(1, 202)]}, reason: "r")': "ids: expected 1 to 200 ids",
    'discardDeadLetters(ids: ["1"], reason: " ")': "reason: expected 1 to 1000 characters",
    'discardDeadLetters(ids: ["1"], reason: "\\u0000")': "reason: expected 1 to 1000 characters",
    'eraseUser(userId: "", idempotencyKey: "k") { id }': "userId: expected 1 to 200 characters",
    **{
        f'exportStatistics({arguments}, idempotencyKey: "k") {{ id }}': words
        for arguments, words in {
            'table: DAILY, from: "2024-01-02", to: "2024-01-01"': "from: expected a day not later",
            'table: ITEM, from: "2024-01-02"': "from, to: expected only with DAILY or WEEKLY",
            "table: DAILY, learners: []": "learners: expected 1 to 1,000 ids, or null for all",
            'table: DAILY, learners: [""]': "learners: expected 1 to 200 characters",
        }.items()
    },
}


def test_the_error_names_an_invalid_argument(operator: Operator, connection: Connection) -> None:
    write_dead_letters(connection, 1)
    for call, words in BAD.items():
        code, why = operator.error(f"mutation {{ {call} }}")
        assert code == "BAD_USER_INPUT"
        assert why.startswith(words), call
    assert len(dead_letters.list_letters(connection)) == 1
    assert operator.called() == []


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


def test_operations_are_listed_newest_first(operator: Operator, connection: Connection) -> None:
    (letter_id,) = write_dead_letters(connection, 1)
    replay = f'ids: ["{letter_id}"]'
    started = [operator.start("replayDeadLetters", replay)["id"] for _ in range(5)]
    query = "{ operations(%s) { pageInfo { hasNextPage endCursor } edges { node { id } } } }"
    assert list_ids(operator, query, "first: 2") == started[::-1]


LETTERS = """{ deadLetters(%s) { totalCount pageInfo { hasNextPage endCursor } edges { cursor node {
  id kind topic eventId eventType reason payload receivedAt replayedAt } } } }"""


def list_ids(operator: Operator, query: str, arguments: str) -> list[str]:
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
        connection.run(
            statements.blocks("event_store/dead_letters")["mark replayed"], letter_id=int(replayed)
        )
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
        "data": {"session_id": "s", "score": -1, "duration_seconds": 1, "email": "ann@x.org"},
    }
    record_push(connection, event)
    (edge,) = operator.data(LETTERS % "first: 1")["deadLetters"]["edges"]
    letter = edge["node"]
    assert (letter["kind"], letter["eventType"]) == ("INVALID", "SessionCompleted")
    assert letter["eventId"] == event["event_id"]
    assert letter["reason"].endswith("at $.data.score")
    assert "a***@x.org" in letter["payload"]
    assert letter["replayedAt"] is None


def test_open_dead_letters_are_counted_and_listed_by_reason(
    operator: Operator, connection: Connection
) -> None:
    ids = write_dead_letters(connection, 3)
    connection.run(
        """UPDATE event_store.dead_letters SET reason = 'it''s not JSON; at $[0]'
        WHERE letter_id = ANY (CAST(:ids AS bigint[]))""",
        ids=ids[:2],
    )
    other = dead_letters.read(connection, int(ids[2])).reason
    asked = "{ deadLetterReasons { kind reason count newest } }"
    first, second = operator.data(asked)["deadLetterReasons"]
    assert (first["kind"], first["reason"], first["count"]) == (
        *("MALFORMED", "it's not JSON; at $[0]"),
        2,
    )
    assert (second["reason"], second["count"]) == (other, 1)
    received = dead_letters.read(connection, int(ids[1])).received_at
    assert datetime.fromisoformat(first["newest"]) == received
    quoted = json.dumps(first["reason"])
    assert list_ids(operator, LETTERS, f"reason: {quoted}, first: 1") == ids[1::-1]
    assert list_ids(operator, LETTERS, f"reason: {quoted}, kind: INVALID, first: 9") == []
    assert list_ids(operator, LETTERS, 'reason: "it", first: 9') == []
    dead_letters.discard(connection, int(ids[2]), "of no use")
    connection.run(
        statements.blocks("event_store/dead_letters")["mark replayed"], letter_id=int(ids[0])
    )
    (left,) = operator.data(asked)["deadLetterReasons"]
    assert (left["reason"], left["count"]) == (first["reason"], 1)


BLOCKING = """{ blockingSessions {
  session application state since locked shards waitsFor blocks
} }"""


def test_who_blocks_whom_is_told_while_tables_are_locked(operator: Operator, store: Store) -> None:
    def find(*, waits: bool) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        def is_complete() -> bool:
            found[:] = operator.data(BLOCKING)["blockingSessions"]
            return len(found) == (2 if waits else 1)

        readiness.wait(is_complete, "the sessions", seconds=60)
        return found

    with (
        closing(database.connect(store.url, name="locker")) as locker,
        closing(database.connect(store.url, name="keeper")) as keeper,
        ThreadPoolExecutor() as pool,
    ):
        for each in (locker, keeper):
            schema.set_search_path(each)
            each.run("BEGIN")
        locker.run("LOCK TABLE event_store.events, checkpoints IN ACCESS EXCLUSIVE MODE")
        (first,) = find(waits=False)
        assert first["application"] == "locker"
        assert first["state"] == "idle in transaction"
        assert datetime.fromisoformat(first["since"]) < datetime.now(UTC)
        tables = ["event_store.events", f"{schema.schema_name()}.checkpoints"]
        assert first["locked"] == tables
        keeper.run(recovery_fixtures.BLOCKS["hold a shard"], shard=3)
        waits = pool.submit(keeper.run, "SELECT FROM checkpoints")
        first, second = find(waits=True)
        assert (second["application"], second["shards"]) == ("keeper", [3])
        assert first["blocks"] == [second["session"]]
        assert second["waitsFor"] == [first["session"]]
        locker.run("ROLLBACK")
        waits.result()
        shards = operator.data("{ shards { shard eventsBehind waitingSince session } }")["shards"]
        assert [row["shard"] for row in shards if row["session"]] == [3]
        assert shards[3]["session"] == second["session"]
        assert {(row["eventsBehind"], row["waitingSince"]) for row in shards} == {(0, None)}
    assert operator.data(BLOCKING) == {"blockingSessions": []}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_the_arrivals_of_each_hour_are_counted_from_the_log(
    operator: Operator, connection: Connection, count: int
) -> None:
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    starts = [hour - timedelta(hours=n) for n in range(23, -1, -1)]
    chance = random.Random(count)
    ages = sorted((chance.randrange(30 * 60) for _ in range(count)), reverse=True)  # minutes
    times = [hour - timedelta(minutes=age) for age in ages]
    events = [sample_events.item_published(f"item {n}") for n in range(count)]
    stage.append(connection, events)
    connection.run("ALTER TABLE event_store.events DISABLE TRIGGER append_only")
    for position, at in enumerate(times, start=1):
        connection.run(
            "UPDATE event_store.events SET created_at = :at WHERE global_position = :position",
            at=at,
            position=position,
        )
    write_dead_letters(connection, 4)  # open, replayed, discarded, discarded after a replay
    connection.run(
        "UPDATE event_store.dead_letters SET "
        "replayed_at = CASE WHEN letter_id % 2 = 0 THEN clock_timestamp() END, "
        "discarded_at = CASE WHEN letter_id % 4 > 1 THEN clock_timestamp() END, "
        "discard_reason = CASE WHEN letter_id % 4 > 1 THEN 'test' END"
    )
    found = operator.data("{ arrivals { start events deadLetters } }")["arrivals"]
    assert [datetime.fromisoformat(one["start"]) for one in found] == starts
    assert [one["events"] for one in found] == [
        sum(start <= at < start + timedelta(hours=1) for at in times) for start in starts
    ]
    assert [one["deadLetters"] for one in found] == [0] * 23 + [4]


def test_at_most_100_reasons_are_listed_the_most_frequent_first(
    operator: Operator, connection: Connection
) -> None:
    write_dead_letters(connection, 103)
    connection.run(
        "UPDATE event_store.dead_letters SET reason = 'of ' || least(letter_id, 101) "
        "WHERE letter_id < 103"
    )
    connection.run("UPDATE event_store.dead_letters SET reason = 'of 101' WHERE letter_id >= 103")
    found = operator.data("{ deadLetterReasons { reason count } }")["deadLetterReasons"]
    assert found[0] == {"reason": "of 101", "count": 3}
    assert len(found) == 100


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("mutation", "subject"),
    [
        ("rebuildProjections", None),
        ("runBatch", None),
        ('replayDeadLetters(ids: ["1", "2"],', "2"),
        ('archiveEvents(before: "2024-01-01T00:00:00Z",', "../2024-01-01T00:00:00Z"),
        ('eraseUser(userId: "ann",', "ann"),
        ('exportUser(userId: "ann",', "ann"),
        ("exportStatistics(table: ITEM,", None),
        ('exportStatistics(table: DAILY, from: "2024-01-01",', "2024-01-01/.."),
        ('exportStatistics(table: DAILY, from: "2024-01-01", to: "2024-01-31",',
         "2024-01-01/2024-01-31"),
    ],
)  # fmt: skip
def test_an_operation_says_who_started_it_and_what_it_acts_on(
    operator: Operator, populated: Connection, mutation: str, subject: str | None
) -> None:
    write_dead_letters(populated, 2)
    field, _, arguments = mutation.partition("(")
    started = operator.start(field, arguments)
    assert (started["startedBy"], started["subject"]) == ("ada", subject)


def test_an_operation_that_no_person_started_has_no_starter(
    operator: Operator, connection: Connection
) -> None:
    accepted = records.accept(
        connection, OperationKind.RUN_BATCH, caller=records.BATCH_JOB, key="k", subject="b"
    )
    assert operator.get(str(accepted))["startedBy"] is None


def test_at_most_16_kib_of_a_payload_are_shown(operator: Operator, connection: Connection) -> None:
    texts = [
        text[:length]
        for begin in ("", "x", "xx", "xxx")
        for text in (begin + character * 17_000 for character in "xé€😀")
        for length in (4_096, 4_097, 16_383, 16_384, 16_385, 17_000)
    ]
    for text in texts:
        record_push(connection, text.encode())
    cut = [text.encode()[:16_384].decode(errors="ignore") for text in reversed(texts)]
    edges = operator.data(LETTERS % "first: 100")["deadLetters"]["edges"]
    assert [edge["node"]["payload"] for edge in edges] == cut
    whole = dict.fromkeys(
        ("kind", "reason", "after_is_replayed", "after_received_at", "after_letter_id")
    )
    rows = connection.run(statements.blocks("event_store/dead_letters")["page"], **whole, first=100)
    at = [column["name"] for column in connection.columns or []].index("payload")
    assert [row[at] for row in rows] == cut
    assert [x.payload for x in dead_letters.list_letters(connection)] == texts


QUERY = "{ undelivered { subscription messages } }"


def test_the_counts_are_read_once_a_while_and_null_if_monitoring_does_not_respond(
    postgres: str,
) -> None:
    requests: list[Any] = []
    counts = {"user-events-ingest-sub": [7], "progress-projection-sub": [0]}
    told = [
        {"subscription": "progress-projection-sub", "messages": 0},
        {"subscription": "user-events-ingest-sub", "messages": 7},
    ]
    nobody = {"pubsub_emulator_host": f"127.0.0.1:{ports.reserve()}"}
    one_machine = {"serve_commands_url": "http://127.0.0.1:1/"}
    with serve_monitoring(counts, requests) as address:
        cases: list[tuple[dict[str, Any], Any]] = [
            ({"pubsub_emulator_host": address}, told), (nobody, None), (one_machine, [])
        ]  # fmt: skip
        for options, expected in cases:
            with api.serve(postgres, **options) as served:
                for _ in range(2):
                    assert served.data(QUERY, roles=["admin"]) == {"undelivered": expected}
    assert len(requests) == 1


def test_administrators_see_the_schedules_of_cloud_scheduler(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, region = "{ schedules { name state code lastAt } }", "asia-northeast1"
    with cloud_scheduler.serve(region=region) as (address, scheduler):
        monkeypatch.setenv("CLOUD_SCHEDULER_EMULATOR_HOST", address)
        settings.current.cache_clear()
        scheduler.jobs["progress-backup"].state = "PAUSED"  # type: ignore[assignment] # proto converts it
        with api.serve(
            postgres,
            pubsub_project_id="p",
            scheduler_region=region,
            cloud_scheduler_emulator_host=address,
        ) as query_api:
            backup, batch, _ = query_api.data(query, roles=["admin"])["schedules"]
        assert (backup["name"], backup["state"], backup["lastAt"]) == (
            "progress-backup",
            "PAUSED",
            None,
        )
        assert (batch["state"], batch["code"]) == ("ENABLED", 4)
    settings.current.cache_clear()


JOB = Path(__file__).parents[2] / "jobs/batch_aggregates/main.py"


def test_only_the_learner_and_administrators_may_export_a_record(
    operator: Operator, populated: Connection
) -> None:
    def ask(user: str, role: str, arguments: str) -> str:
        query = f'mutation {{ exportUser({arguments} idempotencyKey: "{user}") {{ id }} }}'
        body = operator.ask(query, user, roles=role)
        return body["errors"][0]["extensions"]["code"] if "errors" in body else "started"

    assert ask("ben", "learner", 'userId: "ann",') == "FORBIDDEN"
    assert ask("ben", "support", 'userId: "ann",') == "FORBIDDEN"
    assert ask("ben", "support", "") == "FORBIDDEN"
    assert ask("nobody", "learner", "") == "NOT_FOUND"
    assert ask("root", "admin", 'userId: "nobody",') == "NOT_FOUND"
    stage.append(populated, [sample_events.user_deleted("cyd")])
    batch.run(populated)
    assert ask("root", "admin", 'userId: "cyd",') == "NOT_FOUND"
    assert operator.called() == []
    assert ask("ann", "learner", "") == "started"
    assert ask("ben", "learner", 'userId: "ben",') == "started"


def start_own(operator: Operator, key: str) -> Any:
    query = f'mutation {{ exportUser(idempotencyKey: "{key}") {{ id }} }}'
    body = operator.ask(query, "ann", roles="learner")
    if "errors" in body:
        return body["errors"][0]["extensions"]["code"]
    return body["data"]["exportUser"]["id"]


def test_a_learner_may_start_five_exports_a_day(operator: Operator, populated: Connection) -> None:
    cancelled = start_own(operator, "cancelled")
    cancel = f'mutation {{ cancelOperation(id: "{cancelled}") {{ id }} }}'
    operator.ask(cancel, "ann", roles="learner")
    assert operator.run(cancelled)["state"] == "FAILED"
    shared = export(operator)["id"]
    assert start_own(operator, "shared") == shared
    operator.run(shared)
    ids = []
    for number in range(5):
        ids.append(start_own(operator, f"{number}"))
        assert start_own(operator, f"again {number}") == ids[-1]
        operator.run(ids[-1])
    assert len({*ids}) == 5
    assert start_own(operator, "sixth") == "RATE_LIMITED"
    assert start_own(operator, "3") == ids[3]
    assert operator.run(export(operator)["id"])["state"] == "SUCCEEDED"


def test_concurrent_requests_cannot_start_a_sixth_export(
    operator: Operator, populated: Connection, store: Store
) -> None:
    """The sixth request arrives before the fifth commits, and waits for this commit."""
    for number in range(4):
        operator.run(start_own(operator, f"{number}"))
    values = records.accept_values(
        OperationKind.EXPORT_USER,
        caller="ann",
        key="4",
        subject="ann",
        daily_limit=5,
        user_id="ann",
    )
    sql = statements.blocks("operations/operations")
    with closing(stage.connect(store.url)) as other, ThreadPoolExecutor(1) as pool:
        other.run("BEGIN")
        fifth = other.run(sql["accept"], **values)[0][0]
        sixth = pool.submit(start_own, operator, "5")
        readiness.wait(lambda: model_rows.read_value(populated, "one waits"), "the sixth")
        ended: dict[str, str | None] = {"state": "SUCCEEDED", "outcome": "{}"}
        ended |= dict.fromkeys(("failing_state", "error", "cancelled_by"))
        other.run(sql["set state"], operation_id=fifth, **ended)
        other.run("COMMIT")
        assert sixth.result() == "RATE_LIMITED"
    assert start_own(operator, "4") == str(fifth)
    assert start_own(operator, "5") == "RATE_LIMITED"


def test_only_those_who_requested_an_export_may_download_it(
    operator: Operator, populated: Connection, exports: Path
) -> None:
    operation_id = export(operator)["id"]
    assert get(operator, operation_id)["download"] is None
    operator.run(operation_id)
    assert get(operator, operation_id, "bob", "admin")["download"] is None
    assert get(operator, operation_id, "ben") is None
    for user, role in (("ann", "learner"), ("ada", "admin")):
        download = get(operator, operation_id, user, role)["download"]
        assert download["url"].startswith("exports/"), "below the address of the page"
        status, headers, body = fetch(operator, f"/{download['url']}")
        assert status == 200
        assert 'filename="progress-' in headers["content-disposition"]
        assert headers["cache-control"] == "private, no-store"
        assert (len(body), hashlib.sha256(body).hexdigest()) == (
            download["bytes"],
            download["sha256"],
        )
    path = f"/{download['url']}"
    for wrong in (path.replace("/exports/", "/exports/x"), path[:70], "/exports/", "/exports/a.b"):
        assert fetch(operator, wrong)[0] == 404
    (archive,) = exports.iterdir()
    archive.unlink()
    assert fetch(operator, path)[0] == 404


def fetch(operator: Operator, path: str) -> tuple[int, dict[str, str], bytes]:
    response = operator.api.request("GET", path)
    parts: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        parts.append(message)

    async def receive() -> Any:
        await asyncio.Event().wait()  # the client stays connected

    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    asyncio.run(response(Request(scope).scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in parts[0]["headers"]}
    return parts[0]["status"], headers, b"".join(part.get("body", b"") for part in parts)


def test_the_batch_job_deletes_local_files_after_a_week(
    operator: Operator, populated: Connection, exports: Path, store: Store
) -> None:
    week = timedelta(days=7).total_seconds()
    exports.mkdir()
    for name, age in {
        "old.zip": week + 60,
        "old.csv.part": week + 60,
        "new.zip": week - 60,
    }.items():
        file = exports / name
        file.touch()
        os.utime(file, (time.time() - age, time.time() - age))
    environment = {**os.environ, "DATABASE_URL": url_of(store.url, "batch")}
    subprocess.run([sys.executable, JOB], env=environment, capture_output=True, check=True)
    assert [file.name for file in exports.iterdir()] == ["new.zip"]


def test_a_link_to_a_local_file_expires_after_ten_minutes(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    downloads = Downloads(Settings(progress_data_dir=str(tmp_path)))
    download = downloads.find(finished_export(now), now)
    assert download is not None
    path = f"/{asyncio.run(download.sign())}"
    assert download.expires_at == now + timedelta(minutes=10)
    assert downloads.open(path, now + timedelta(minutes=9, seconds=59)) is not None
    assert downloads.open(path, now + timedelta(minutes=10)) is None
    assert downloads.open(path, now - timedelta(hours=1)) is None, "the clock was ahead"
    assert Downloads(Settings()).open(path, now) is None


def test_an_export_has_no_download_once_the_bucket_has_deleted_the_file() -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    downloads, operation = Downloads(Settings()), finished_export(now)
    last = now + timedelta(days=7) - timedelta(seconds=1)
    assert downloads.find(operation, last) is not None
    assert downloads.find(operation, now + timedelta(days=7)) is None


def finished_export(at: datetime) -> Operation:
    return Operation(
        id="1", number=1, version=1, kind=OperationKind.EXPORT_USER,
        state=OperationState.SUCCEEDED, started_by="ann", progress=1.0, error=None,
        result='{"object":"1.zip","file":"progress-2026-01-01.zip","bytes":7,"sha256":"ab"}',
        started_at=at, finished_at=at, steps=[], subject="ann", requesters=["ann"],
    )  # fmt: skip


def ask(operator: Operator, arguments: str, user: str = "sue", role: str = "support") -> Any:
    query = f"mutation {{ exportStatistics({arguments}) {{ id }} }}"
    body = operator.ask(query, user, roles=role)
    if "errors" in body:
        (error,) = body["errors"]
        return error["extensions"]["code"], error["message"]
    return body["data"]["exportStatistics"]["id"]


def test_support_and_administrators_can_export_statistics_and_download_only_their_own_exports(
    operator: Operator, populated: Connection
) -> None:
    request = 'table: DAILY, idempotencyKey: "k"'
    assert ask(operator, request, "ann", "learner")[0] == "FORBIDDEN"
    own = ask(operator, request)
    assert ask(operator, request, "ada", "admin") != own
    assert operator.run(own)["state"] == "SUCCEEDED"
    download = get(operator, own, "sue", "support")["download"]
    assert "/daily-" in download["url"]
    assert download["url"].endswith(".csv")
    assert get(operator, own, "ada", "admin")["download"] is None
    assert get(operator, own, "sue", "learner")["download"] is None
    assert get(operator, own, "ann", "learner") is None


def test_an_exported_file_is_served_with_its_media_type(
    operator: Operator, populated: Connection
) -> None:
    types = {"CSV": "text/csv; charset=utf-8", "PARQUET": "application/vnd.apache.parquet"}
    for number, (name, type_) in enumerate(types.items()):
        request = f'table: LEVEL, format: {name}, idempotencyKey: "{number}"'
        operation_id = ask(operator, request)
        operator.run(operation_id)
        url = get(operator, operation_id, "sue", "support")["download"]["url"]
        response = operator.api.request("GET", f"/{url}")
        assert (response.status_code, response.headers["content-type"]) == (200, type_)


def test_a_caller_can_have_only_one_unfinished_export_of_statistics(
    operator: Operator, populated: Connection
) -> None:
    first = ask(operator, 'table: DAILY, learners: ["b", "a"], idempotencyKey: "1"')
    same = 'table: DAILY, format: CSV, from: null, learners: ["a", "b", "a"], idempotencyKey: "2"'
    assert ask(operator, same) == first
    code, message = ask(operator, 'table: WEEKLY, idempotencyKey: "3"')
    assert code == "BAD_USER_INPUT"
    assert first in message
    assert ask(operator, 'table: WEEKLY, idempotencyKey: "4"', "sam") != first
    operator.run(first)
    assert ask(operator, 'table: WEEKLY, idempotencyKey: "5"') != first


def test_support_can_cancel_its_own_export(operator: Operator, populated: Connection) -> None:
    own = ask(operator, 'table: DAILY, idempotencyKey: "k"')
    cancel = f'mutation {{ cancelOperation(id: "{own}") {{ id }} }}'
    assert operator.error(cancel, "sam", roles="support")[0] == "NOT_FOUND"
    assert "errors" not in operator.ask(cancel, "sue", roles="support")
    assert operator.run(own)["error"] == "cancelled"


def test_an_export_that_is_too_large_for_one_step_is_rejected(
    operator: Operator, populated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    populated.run("ANALYZE")
    monkeypatch.setattr(mutations, "MAX_BYTES", 1_000)
    code, text = ask(operator, 'table: ITEM, idempotencyKey: "k"')
    assert code == "BAD_USER_INPUT"
    assert text.startswith(
        "learners: expected an export of at most 3,000 s and 1 GiB - found about 0 s"
    )
    assert text.endswith("choose fewer days or learners, and make several requests")
    code, text = operator.error(
        'mutation { exportUser(userId: "ann", idempotencyKey: "k") { id } }'
    )
    assert code == "BAD_USER_INPUT"
    assert text.startswith(
        "userId: expected an export of at most 600 s and 1 GiB - found about 0 s and"
    )
    assert operator.called() == []
    assert isinstance(ask(operator, 'table: LEVEL, learners: ["no"], idempotencyKey: "k"'), str)
    monkeypatch.setattr(mutations, "MAX_BYTES", 1 << 30)
    monkeypatch.setattr(export_files, "_USER_BYTES_PER_S", 1)
    assert operator.error('mutation { exportUser(userId: "ann", idempotencyKey: "k") { id } }')
    monkeypatch.undo()
    export(operator)
