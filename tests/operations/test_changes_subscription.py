"""The batch job with CHANGES_SUBSCRIPTION: it wakes the database only when something changed."""

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
from tests.support.pubsub_servers import PROJECT, Pubsub, pubsub
from tests.support.stage import connect
from tests.support.terraform_environments import Environments

__all__ = ["pubsub"]

JOB = Path(__file__).parents[2] / "jobs/batch_aggregates/main.py"
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@dataclass
class Job:
    """The job, told of a subscription that gets what wakes the projections."""

    environment: dict[str, str]
    patch: pytest.MonkeyPatch
    output: pytest.CaptureFixture[str]

    def told(self, **environment: str) -> None:
        """Changes what the environment says."""
        self.environment |= environment
        for name, value in self.environment.items():
            self.patch.setenv(name, value)
        for cache in (settings.current, backlog._channel, wakeups.publisher):
            cache.cache_clear()

    def run(self, **environment: str) -> tuple[int, list[dict[str, Any]]]:
        """The exit status, and the lines of the log."""
        self.told(**environment)
        self.output.readouterr()
        spec = importlib.util.spec_from_file_location("job", JOB)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        with _closing_connections():
            status: int = module.main()
        return status, [json.loads(line) for line in self.output.readouterr().out.splitlines()]

    def finds(self, expected: int) -> bool:
        """Whether so many messages wait; they are given back."""
        with self.patch.context() as impatient:
            if not expected:
                impatient.setattr(backlog, "_FIRST", 1.0)
            with backlog.open_backlog(settings.current()) as changes:
                return changes.messages == expected


@pytest.fixture
def job(
    pubsub: Pubsub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Job]:
    topic, name = f"{PROJECT}/topics/{wakeups.TOPIC}", f"changes-{uuid.uuid4()}"
    with contextlib.suppress(AlreadyExists):
        pubsub.publisher.create_topic(name=topic)
    full = f"{PROJECT}/subscriptions/{name}"
    pubsub.subscriber.create_subscription(name=full, topic=topic, ack_deadline_seconds=300)
    monkeypatch.setattr(backlog, "_MORE", 0.5)
    made = Job({}, monkeypatch, capsys)
    made.told(
        DATABASE_URL=NOWHERE,
        PUBSUB_EMULATOR_HOST=pubsub.host,
        PUBSUB_PROJECT_ID=PROJECT.removeprefix("projects/"),
        CHANGES_SUBSCRIPTION=name,
    )
    yield made
    for cache in (settings.current, backlog._channel, wakeups.publisher):
        cache.cache_clear()
    pubsub.subscriber.delete_subscription(subscription=full)


def test_where_nothing_changed_the_database_is_left_alone(job: Job) -> None:
    ran = subprocess.run(
        [sys.executable, JOB],
        env={**os.environ, **job.environment},  # its database is nowhere
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    (line,) = map(json.loads, ran.stdout.splitlines())
    assert line["message"] == "batch run: nothing changed"
    assert (line["operation"], line["outcome"]) == ("batch", "ok")


def test_what_changed_brings_about_one_run(job: Job, store: Store, connection: Connection) -> None:
    sample_events.record_lessons(connection, "ann", "ben")
    assert wakeups.send([1, 2])
    status, lines = job.run(DATABASE_URL=store.url)
    assert (status, lines[-1]["learners"]) == (0, 2)
    assert not sample_events.find_differences(connection)
    assert job.finds(0)


def test_the_changes_of_a_run_that_failed_are_there_for_the_next(
    job: Job, store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    assert wakeups.send([1, 2, 3])
    assert job.run()[0] == 1  # the database is nowhere
    assert job.finds(3)
    assert job.run(DATABASE_URL=store.url)[0] == 0
    assert not sample_events.find_differences(connection)
    assert job.finds(0)


def test_the_next_attempt_runs_though_the_one_that_died_has_the_messages(
    job: Job, store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    job.patch.setattr(backlog, "_FIRST", 0.5)
    assert job.run(DATABASE_URL=store.url, CLOUD_RUN_TASK_ATTEMPT="1")[0] == 0
    assert not sample_events.find_differences(connection)


def test_what_changes_while_a_run_goes_on_brings_about_another(job: Job) -> None:
    assert wakeups.send([1, 2])
    with backlog.open_backlog(settings.current()) as changes:
        assert wakeups.send([3])
        changes.acknowledge()
    assert changes.messages == 2
    assert job.finds(1)


def test_changes_by_the_thousand_are_taken_in_bounded_calls(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "_MOST_PULLS", 3)
    monkeypatch.setattr(backlog, "_AT_ONCE", 500)
    assert all(wakeups.send([shard] * 200) for shard in range(10))
    with backlog.open_backlog(settings.current()) as changes:
        changes.acknowledge()
    assert 0 < changes.messages <= 1_500  # an answer may hold fewer than were asked for
    with backlog.open_backlog(settings.current()) as rest:
        assert 0 < rest.messages <= 2_000 - changes.messages  # they bring about the next run


def test_a_run_that_could_not_fold_all_of_it_is_followed_by_another(
    job: Job, store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    assert wakeups.send([1])
    with _worker_of_every_shard(store):
        assert job.run(DATABASE_URL=store.url)[0] == 0
    assert job.finds(1)
    assert job.run()[0] == 0
    assert not sample_events.find_differences(connection)
    assert job.finds(0)


def test_a_run_beside_another_leaves_the_changes_to_the_next(
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
    assert job.finds(1)


def test_where_pubsub_cannot_be_asked_the_run_happens(
    job: Job, store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    status, lines = job.run(DATABASE_URL=store.url, CHANGES_SUBSCRIPTION="is-not-there")
    assert (status, lines[0]["severity"]) == (0, "WARNING")
    assert "cannot look for changes" in lines[0]["message"]
    assert not sample_events.find_differences(connection)


def test_of_several_tasks_each_runs_and_none_looks(
    job: Job, store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    assert wakeups.send([1])
    for task in range(2):
        told = {"CLOUD_RUN_TASK_INDEX": f"{task}", "CLOUD_RUN_TASK_COUNT": "2"}
        assert job.run(DATABASE_URL=store.url, **told)[0] == 0
    assert not sample_events.find_differences(connection)
    job.told(CLOUD_RUN_TASK_COUNT="1")
    assert job.finds(1)


@contextlib.contextmanager
def _closing_connections() -> Iterator[None]:
    """Closes what the job leaves to the end of its process."""
    made: list[Connection] = []
    connect = database.connect

    def kept(*arguments: Any, **more: Any) -> Connection:
        made.append(connect(*arguments, **more))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "connect", kept)
        yield
    for each in made:
        each.close()


@contextlib.contextmanager
def _worker_of_every_shard(store: Store) -> Iterator[None]:
    """Holds what a worker of the projections holds while it folds."""
    worker = connect(store.url)
    projector = Projector(worker)
    worker.run("BEGIN")
    for shard in SHARDS:
        projector.fold_window(shard, 1)
    yield
    worker.run("ROLLBACK")
    worker.close()


@pytest.mark.parametrize("environment", ["dev", "staging"])
def test_where_it_is_pulled_a_run_has_the_time_it_takes_and_one_a_day_does_not_ask(
    environments: Environments, environment: str
) -> None:
    there = environments[environment].planned
    jobs = there.of("google_cloud_run_v2_job", "job")
    ((_, changes),) = there.of("google_pubsub_subscription", "changes").items()
    may_take = jobs["batch"]["template"][0]["template"][0]["timeout"]
    assert changes["ack_deadline_seconds"] >= int(may_take.removesuffix("s"))
    assert changes["expiration_policy"] == [{"ttl": ""}]
    large = there['google_cloud_scheduler_job.run["batch-large"]']
    assert large["schedule"].endswith("* * *")  # each day
    assert jobs["batch-large"]["template"][0]["task_count"] > 1
