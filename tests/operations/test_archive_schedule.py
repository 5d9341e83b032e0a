"""Batch runs start ARCHIVE if due, at most once a day, whatever happens to other operations."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import files, merges, runs
from progress.errors import AttemptFailed
from progress.operations import batch_job, records
from tests.conftest import Store
from tests.support import archives, model_rows
from tests.support.archive_operations import archive, expect_whole, fail, length, result, start
from tests.support.operation_fixtures import Operator, deliver, url_of
from tests.support.traced_runs import change, run_until_it_ends

__all__ = ["archive", "length"]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def batch_connection(store: Store) -> Iterator[Connection]:
    """A connection with the privileges of the batch job."""
    with closing(database.connect(url_of(store, "batch"))) as connection:
        yield connection


def scheduled(connection: Connection) -> list[str]:
    """Let the batch job start ARCHIVE if due; return the operations that no worker has claimed."""
    batch_job.start_archive_if_due(connection)
    return [str(operation_id) for operation_id in records.list_unclaimed(connection)]


def test_the_first_batch_run_of_a_day_archives_a_full_range(
    operator: Operator,
    populated: Connection,
    archive: Storage,
    batch_connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert scheduled(batch_connection) == []
    monkeypatch.setattr(runs, "RANGE", 60)
    (operation_id,) = scheduled(batch_connection)
    assert result(operator.run(operation_id)) == {"upto": 60, "events": 60}
    assert scheduled(batch_connection) == []
    populated.run(archives.blocks()["begin another day"])
    assert scheduled(batch_connection) == []
    monkeypatch.setattr(runs, "RANGE", 30)
    (operation_id,) = scheduled(batch_connection)
    assert result(operator.run(operation_id)) == {"upto": 90, "events": 30}
    expect_whole(populated, archive, 90)


def test_the_first_batch_run_of_a_day_archives_old_events(
    operator: Operator,
    populated: Connection,
    archive: Storage,
    length: int,
    batch_connection: Connection,
) -> None:
    archives.age_events(populated)
    (operation_id,) = scheduled(batch_connection)
    assert result(operator.run(operation_id)) == {"upto": length, "events": length}
    populated.run(archives.blocks()["begin another day"])
    assert scheduled(batch_connection) == []


def test_a_batch_run_starts_archive_even_if_one_that_an_administrator_started_has_failed(
    operator: Operator, populated: Connection, batch_connection: Connection, length: int
) -> None:
    archives.age_events(populated)
    operation_id = start(operator)
    assert scheduled(batch_connection) == [operation_id]
    change(operator, "cancelOperation", operation_id)
    assert run_until_it_ends(operator, operation_id)["state"] == "FAILED"
    (own,) = scheduled(batch_connection)
    assert own != operation_id
    change(operator, "cancelOperation", own)
    assert run_until_it_ends(operator, own)["state"] == "FAILED"
    assert scheduled(batch_connection) == []


def test_new_ranges_are_published_even_if_older_ranges_cannot_be_merged(
    operator: Operator,
    populated: Connection,
    archive: Storage,
    batch_connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    length = model_rows.read_value(populated, "head")
    monkeypatch.setattr(runs, "RANGE", length // 10)
    monkeypatch.setattr(runs, "MAX_AGE_DAYS", 0)
    monkeypatch.setattr(merges, "LARGEST", length)
    (operation_id,) = scheduled(batch_connection)
    with monkeypatch.context() as patch:
        patch.setattr(files.Workspace, "merge", fail)
        with pytest.raises(AttemptFailed):
            deliver(operation_id)
        done = run_until_it_ends(operator, operation_id)
    assert done["state"] == "FAILED"
    assert done["error"].startswith("merge: ")
    assert archives.ranges(archive)[-1].last == length
    populated.run(archives.blocks()["begin another day"])
    assert scheduled(batch_connection) == []
    assert result(operator.run(start(operator)))["upto"] == length
    assert len(archives.ranges(archive)) <= 2
    expect_whole(populated, archive, length)
