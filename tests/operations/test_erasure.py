"""An erasure removes every trace of the learner, and nothing of other learners."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.pubsub_v1.types import PublishRequest

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import catalogue, check
from progress.errors import OperationEnded, ProgressError, PubSubUnavailable, WebhookUnavailable
from progress.event_store import log, outgoing, publication
from progress.operations import claimed_operations, erasure_rows, erasure_steps, records
from progress.operations.records import OperationKind
from progress.projections import batch, definitions, schema
from progress.projections.projector import SHARDS, Projector
from progress.recovery import checks
from progress.serve import readiness
from tests.conftest import Store
from tests.support import archives, doomed_worker, model_rows, sample_events, stage
from tests.support.cloud_storage import Bucket
from tests.support.erasure_fixtures import (
    BLOCKS,
    LEARNER,
    MARKER,
    NEEDLES,
    erase,
    find_traces,
    leave_traces,
    list_events,
    push_events,
    receipt,
)
from tests.support.export_fixtures import export, export_statistics, read
from tests.support.fake_publisher import FakePublisher
from tests.support.operation_fixtures import ADMIN, Operator, list_changes
from tests.support.webhooks import Receiver

AT = sample_events.BEGIN
OTHER = "progress_0123456789ab"  # read models of another revision


@pytest.mark.every_postgres
def test_nothing_is_left_of_an_erased_learner(
    operator: Operator, traced: Connection, capfd: pytest.CaptureFixture[str]
) -> None:
    for needle in NEEDLES:
        assert find_traces(traced, needle), needle
    others, log_before = list_rows_of_others(traced), list_log(traced)
    capfd.readouterr()
    done = operator.run(erase(operator)["id"])
    assert receipt(done)["found"] == 0
    assert find_traces(traced, *NEEDLES) == []
    output = capfd.readouterr()
    assert not [n for n in NEEDLES if n in output.out + output.err + json.dumps(done)]
    assert list_rows_of_others(traced) == others
    expect_emptied(traced, log_before)
    assert Projector(traced).find_shards_behind() == []
    batch.run(traced)
    assert not sample_events.find_differences(traced)
    assert not checks.run(traced).findings


@pytest.mark.exhaustive
def test_the_statistics_of_tables_that_become_empty_keep_nothing_of_the_only_learner(
    operator: Operator, connection: Connection
) -> None:
    leave_traces(connection)
    connection.run("ANALYZE")  # as autovacuum does
    assert len(connection.run(BLOCKS["statistics"], needle=LEARNER)) > 10
    batch.run(connection)
    receipt(operator.run(erase(operator)["id"]))
    assert find_traces(connection, *NEEDLES) == []


def list_rows_of_others(connection: Connection) -> list[Any]:
    events = list_log(connection)
    streams = ("item-", "learner-ann", "learner-ben", "learner-cyd")
    kept = [event for event in events if event["stream_id"].startswith(streams)]
    rows = model_rows.read_rows(connection)
    return kept + [
        {key: row for key, row in rows[model].items() if LEARNER not in key}
        for model in sorted(rows)
        if model not in definitions.SUMS  # the sums over all learners change
    ]


def expect_emptied(connection: Connection, before: list[Any]) -> None:
    """Assert that the log keeps its positions, and has what was the learner's without its ids."""
    after = list_log(connection)
    fixed = ("global_position", "created_at", "shard")
    assert [[e[name] for name in fixed] for e in after[: len(before)]] == [
        [e[name] for name in fixed] for e in before
    ]
    # One event stays in its own stream, which belongs to no learner. One is the UserDeleted.
    count = len(list_events()) + 1
    assert connection.run(BLOCKS["erased rows"]) == [[count + 1, True]]
    ((stream, events, in_shard, is_dense),) = connection.run(BLOCKS["versions"])
    assert (events, in_shard, is_dense) == (count, True, True)
    assert stream.startswith("erased-")
    assert len({e["event_id"] for e in before} - {e["event_id"] for e in after}) == count


def list_log(connection: Connection) -> list[Any]:
    events = model_rows.read_table(connection, "event_store.events")
    return sorted(events, key=lambda event: event["global_position"])


@pytest.mark.exhaustive
def test_the_erased_learners_of_a_shard_share_one_erased_stream(
    operator: Operator, populated: Connection
) -> None:
    learners = ("u3", "u10")
    for learner in learners:
        stage.append(populated, list_events(learner, f"{learner}-session"))
    for learner in learners:
        receipt(operator.run(erase(operator, learner)["id"]))
    count = 2 * (len(list_events()) + 1)
    ((_, events, in_shard, is_dense),) = populated.run(BLOCKS["versions"])
    assert (events, in_shard, is_dense) == (count, True, True)
    assert not checks.run(populated).findings


def test_the_receipt_counts_the_erased_rows_by_table_and_does_not_name_the_learner(
    operator: Operator, traced: Connection
) -> None:
    """An event of others that contains the erased id is counted, and is not changed."""
    data = {"user_id": "ben", "friend": LEARNER}
    push_events(traced, sample_events.envelope("Unheard", data, at=AT))
    for event in sample_events.catalogue_list():
        push_events(traced, event | {"metadata": {"edited_by": LEARNER}})
    late = {"user_id": "ben", "session_id": "late", "item_count": 1}
    early = {"session_id": "late", "note": MARKER}
    for kind, fields in (("Unheard", early), ("SessionStarted", late)):
        push_events(traced, sample_events.envelope(kind, fields, at=AT))
    done = receipt(operator.run(erase(operator)["id"]))
    assert done["erased"] == {
        # These include the UserDeleted, and the event that arrived before its session's start.
        "events": len(list_events()) + 2,
        "sessions": 3,
        "pending": 0,
        "snapshots": 1,
        "milestone_marks": 0,
        "erasure_announcements": 0,
        "accesses": 2,
        "poisoned": 1,
        "dead_letters": 5,
        "bundled_letters": 0,
        "undecodable_letters": 3,
        "operations": 0,
        "exports": 0,
        "files": 0,
        "archived_events": 0,
    }
    assert (done["found"], done["places"], done["in_events_of_others"]) == (0, {}, 4)
    assert (done["published"], done["reason"]) == ("stays with its subscribers", "requested")
    assert done["undecodable_letters"] == (
        "one that arrives after the step redact keeps its bytes for 30 days, and is not searched"
    )
    assert done["copies_until"].keys() == {"backups", "pubsub", "pubsub_dead_letters"}
    until = date.fromisoformat(done["copies_until"]["backups"])
    assert until - datetime.fromisoformat(done["closed_at"]).date() == timedelta(days=7)
    assert len(done["digest"]) == 64
    assert LEARNER not in json.dumps(done)
    events = model_rows.read_table(traced, "event_store.events")
    kept = [event["event_data"] for event in events]
    assert [each in kept for each in (data, early)] == [True, True]


@pytest.mark.parametrize(
    ("place", "age", "soft_delete_s", "days"),
    [
        ("DUMP_TO=gs://backups/log", 367, None, 375),  # with Google's default soft delete
        ("DUMP_TO=gs://backups/log", 1, "0", 7),  # the database's backups last longer
        ("DUMP_TO=", 1, None, 7),
        ("DUMP_TO=/dumps", 1, None, 367),
        ("DUMP_COPY_TO=gs://backups/log", 7, None, 15),
    ],
)
def test_the_last_backup_cannot_be_restored_after_some_days(
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    *,
    place: str,
    age: int,
    soft_delete_s: str | None,
    days: int,
) -> None:
    monkeypatch.setenv(*place.split("="))
    settings.current.cache_clear()
    if "gs:" in place:
        with pytest.raises(ProgressError, match="gs://backups/log: expected a lifecycle rule"):
            erasure_steps._find_copies()
    rule = {"action": {"type": "Delete"}, "condition": {"age": age}}
    bucket.settings["lifecycle"] = {"rule": [rule]}
    if soft_delete_s:
        bucket.settings["softDeletePolicy"] = {"retentionDurationSeconds": soft_delete_s}
    assert erasure_steps._find_copies()["backups"] == timedelta(days=days)


def test_an_erased_reader_is_a_digest_in_the_record_of_others(
    operator: Operator, traced: Connection, exports: Path
) -> None:
    """A record that was exported before names the reader, so that its file is deleted."""
    exported = operator.run(export(operator)["id"])
    (file,) = exports.iterdir()
    assert LEARNER in read(file)["accesses.csv"].decode()
    file.with_suffix(".csv").touch()  # exported statistics have other suffixes
    done = receipt(operator.run(erase(operator)["id"]))
    assert [*exports.iterdir()] == []
    assert operator.get(exported["id"])["result"] is None
    whole = [["ann", "ada", "admin"], ["ann", done["digest"], "teacher"]]
    expected = sorted([*whole, [done["digest"], "ada", "admin"]])
    assert sorted(traced.run(BLOCKS["accesses"])) == expected
    # The token may still be valid for a while.
    traced.run(BLOCKS["leave accesses"], learner=LEARNER)
    assert sorted(traced.run(BLOCKS["accesses"])) == expected


def test_operations_that_are_not_about_the_learner_stay_even_if_they_contain_the_id(
    connection: Connection,
) -> None:
    learner = records.COMMAND_LINE
    for kind, caller, subject, arguments in (
        (OperationKind.ARCHIVE, learner, learner, {"before": learner}),
        (OperationKind.EXPORT_STATISTICS, "ben", "ben", {"learners": ["ben"], "table": learner}),
    ):
        records.accept(connection, kind, caller=caller, key="k", subject=subject, **arguments)
    connection.run(
        "UPDATE operations.operations SET state = 'FAILED', finished_at = now(), error = :learner",
        learner=learner,
    )
    before = model_rows.read_table(connection, "operations.operations")
    assert connection.run("SELECT operations.redact_operations(:id, NULL)", id=learner) == [[0]]
    assert model_rows.read_table(connection, "operations.operations") == before


@pytest.mark.parametrize("step", ["forget", "redact", "files", "close"])
def test_an_undecodable_letter_that_arrives_after_the_step_redact_keeps_its_bytes(
    operator: Operator, populated: Connection, step: str
) -> None:
    stage.append(populated, list_events())
    push_events(populated, b"of somebody else")
    operation_id = erase(operator)["id"]
    doomed_worker.die_in(populated, operation_id, "ERASE_USER", step)
    push_events(populated, f"user_id={LEARNER}".encode())
    done = operator.run_until_it_ends(operation_id)
    assert (receipt(done)["found"], receipt(done)["places"]) == (0, {})
    is_later = step in {"files", "close"}
    assert open_letters(populated) == ["", f"user_id={LEARNER}" if is_later else ""]
    assert receipt(done)["erased"]["undecodable_letters"] == (2 if step == "forget" else 1)


def test_the_step_redact_first_reads_the_letters_of_an_earlier_version(
    operator: Operator, traced: Connection
) -> None:
    """One of them came after the step that counts the letters, and a session of it is known."""
    operation_id = erase(operator)["id"]
    doomed_worker.die_in(traced, operation_id, "ERASE_USER", "redact")
    push_events(traced, b"of somebody else")
    traced.run("UPDATE event_store.dead_letters SET owners = NULL")
    done = receipt(operator.run_until_it_ends(operation_id))
    assert (done["found"], done["erased"]["dead_letters"]) == (0, 5)
    assert find_traces(traced, *NEEDLES) == []
    assert {*open_letters(traced)} == {""}


def open_letters(connection: Connection) -> list[str]:
    rows = model_rows.read_table(connection, "event_store.dead_letters")
    letters = sorted(rows, key=lambda letter: letter["letter_id"])
    return [letter["payload"] for letter in letters if letter["discarded_at"] is None]


@pytest.mark.first_in_gate
@pytest.mark.parametrize("learner", ["7", 'o"\\x日本 {', "a.b+c:d", "system:events", "true"])
def test_any_learner_id_can_be_erased_and_similar_ids_and_items_and_sessions_with_it_stay(
    operator: Operator, populated: Connection, learner: str
) -> None:
    def list_similar() -> list[dict[str, Any]]:
        tables = ("events", "sessions", "snapshots")
        rows = [row for t in tables for row in model_rows.read_table(populated, f"event_store.{t}")]
        names = (f"{learner}7", f"learner-{learner}7")
        return [row for row in rows if row.get("user_id", row.get("stream_id")) in names]

    def answer(**data: str) -> dict[str, Any]:
        data_ = {"item_id": learner, "response_time_ms": 5, **data}
        return sample_events.envelope("CorrectAnswerGiven", data_, at=AT)

    stage.append(populated, list_events(learner, "the session"))
    stage.append(populated, sample_events.lesson(f"{learner}7", 1))
    start = {"user_id": "ben", "session_id": learner, "item_count": 1}
    started = sample_events.envelope("SessionStarted", start, at=AT)
    of_ben = [started, answer(session_id=learner), answer(session_id="nobody-knows")]
    stage.append(populated, [sample_events.item_published(learner), *of_ben])
    push_events(populated, answer())
    push_events(populated, json.dumps({"data": {"user_id": learner, "note": MARKER}}).encode())
    push_events(populated, json.dumps({"data": {"user_id": "77", learner: learner}}).encode())
    # A command may have the same name.
    populated.run("SELECT event_store.record_accesses(:r, 'system', '{ann}')", r=learner)
    batch.run(populated)
    similar = list_similar()
    quoted = json.dumps(learner)[1:-1]
    done = receipt(operator.run(erase(operator, quoted)["id"]))
    assert list_similar() == similar
    assert (done["found"], done["places"], done["in_events_of_others"]) == (0, {}, 0)
    assert (done["erased"]["pending"], done["erased"]["dead_letters"]) == (0, 1)
    assert find_traces(populated, MARKER, "the session") == []
    assert len(model_rows.read_table(populated, "event_store.pending")) == 1
    assert len(open_letters(populated)) == 2
    assert populated.run(BLOCKS["accesses"]) == [["ann", learner, "system"]]
    assert [learner, "ben"] in populated.run("SELECT session_id, user_id FROM event_store.sessions")
    assert not sample_events.find_differences(populated)


def test_the_receipt_counts_the_rows_that_an_erasure_left_behind(
    operator: Operator, traced: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = erasure_rows.count_of_learner
    calls = iter(["forbid", "close"])

    def leave_rows_and_count(*arguments: Any) -> Any:
        if next(calls) == "close":
            traced.run(BLOCKS["leave rows"], learner=LEARNER)
            schema.create(traced, OTHER)
            traced.run(f"INSERT INTO {OTHER}.deleted_learners VALUES ('{LEARNER}', 1)")  # noqa: S608 - a constant
        return count(*arguments)

    monkeypatch.setattr(erasure_rows, "count_of_learner", leave_rows_and_count)
    done = receipt(operator.run(erase(operator)["id"]))
    tables = ("dead_letters", "events", "pending", "snapshots")
    expected = {f"event_store.{table}": 1 for table in tables}
    schemas = (schema.schema_name(), OTHER)
    expected |= {f"{name}.deleted_learners": 1 for name in schemas}
    assert (done["places"], done["found"]) == (expected, 6)


def test_a_learner_whose_only_event_is_the_deletion_can_be_erased(
    operator: Operator, connection: Connection
) -> None:
    stage.append(connection, [sample_events.user_deleted("ann")])
    batch.run(connection)
    assert receipt(operator.run(erase(operator, "ann")["id"]))["found"] == 0


@pytest.mark.exhaustive
def test_an_undeclared_event_is_emptied_if_its_session_starts_during_the_erasure(
    operator: Operator, populated: Connection
) -> None:
    stage.append(populated, list_events())
    session = "late-session"
    early = sample_events.envelope("Unheard", {"session_id": session}, at=AT)
    push_events(populated, early)
    operation_id = erase(operator)["id"]
    doomed_worker.die_in(populated, operation_id, "ERASE_USER", "close")
    started = {"user_id": LEARNER, "session_id": session, "item_count": 1}
    outcomes = push_events(populated, sample_events.envelope("SessionStarted", started, at=AT))
    assert outcomes == {"erased": 1}
    assert find_traces(populated, session)
    assert operator.run_until_it_ends(operation_id)["state"] == "SUCCEEDED"
    assert find_traces(populated, session) == []


def test_the_versions_of_the_stream_have_no_gaps_during_an_erasure(
    operator: Operator, traced: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`progress check` may run between two transactions of the erasure."""
    monkeypatch.setattr(erasure_rows, "CHUNK", 3)
    stage.append(traced, [sample_events.user_deleted(LEARNER) for _ in range(3)])
    stage.append(traced, sample_events.lesson(LEARNER, 5))
    findings = []
    redact_events = erasure_rows.redact_events

    def redact_and_check(connection: Connection, learner: str, report: Any, **options: Any) -> None:
        def check(events: int) -> None:
            report(events)
            if events:
                findings.extend(checks.run(traced).findings)

        redact_events(connection, learner, check, **options)

    monkeypatch.setattr(erasure_rows, "redact_events", redact_and_check)
    receipt(operator.run(erase(operator)["id"]))
    assert findings == []


def test_an_unknown_learner_is_not_found_and_nothing_is_stored(
    operator: Operator, traced: Connection
) -> None:
    before = model_rows.read_table(traced, "operations.operations")
    query = 'mutation { eraseUser(userId: "nobody", idempotencyKey: "k") { id } }'
    code, message = operator.error(query)
    assert (code, "nobody" in message) == ("NOT_FOUND", False)
    assert model_rows.read_table(traced, "operations.operations") == before
    assert model_rows.read_table(traced, "event_store.erased") == []


def test_a_learner_has_one_erasure_whoever_requests_it_and_when(
    operator: Operator, traced: Connection
) -> None:
    def request(user: str, key: str) -> Any:
        query = f'mutation {{ eraseUser(userId: "{LEARNER}", idempotencyKey: "{key}") {{ id }} }}'
        return operator.ask(query, user, roles="admin")["data"]["eraseUser"]["id"]

    first = erase(operator, key="k")
    assert request("bob", "b") == first["id"]
    done = operator.run(first["id"])
    (row,) = model_rows.read_table(traced, "operations.operations")
    assert row["requesters"] == [ADMIN, "bob"]
    assert request("carl", "c") == first["id"]
    assert erase(operator, key="k") == erase(operator, key="another") == done


@pytest.mark.exhaustive
def test_the_progress_of_an_erasure_grows_with_the_events(
    operator: Operator, traced: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claimed_operations, "_REPORT_INTERVAL_S", 0.0)
    monkeypatch.setattr(erasure_rows, "CHUNK", 10)
    operator.run(erase(operator)["id"])
    reached = [progress for _, progress, _ in list_changes(traced)]
    assert reached == sorted(reached)
    assert len({progress for progress in reached if 0 < progress < 0.9}) > 1


def test_a_slow_chunk_is_followed_by_a_smaller_one_and_a_fast_one_by_a_larger_one() -> None:
    assert erasure_rows.adapt_size(1_000, 1.0, 5_000) == 250
    assert erasure_rows.adapt_size(1_000, 0.0, 5_000) == 2_000
    assert erasure_rows.adapt_size(4_000, 0.0, 5_000) == 5_000
    assert erasure_rows.adapt_size(1, 60.0, 5_000) == 1


@pytest.mark.first_in_gate
@pytest.mark.parametrize("step", ["redact", "files", "close"])
def test_an_archive_run_during_an_erasure_archives_no_events_of_the_learner(
    operator: Operator, populated: Connection, archive: Storage, step: str
) -> None:
    """The step `close` empties the learner's UserDeleted, after `files` has rewritten the files.

    Until then, an archive run must leave out this event.
    """
    archives.run(populated, archive)
    operation_id = erase(operator, "ann")["id"]
    doomed_worker.die_in(populated, operation_id, "ERASE_USER", step)
    before = archives.files_with(archive, "learner-ann")
    assert bool(before) == (step != "close")
    archives.run(populated, archive)  # writes the newest range again, without the learner
    assert archives.files_with(archive, "learner-ann") == []
    operator.run_until_it_ends(operation_id)
    for _ in range(2):
        assert archives.files_with(archive, "learner-ann") == []
        archives.run(populated, archive)
    assert check.run_deep(populated, archive, lambda *_: None).findings == []


def test_the_exports_of_the_learner_are_deleted(operator: Operator, traced: Connection) -> None:
    export = operator.start("exportUser", f'userId: "{LEARNER}", ')
    operator.run(export["id"])
    own = 'mutation { exportUser(idempotencyKey: "mine") { id } }'
    unfinished = operator.ask(own, LEARNER, roles="learner")["data"]["exportUser"]["id"]
    done = operator.run(erase(operator)["id"])
    assert (receipt(done)["erased"]["exports"], receipt(done)["erased"]["operations"]) == (2, 2)
    assert find_traces(traced, *NEEDLES) == []
    assert (operator.get(export["id"])["state"], operator.get(export["id"])["result"]) == (
        "SUCCEEDED",
        None,
    )
    downloads = operator.data(f'{{ operation(id: "{export["id"]}") {{ download {{ url }} }} }}')
    assert downloads["operation"]["download"] is None
    assert operator.get(unfinished)["state"] == "FAILED"
    assert operator.run(unfinished)["state"] == "FAILED"
    assert operator.error(own.replace("mine", "new"), LEARNER, roles="learner")[0] == "NOT_FOUND"


def test_an_export_that_a_worker_is_running_is_cancelled(
    operator: Operator, traced: Connection, worker: Connection
) -> None:
    export = operator.start("exportUser", f'userId: "{LEARNER}", ')
    running = claimed_operations.claim(worker, UUID(export["id"]))
    assert running
    running.begin_step(running.steps[0])
    assert not erasure_rows.try_end_export(traced, running.id, lambda: None)
    with pytest.raises(OperationEnded, match="cancelled"):
        running.report_progress()


@pytest.mark.parametrize("step", ["write", "offer"])
def test_an_export_cannot_be_cancelled_once_it_is_offered(
    operator: Operator, populated: Connection, step: str
) -> None:
    export = operator.start("exportUser", 'userId: "ann", ')["id"]
    doomed_worker.die_in(populated, export, "EXPORT_USER", step)
    cancelled = operator.cancel(export)
    state = operator.run_until_it_ends(export)["state"]
    assert (cancelled == "BAD_USER_INPUT", state) == {
        "write": (False, "FAILED"),
        "offer": (True, "SUCCEEDED"),
    }[step]


_STARTS = (
    "exportStatistics(table: DAILY,", "exportUser(", 'exportUser(userId: "ann",',
    'eraseUser(userId: "ann",', "rebuildProjections(", "runBatch(",
    'archiveEvents(before: "2024-04-01T00:00:00Z",',
)  # fmt: skip


def test_an_erased_caller_starts_nothing_and_no_operation_keeps_their_id(
    operator: Operator, traced: Connection, worker: Connection
) -> None:
    """A worker runs their export during the erasure; afterwards, another export names them."""
    of_ben = 'exportStatistics(table: DAILY, learners: ["ben"], idempotencyKey: "own") { id }'
    own = operator.ask(f"mutation {{ {of_ben} }}", LEARNER)["data"]["exportStatistics"]["id"]
    assert claimed_operations.claim(worker, UUID(own))
    (running,) = model_rows.read_table(traced, "operations.operations")
    digest = receipt(operator.run(erase(operator)["id"]))["digest"]
    assert running in model_rows.read_table(traced, "operations.operations")
    for n, start in enumerate(_STARTS):
        mutation = f'mutation {{ {start} idempotencyKey: "{n}") {{ id }} }}'
        assert operator.error(mutation, LEARNER)[0] == "NOT_FOUND", start
    worker.run("SELECT pg_advisory_unlock_all()")
    named = export_statistics(operator, f'table: DAILY, learners: ["{LEARNER}", "ann"]')["id"]
    assert [operator.run(each)["state"] for each in (own, named)] == ["SUCCEEDED"] * 2
    assert find_traces(traced, *NEEDLES) == []
    rows = model_rows.read_table(traced, "operations.operations")
    assert {row["started_by"]: row["requesters"] for row in rows}[digest] == [digest]


def test_a_caller_who_is_erased_meanwhile_starts_nothing(
    operator: Operator, store: Store, populated: Connection
) -> None:
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    start = 'mutation { exportStatistics(table: DAILY, idempotencyKey: "k") { id } }'
    with ThreadPoolExecutor(1) as pool, closing(store.connect()) as erasing:
        with database.transaction(erasing):
            erasure_rows.forbid_learner(erasing, "sam", uuid4())
            answer = pool.submit(operator.error, start, "sam", roles="support")
            readiness.wait(lambda: populated.run(waits) != [[0]] or answer.done(), "the request")
        assert answer.result()[0] == "NOT_FOUND"
    assert populated.run("SELECT count(*) FROM operations.operations") == [[0]]


@pytest.mark.exhaustive
def test_exported_statistics_that_may_contain_rows_of_the_learner_are_deleted(
    operator: Operator, traced: Connection, exports: Path
) -> None:
    for learners in ("", f', learners: ["{LEARNER}"]', ', learners: ["ben"]'):
        operator.run(export_statistics(operator, f"table: DAILY{learners}")["id"])
    unfinished = export_statistics(operator, "table: ITEM")["id"]
    done = operator.run(erase(operator)["id"])
    assert receipt(done)["erased"]["exports"] == 3
    assert len([*exports.iterdir()]) == 1
    assert find_traces(traced, *NEEDLES) == []
    assert "request another export" in operator.get(unfinished)["error"]
    later = operator.run(export_statistics(operator, "table: DAILY")["id"])
    assert later["state"] == "SUCCEEDED"


def test_the_archive_contains_no_event_of_an_erased_learner(
    operator: Operator, traced: Connection
) -> None:
    archive = catalogue.open_archive(settings.current())
    stage.append(traced, [sample_events.user_deleted(LEARNER)])
    batch.run(traced)
    archives.run(traced, archive)
    before = archives.files_with(archive, f"learner-{LEARNER}")
    erased = receipt(operator.run(erase(operator)["id"]))["erased"]
    # The erasure also rewrites one other file. This file contains an event of the learner's
    # session in a stream that belongs to no learner.
    assert erased["files"] == len(before) + 1
    assert erased["archived_events"] == erased["events"]
    assert erased["files"] > 0
    assert archives.files_with(archive, f"learner-{LEARNER}") == []
    assert not check.run_deep(traced, archive, lambda *_: None).findings


@pytest.fixture
def publishes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBLISH_EVENTS", "all")
    settings.current.cache_clear()


def list_published(publisher: FakePublisher) -> list[str]:
    return [
        message.attributes["event_type"]
        for message in publisher.messages(outgoing.TOPIC)
        if message.ordering_key == f"learner-{LEARNER}"
    ]


@pytest.mark.usefixtures("publishes_all")
def test_an_erasure_waits_until_the_deletion_is_published_and_publishes_nothing_else(
    operator: Operator,
    populated: Connection,
    fake_publisher: FakePublisher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its publication does not count as behind while the erasure waits for requests in `close`."""
    stage.append(populated, list_events())
    for days in range(3):
        at = datetime.now(UTC) - timedelta(days=days, seconds=1)
        session = {"user_id": LEARNER, "session_id": f"s-{days}"}
        ended = session | {"score": 80, "duration_seconds": 61}
        started = sample_events.envelope("SessionStarted", session | {"item_count": 1}, at=at)
        stage.append(populated, [started, sample_events.envelope("SessionCompleted", ended, at=at)])
    Projector(populated).catch_up_all()
    assert populated.run("SELECT user_id FROM event_store.milestone_marks") == [[LEARNER]]
    shard = populated.run("SELECT event_store.shard_of(:s)", s=f"learner-{LEARNER}")[0][0]
    fails = True

    def refuse(request: PublishRequest) -> None:
        if fails and request.topic.endswith(outgoing.TOPIC):
            raise ConnectionError

    fake_publisher.on_request = refuse
    erasure = erase(operator)
    with pytest.raises(PubSubUnavailable):  # an outage: Pub/Sub delivers the command again
        operator.run(erasure["id"])
    steps = {step["name"]: step["state"] for step in operator.get(erasure["id"])["steps"]}
    assert (steps["files"], steps["close"]) == ("SUCCEEDED", "PENDING")
    assert fake_publisher.messages(outgoing.TOPIC) == []
    fails, seen = False, list[str]()
    monkeypatch.setattr(
        erasure_steps, "_wait_for_requests", lambda *_: seen.extend(list_published(fake_publisher))
    )
    publication.outage.cache_clear()
    done = receipt(operator.run(erasure["id"]))
    assert seen == ["UserDeleted"]
    assert done["published"] == "stays with its subscribers"
    assert done["erased"]["milestone_marks"] == 1
    assert populated.run("SELECT user_id FROM event_store.milestone_marks") == []
    assert list_published(fake_publisher) == ["UserDeleted"]
    published = len(fake_publisher.messages(outgoing.TOPIC))
    assert publication.publish(populated, shard, settings.current()) == 0
    assert len(fake_publisher.messages(outgoing.TOPIC)) == published


@pytest.mark.parametrize("key", ["", "key"], ids=["here", "in the thread of one machine"])
@pytest.mark.usefixtures("publishes_all")
def test_a_broken_receiver_keeps_an_erasure_for_a_day_and_the_deletion_is_dropped_then(
    operator: Operator,
    populated: Connection,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
) -> None:
    stage.append(populated, list_events())
    for name, value in {**receiver.settings, "SERVE_KEY": key}.items():
        monkeypatch.setenv(name, value)
    settings.current.cache_clear()
    receiver.react = lambda _: 500
    erasure = erase(operator)
    for seconds in (0, 86_000):
        populated.run(BLOCKS["forget earlier"], id=erasure["id"], seconds=seconds)
        with pytest.raises(WebhookUnavailable, match=r"status 500|not left yet"):
            operator.run(erasure["id"])
    stage.append(populated, sample_events.lesson("bob", 1))
    populated.run(BLOCKS["forget earlier"], id=erasure["id"], seconds=400)
    done = receipt(operator.run(erasure["id"]))
    assert done["erased"]["dropped_messages"] == 1
    assert find_traces(populated, *NEEDLES) == []
    receiver.react = lambda _: 204
    for shard in SHARDS:
        publication.publish(populated, shard, settings.current())
    due = {str(e.event_id) for e in log.PostgresEventStore(populated).read_events("learner-bob", 1)}
    receiver.wait(lambda: due <= {*receiver.ids})
    assert not [each for each in receiver.accepted if LEARNER in str(each.event)]
