"""The batch job: retention, the gauges of operations, and runs that only changes cause."""

import contextlib
import hashlib
import importlib.util
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from progress import settings
from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub import backlog, wakeups
from progress.event_store import dead_letters, outgoing, publication
from progress.operations import batch_job
from progress.projections import batch, gauges, schema
from progress.projections.projector import SHARDS, Projector
from progress.serve import process_specs
from tests.conftest import Store
from tests.support import fake_publisher, model_rows, sample_events, stage
from tests.support.erasure_fixtures import erase
from tests.support.export_fixtures import export
from tests.support.fake_publisher import FakePublisher
from tests.support.operation_fixtures import BLOCKS, Operator, limit_step, write_dead_letters
from tests.support.postgres_servers import url_of
from tests.support.pushes import record_push
from tests.support.stage import append, connect
from tests.support.traced_operation import Hooks, start

JOB = Path(__file__).parents[2] / "jobs/batch_aggregates/main.py"


def run_job() -> int:
    forget_caches()
    spec = importlib.util.spec_from_file_location("job", JOB)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with _closing_connections():
        status: int = module.main()
    return status


def forget_caches() -> None:
    settings.current.cache_clear()
    fake_publisher.forget_outages()


def run_batch(store: Store, **environment: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"DATABASE_URL": url_of(store.url, "batch"), **environment}.items():
            patch.setenv(name, value)
        assert run_job() == 0
    forget_caches()


def test_dead_letters_are_deleted_90_days_after_they_were_closed(
    store: Store, connection: Connection
) -> None:
    letters = discarded, replayed, _ = [*map(int, write_dead_letters(connection, 3))]
    dead_letters.discard(connection, discarded, "no use")
    mark_replayed = statements.blocks("event_store/dead_letters")["mark replayed"]
    connection.run(mark_replayed, letter_id=replayed)
    for days, expected in ((89, letters), (1, letters[2:])):  # the open one is kept
        connection.run(BLOCKS["age dead letters"], days=days)
        run_batch(store)
        left = dead_letters.list_letters(connection, include_closed=True)
        assert [letter.letter_id for letter in left] == expected


def test_the_letters_that_an_earlier_version_writes_are_read_and_those_of_the_erased_redacted(
    store: Store, connection: Connection
) -> None:
    for body in (b'{"data": {"user_id": "ann"}}', b'{"data": {"user_id": "ben"}}', b"no JSON"):
        record_push(connection, body)
    connection.run("UPDATE event_store.dead_letters SET owners = NULL")
    connection.run(
        "SELECT FROM event_store.forbid_learner('ann', CAST(:id AS uuid))", id=str(uuid4())
    )
    run_batch(store)
    payloads = [each.payload for each in dead_letters.list_letters(connection, include_closed=True)]
    assert payloads == ["", '{"data": {"user_id": "ben"}}', "no JSON"]
    connection.run("UPDATE event_store.dead_letters SET received_at = received_at - interval '9 d'")
    run_batch(store, MALFORMED_DAYS="10")
    assert dead_letters.list_letters(connection)[-1].payload == "no JSON"
    run_batch(store, MALFORMED_DAYS="9")
    kept, emptied = dead_letters.list_letters(connection)
    assert (kept.payload, emptied.payload) == (payloads[1], "")


def test_read_models_that_nobody_has_read_are_dropped_after_the_configured_number_of_days(
    store: Store, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "progress_0123456789ab"
    schema.create(connection, other)
    connection.run(
        "UPDATE event_store.read_models SET built_at = '2026-01-01', read_until = "
        "clock_timestamp() - CASE WHEN schema = :other THEN interval '5 days' ELSE '0' END",
        other=other,
    )
    run_batch(store)
    assert schema.exists(connection, other)
    run_batch(store, FORMER_SCHEMA_DAYS="4")
    assert not schema.exists(connection, other)
    assert process_specs.batch({}).environment["FORMER_SCHEMA_DAYS"] == "1"
    monkeypatch.setenv("FORMER_SCHEMA_DAYS", "4")
    settings.current.cache_clear()
    assert process_specs.batch({}).environment["FORMER_SCHEMA_DAYS"] == "4"


def delete_learners(connection: Connection, *users: str, days: int) -> None:
    for user in users:
        append(connection, [*sample_events.lesson(user, 0), sample_events.user_deleted(user)])
    batch.run(connection)
    connection.run(BLOCKS["let the log be changed"])
    connection.run(BLOCKS["age deletions"], days=days)


def erasures(connection: Connection) -> list[str]:
    return [learner for (learner,) in connection.run(BLOCKS["erasures"])]


def test_learners_are_erased_the_configured_number_of_days_after_their_deletion(
    store: Store, connection: Connection, fake_publisher: FakePublisher
) -> None:
    append(connection, sample_events.lesson("ann", 0))
    delete_learners(connection, "ben", "cyd", days=29)
    environment = {"PUBSUB_EMULATOR_HOST": fake_publisher.address}
    run_batch(store, ERASE_DELETED_AFTER_DAYS="30", **environment)
    assert erasures(connection) == []
    connection.run(BLOCKS["age deletions"], days=1)
    run_batch(store, **environment)  # ERASE_DELETED_AFTER_DAYS is not set
    assert erasures(connection) == []
    for _ in range(2):  # the second run starts no further erasures
        run_batch(store, ERASE_DELETED_AFTER_DAYS="30", **environment)
        assert erasures(connection) == ["ben", "cyd"]
    # Each run sends one command for each unfinished erasure.
    assert len(fake_publisher.commands()) == 4


def test_a_run_starts_a_bounded_number_of_erasures(
    store: Store, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_job, "_ERASURES_PER_RUN", 2)
    users = [f"u{number}" for number in range(5)]
    delete_learners(connection, *users, days=2)
    counts = []
    with contextlib.closing(database.connect(url_of(store.url, "batch"))) as job:
        for _ in range(4):
            batch_job.erase_by_time(job, 1, None)
            counts.append(len(erasures(connection)))
    assert counts == [2, 4, 5, 5]
    assert erasures(connection) == users
    # The database keeps a hash of the key after the erasure. The hash must identify no one.
    (digest,) = connection.run("SELECT encode(event_store.erasure_digest('u0'), 'hex')")[0]
    rows = model_rows.read_table(connection, "operations.operations")
    assert hashlib.sha256(digest.encode()).digest() in [row["key_digest"] for row in rows]


def test_the_job_announces_and_the_job_and_the_projector_may_publish_the_announcement(
    store: Store, connection: Connection, fake_publisher: FakePublisher
) -> None:
    append(connection, sample_events.lesson("ann", 0))
    Projector(connection).catch_up_all()
    connection.run(BLOCKS["let the log be changed"])
    connection.run(BLOCKS["let pass"], time="13 months")
    address = fake_publisher.address
    for months in ({}, {"RETENTION_MONTHS": "12"}, {"RETENTION_MONTHS": "12"}):
        run_batch(store, PUBSUB_EMULATOR_HOST=address, **months)
    forget = "UPDATE event_store.erasure_announcements SET published_at = NULL RETURNING 1"
    assert connection.run(forget) == [[1]]
    given = settings.Settings(pubsub_emulator_host=address)
    with closing(connect(url_of(store.url, "project"))) as project:
        assert sum(publication.publish(project, shard, given) for shard in SHARDS) == 1
    is_published = "SELECT published_at IS NOT NULL FROM event_store.erasure_announcements"
    assert connection.run(is_published) == [[True]]
    kinds = [message.attributes["kind"] for message in fake_publisher.messages(outgoing.TOPIC)]
    assert kinds == ["announced"] * 2


def measure(store: Store) -> gauges.Gauges:
    with closing(connect(url_of(store.url, "batch"))) as job:
        return gauges.measure(job)


def count(store: Store) -> tuple[int, int]:
    measured = measure(store)
    return measured.failed_operations, measured.overdue_operations


def test_an_operation_counts_as_running_until_its_end_and_as_failed_for_an_hour(
    operator: Operator,
    hooks: Hooks,
    connection: Connection,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    hooks["write", "before"] = lambda: seen.append(measure(store).running_operations)
    limit_step(monkeypatch, "write", 0.0)
    failed = start(operator)
    assert measure(store).running_operations == 0
    assert operator.run(failed)["state"] == "TIMED_OUT"
    assert (seen, measure(store).running_operations) == ([1], 0)
    assert count(store) == (1, 0)
    connection.run(BLOCKS["age the end"], operation_id=failed)
    assert count(store) == (0, 0)
    cancelled = operator.start("runBatch")["id"]
    operator.cancel(cancelled)
    assert operator.run(cancelled)["state"] == "FAILED"
    assert count(store) == (0, 0)


@pytest.mark.parametrize("point", ["before", "undo before"])
def test_a_failure_counts_even_if_the_operation_is_cancelled_in_or_after_the_failing_attempt(
    operator: Operator, hooks: Hooks, store: Store, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    limit_step(monkeypatch, "write", 0.0)
    operation_id = start(operator)
    states = []

    def cancel() -> None:
        states.append(operator.cancel(operation_id)["state"])

    hooks["write", point] = cancel
    assert operator.run(operation_id)["state"] == "TIMED_OUT"
    assert states == ["RUNNING" if point == "before" else "COMPENSATING"]
    assert count(store) == (1, 0)


@pytest.mark.parametrize("error", ["erased", "the learner is deleted"])
def test_an_export_of_a_learner_who_is_erased_or_deleted_does_not_count_as_failed(
    operator: Operator, store: Store, populated: Connection, exports: Path, error: str
) -> None:
    operation_id = export(operator)["id"]
    if error == "erased":
        operator.run(erase(operator, "ann")["id"])
    else:
        stage.append(populated, [sample_events.user_deleted("ann")])
        operator.run(operation_id)
    ended = operator.get(operation_id)
    assert (ended["state"], ended["error"], [*exports.glob("*")]) == ("FAILED", error, [])
    assert count(store) == (0, 0)


def test_an_unfinished_erasure_is_overdue_after_a_day_and_any_other_operation_after_an_hour(
    operator: Operator, connection: Connection, store: Store
) -> None:
    operation_id = operator.start("runBatch")["id"]
    for kind, remaining, overdue in (
        ("RUN_BATCH", "23 hours 1 minute", 0),
        ("RUN_BATCH", "22 hours 59 minutes", 1),
        ("ERASE_USER", "13 days 1 minute", 0),
        ("ERASE_USER", "12 days 23 hours 59 minutes", 1),
    ):
        connection.run(BLOCKS["set kind"], operation_id=operation_id, kind=kind)
        connection.run(BLOCKS["set remaining time"], operation_id=operation_id, remaining=remaining)
        assert count(store) == (0, overdue), (kind, remaining)


NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@dataclass
class Job:
    """The batch job, with a subscription that receives the wake-ups."""

    environment: dict[str, str]
    store: Store
    connection: Connection
    patch: pytest.MonkeyPatch
    output: pytest.CaptureFixture[str]

    def record_lessons(self, *shards: int) -> None:
        sample_events.record_lessons(self.connection, "ann")
        assert wakeups.send([*shards])

    def configure(self, **environment: str) -> None:
        self.environment |= environment
        for name, value in self.environment.items():
            self.patch.setenv(name, value)
        forget_caches()

    def run(self, **environment: str) -> tuple[int, list[dict[str, Any]]]:
        self.configure(**environment)
        self.output.readouterr()
        status = run_job()
        return status, [json.loads(line) for line in self.output.readouterr().out.splitlines()]

    def fold(self, **environment: str) -> list[dict[str, Any]]:
        status, lines = self.run(**environment)
        assert status == 0, lines
        assert not sample_events.find_differences(self.connection)
        return lines

    def has_waiting(self, expected: int) -> bool:
        with self.patch.context() as impatient:
            if not expected:
                impatient.setattr(backlog, "_FIRST_PULL_TIMEOUT_S", 1.0)
            with backlog.open_backlog(settings.current()) as changes:
                return changes.messages == expected


@pytest.fixture
def job(
    fake_publisher: FakePublisher,
    store: Store,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Job]:
    monkeypatch.setattr(backlog, "_NEXT_PULL_TIMEOUT_S", 0.5)
    monkeypatch.setattr(wakeups, "_TIMEOUT_S", 10.0)  # a busy machine connects slowly
    made = Job({}, store, connection, monkeypatch, capsys)
    made.configure(
        DATABASE_URL=NOWHERE,
        PUBSUB_EMULATOR_HOST=fake_publisher.address,
        CHANGES_SUBSCRIPTION=FakePublisher.SUBSCRIPTION,
    )
    yield made
    forget_caches()


def test_without_changes_the_job_does_not_connect_to_the_database(job: Job) -> None:
    job.patch.setattr(backlog, "_FIRST_PULL_TIMEOUT_S", 0.5)
    status, (line,) = job.run()  # no server listens at DATABASE_URL
    assert (status, line["message"]) == (0, "batch run: nothing changed")
    assert (line["operation"], line["outcome"]) == ("batch", "ok")
    for setting in ("ERASE_DELETED_AFTER_DAYS", "RETENTION_MONTHS"):
        with job.patch.context() as patch:
            patch.setenv(setting, "1")
            assert job.run()[0] == 1, "a job that erases by time also runs without changes"


def test_failed_attempts_leave_the_changes_to_the_next_run_and_the_last_one_is_an_error(
    job: Job,
) -> None:
    job.record_lessons(1, 2, 3)
    for attempt, ending in (("0", ("WARNING", "retried")), ("3", ("ERROR", "error"))):
        status, lines = job.run(TASK_RETRIES="3", CLOUD_RUN_TASK_ATTEMPT=attempt)
        assert (status, lines[-1]["severity"], lines[-1]["outcome"]) == (1, *ending)
        assert lines[-1]["operation"] == "batch"  # alerts and metrics read it
        assert lines[-1]["message"].startswith("the batch run failed: no connection")
    assert job.has_waiting(3)
    line = job.fold(DATABASE_URL=job.store.url, CLOUD_RUN_TASK_ATTEMPT="0")[-1]
    assert (line["message"], line["learners"]) == ("batch run: done", 1)
    assert job.has_waiting(0)


def test_a_second_attempt_runs_even_if_it_pulls_no_message(job: Job) -> None:
    """Pub/Sub may not have redelivered the messages of the first attempt yet."""
    sample_events.record_lessons(job.connection, "ann")
    job.patch.setattr(backlog, "_FIRST_PULL_TIMEOUT_S", 0.5)
    job.fold(DATABASE_URL=job.store.url, CLOUD_RUN_TASK_ATTEMPT="1")


def test_a_change_during_a_run_causes_another_run(job: Job) -> None:
    assert wakeups.send([1, 2])
    with backlog.open_backlog(settings.current()) as changes:
        assert wakeups.send([3])
        changes.acknowledge()
    assert changes.messages == 2
    assert job.has_waiting(1)


def test_a_run_pulls_a_limited_number_of_changes_and_leaves_the_rest_to_the_next_run(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "_MAX_PULLS", 3)
    monkeypatch.setattr(backlog, "_PULL_SIZE", 500)
    assert all(wakeups.send([shard] * 200) for shard in range(10))
    with backlog.open_backlog(settings.current()) as changes:
        changes.acknowledge()
    assert 0 < changes.messages <= 1_500  # a response may hold fewer messages than requested
    with backlog.open_backlog(settings.current()) as rest:
        # The messages that remain cause the next run.
        assert 0 < rest.messages <= 2_000 - changes.messages


def test_a_run_that_finds_a_shard_locked_or_another_run_is_followed_by_another(job: Job) -> None:
    job.record_lessons(1)
    with closing(connect(job.store.url)) as worker:
        projector = Projector(worker)
        worker.run("BEGIN")
        for shard in SHARDS:
            projector.fold_window(shard, 1)
        assert job.run(DATABASE_URL=job.store.url)[0] == 0
        assert job.has_waiting(1)
        worker.run("ROLLBACK")
        worker.run("BEGIN")
        batch.fold(worker, list(SHARDS))
        status, lines = job.run()
    assert (status, lines[-1]["message"]) == (0, "batch run: another run has the lock")
    assert job.has_waiting(1)
    job.fold()
    assert job.has_waiting(0)


def test_the_job_runs_if_pubsub_is_unavailable(job: Job) -> None:
    sample_events.record_lessons(job.connection, "ann")
    warning = job.fold(DATABASE_URL=job.store.url, CHANGES_SUBSCRIPTION="is-not-there")[0]
    assert warning["severity"] == "WARNING"
    assert "cannot look for changes" in warning["message"]


def test_each_of_several_tasks_runs_without_pulling_changes(job: Job) -> None:
    job.record_lessons(1)
    for task in range(2):
        variables = {"CLOUD_RUN_TASK_INDEX": f"{task}", "CLOUD_RUN_TASK_COUNT": "2"}
        assert job.run(DATABASE_URL=job.store.url, **variables)[0] == 0
    assert not sample_events.find_differences(job.connection)
    job.configure(CLOUD_RUN_TASK_COUNT="1")
    assert job.has_waiting(1)


@contextlib.contextmanager
def _closing_connections() -> Iterator[None]:
    """Close the connections that the job opened, as the end of its process would."""
    opened: list[Connection] = []
    connect = database.connect

    def open_connection(*arguments: Any, **more: Any) -> Connection:
        opened.append(connect(*arguments, **more))
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "connect", open_connection)
        yield
    for connection in opened:
        connection.close()
