"""Retention: the batch job deletes old dead letters, and starts the erasure of deleted learners."""

import contextlib
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from progress import settings
from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.event_store import dead_letters
from progress.operations import batch_job
from progress.projections import batch
from tests.conftest import Store
from tests.support import model_rows, sample_events
from tests.support.fake_publisher import FakePublisher
from tests.support.operation_fixtures import blocks, url_of, write_dead_letters
from tests.support.stage import append

JOB = Path(__file__).parents[2] / "jobs/batch_aggregates/main.py"


def run_batch(store: Store, **environment: str) -> None:
    """Run the batch job as its own database user."""
    env = settings.child_env(DATABASE_URL=url_of(store, "batch"), **environment)
    done = subprocess.run(
        [sys.executable, str(JOB)],
        env=env, cwd=JOB.parents[2], capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def letters(connection: Connection) -> list[int]:
    """Three dead letters: discarded, replayed and open."""
    discarded, replayed, still_open = map(int, write_dead_letters(connection, 3))
    dead_letters.discard(connection, discarded, "no use")
    mark_replayed = statements.blocks("event_store/dead_letters")["mark replayed"]
    connection.run(mark_replayed, letter_id=replayed)
    return [discarded, replayed, still_open]


def remaining(connection: Connection) -> list[int]:
    letters = dead_letters.list_letters(connection, include_closed=True)
    return [letter.letter_id for letter in letters]


def test_dead_letters_are_deleted_90_days_after_they_were_closed(
    store: Store, connection: Connection, letters: list[int]
) -> None:
    connection.run(blocks()["age dead letters"], days=89)
    run_batch(store)
    assert remaining(connection) == letters
    connection.run(blocks()["age dead letters"], days=1)
    run_batch(store)
    assert remaining(connection) == letters[2:]  # an open dead letter is kept


def delete_learners(connection: Connection, *users: str, days: int) -> None:
    """Record learners who were deleted `days` days ago."""
    for user in users:
        append(connection, [*sample_events.lesson(user, 0), sample_events.user_deleted(user)])
    batch.run(connection)
    connection.run(blocks()["let the log be changed"])
    connection.run(blocks()["age deletions"], days=days)


def erasures(connection: Connection) -> list[str]:
    """Return the learners whose erasure was started, the earliest erasure first."""
    return [learner for (learner,) in connection.run(blocks()["erasures"])]


def test_learners_are_erased_the_configured_number_of_days_after_their_deletion(
    store: Store, connection: Connection, fake_publisher: FakePublisher
) -> None:
    append(connection, sample_events.lesson("ann", 0))
    delete_learners(connection, "ben", "cyd", days=29)
    environment = {"PUBSUB_EMULATOR_HOST": fake_publisher.address}
    run_batch(store, ERASE_DELETED_AFTER_DAYS="30", **environment)
    assert erasures(connection) == []
    connection.run(blocks()["age deletions"], days=1)
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
    with contextlib.closing(database.connect(url_of(store, "batch"))) as job:
        for _ in range(4):
            batch_job.start_erasures(job, 1)
            counts.append(len(erasures(connection)))
    assert counts == [2, 4, 5, 5]
    assert erasures(connection) == users


def test_the_idempotency_key_of_an_automatic_erasure_is_a_keyed_hash_of_the_learner_id(
    store: Store, connection: Connection
) -> None:
    """The database keeps a hash of this key after the erasure. The hash must identify no one."""
    delete_learners(connection, "ben", days=2)
    (digest,) = connection.run("SELECT encode(event_store.erasure_digest('ben'), 'hex')")[0]
    with contextlib.closing(database.connect(url_of(store, "batch"))) as job:
        batch_job.start_erasures(job, 1)
    rows = model_rows.read_table(connection, "operations.operations")
    assert [row["key_digest"] for row in rows] == [hashlib.sha256(digest.encode()).digest()]
