"""With CHANGES_SUBSCRIPTION, the batch job connects to the database only after changes."""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import AlreadyExists

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub import backlog, wakeups
from progress.projections import batch
from progress.projections.projector import SHARDS, Projector
from tests.conftest import Store
from tests.support import sample_events
from tests.support.pubsub_servers import PROJECT, Pubsub
from tests.support.stage import connect

JOB = Path(__file__).parents[2] / "jobs/batch_aggregates/main.py"
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@dataclass
class Job:
    """The batch job, with a subscription that receives the wake-ups."""

    environment: dict[str, str]
    connection: Connection
    patch: pytest.MonkeyPatch
    output: pytest.CaptureFixture[str]

    def configure(self, **environment: str) -> None:
        """Set variables of the environment."""
        self.environment |= environment
        for name, value in self.environment.items():
            self.patch.setenv(name, value)
        for cache in (settings.current, wakeups.outage):
            cache.cache_clear()

    def run(self, **environment: str) -> tuple[int, list[dict[str, Any]]]:
        """Run the job; return the exit status and the lines of its log."""
        self.configure(**environment)
        self.output.readouterr()
        spec = importlib.util.spec_from_file_location("job", JOB)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        with _closing_connections():
            status: int = module.main()
        return status, [json.loads(line) for line in self.output.readouterr().out.splitlines()]

    def fold(self, **environment: str) -> list[dict[str, Any]]:
        """Run the job, which must fold every event; return the lines of its log."""
        status, lines = self.run(**environment)
        assert status == 0, lines
        assert not sample_events.find_differences(self.connection)
        return lines

    def has_waiting(self, expected: int) -> bool:
        """Return whether exactly `expected` messages are in the subscription; leave them there."""
        with self.patch.context() as impatient:
            if not expected:
                impatient.setattr(backlog, "_FIRST_PULL_TIMEOUT_S", 1.0)
            with backlog.open_backlog(settings.current()) as changes:
                return changes.messages == expected


@pytest.fixture
def job(
    pubsub: Pubsub,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Job]:
    topic, name = f"{PROJECT}/topics/{wakeups.TOPIC}", f"changes-{uuid.uuid4()}"
    with contextlib.suppress(AlreadyExists):
        pubsub.publisher.create_topic(name=topic)
    full = f"{PROJECT}/subscriptions/{name}"
    pubsub.subscriber.create_subscription(name=full, topic=topic, ack_deadline_seconds=300)
    monkeypatch.setattr(backlog, "_NEXT_PULL_TIMEOUT_S", 0.5)
    made = Job({}, connection, monkeypatch, capsys)
    made.configure(
        DATABASE_URL=NOWHERE,
        PUBSUB_EMULATOR_HOST=pubsub.host,
        PUBSUB_PROJECT_ID=PROJECT.removeprefix("projects/"),
        CHANGES_SUBSCRIPTION=name,
    )
    yield made
    for cache in (settings.current, wakeups.outage):
        cache.cache_clear()
    pubsub.subscriber.delete_subscription(subscription=full)


def test_without_changes_the_job_does_not_connect_to_the_database(job: Job) -> None:
    ran = subprocess.run(
        [sys.executable, JOB],
        env={**os.environ, **job.environment},  # no server listens at DATABASE_URL
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    (line,) = map(json.loads, ran.stdout.splitlines())
    assert line["message"] == "batch run: nothing changed"
    assert (line["operation"], line["outcome"]) == ("batch", "ok")


def test_several_changes_cause_one_run(job: Job, store: Store, connection: Connection) -> None:
    sample_events.record_lessons(connection, "ann", "ben")
    assert wakeups.send([1, 2])
    assert job.fold(DATABASE_URL=store.url)[-1]["learners"] == 2
    assert job.has_waiting(0)


def test_a_failed_run_leaves_the_changes_to_the_next_run(
    job: Job, store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    assert wakeups.send([1, 2, 3])
    assert job.run()[0] == 1  # the database does not exist
    assert job.has_waiting(3)
    job.fold(DATABASE_URL=store.url)
    assert job.has_waiting(0)


def test_a_second_attempt_runs_even_if_it_pulls_no_message(
    job: Job, store: Store, connection: Connection
) -> None:
    """Pub/Sub may not have redelivered the messages of the first attempt yet."""
    sample_events.record_lessons(connection, "ann")
    job.patch.setattr(backlog, "_FIRST_PULL_TIMEOUT_S", 0.5)
    job.fold(DATABASE_URL=store.url, CLOUD_RUN_TASK_ATTEMPT="1")


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


def test_a_run_that_found_a_shard_locked_is_followed_by_another_run(
    job: Job, store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    assert wakeups.send([1])
    with _lock_every_shard(store):
        assert job.run(DATABASE_URL=store.url)[0] == 0
    assert job.has_waiting(1)
    job.fold()
    assert job.has_waiting(0)


def test_a_run_that_finds_another_run_in_progress_leaves_the_changes_to_the_next_run(
    job: Job, store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    assert wakeups.send([1])
    other = connect(store.url)
    other.run("BEGIN")
    Projector(other)
    batch.fold(other, list(SHARDS))
    status, lines = job.run(DATABASE_URL=store.url)
    other.run("ROLLBACK")
    other.close()
    assert (status, lines[-1]["message"]) == (0, "batch run: another run has the lock")
    assert job.has_waiting(1)


def test_the_job_runs_if_pubsub_is_unavailable(
    job: Job, store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    warning = job.fold(DATABASE_URL=store.url, CHANGES_SUBSCRIPTION="is-not-there")[0]
    assert warning["severity"] == "WARNING"
    assert "cannot look for changes" in warning["message"]


def test_each_of_several_tasks_runs_without_pulling_changes(
    job: Job, store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    assert wakeups.send([1])
    for task in range(2):
        variables = {"CLOUD_RUN_TASK_INDEX": f"{task}", "CLOUD_RUN_TASK_COUNT": "2"}
        assert job.run(DATABASE_URL=store.url, **variables)[0] == 0
    assert not sample_events.find_differences(connection)
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


@contextlib.contextmanager
def _lock_every_shard(store: Store) -> Iterator[None]:
    """Hold the locks that a worker of the projections holds while it folds."""
    worker = connect(store.url)
    projector = Projector(worker)
    worker.run("BEGIN")
    for shard in SHARDS:
        projector.fold_window(shard, 1)
    yield
    worker.run("ROLLBACK")
    worker.close()
