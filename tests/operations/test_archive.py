"""ARCHIVE archives the log, even if a worker dies, or if another run or an erasure interferes."""

import pytest

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import check, erased_files, files, runs
from progress.errors import AttemptFailed, ProgressError
from progress.operations import batch_job, records, runner
from progress.operations.claimed_operations import ClaimedOperation
from progress.projections import batch
from tests.support import archives, doomed_worker, model_rows, sample_events
from tests.support.operation_fixtures import Operator, deliver, result
from tests.support.stage import append

EVER = 'before: "2999-01-01T00:00:00Z",'


@pytest.fixture
def length(populated: Connection) -> int:
    return int(populated.run(archives.BLOCKS["count"])[0][0])


def start(operator: Operator, arguments: str = EVER) -> str:
    return str(operator.start("archiveEvents", arguments)["id"])


def start_interrupted(operator: Operator, connection: Connection, step: str) -> str:
    operation_id = start(operator)
    doomed_worker.die_in(connection, operation_id, "ARCHIVE", step)
    return operation_id


def expect_whole(connection: Connection, archive: Storage, upto: int) -> None:
    report = check.run_deep(connection, archive, lambda *_: None)
    assert report.findings == []
    assert report.upto == upto
    folders = {path.split("/")[1] for path in archives.paths(archive)}
    assert len(folders) == len(report.ranges)


def test_a_run_writes_the_lost_files_of_published_ranges_again(
    operator: Operator, populated: Connection, archive: Storage, length: int
) -> None:
    operator.run(start(operator))
    lost = archives.find_file(archive, "learner-ann")
    archive.remove_file(lost)
    assert result(operator.run(start(operator))) == {"upto": length, "events": 0}
    expect_whole(populated, archive, length)


def test_only_events_recorded_before_the_given_time_are_archived(
    operator: Operator, populated: Connection, archive: Storage, length: int
) -> None:
    moment = populated.run(archives.BLOCKS["now"])[0][0]
    append(populated, sample_events.lesson("ann", 9))
    batch.run(populated)
    done = operator.run(start(operator, f'before: "{moment.isoformat()}",'))
    assert result(done)["upto"] == length
    done = operator.run(start(operator, 'before: "2001-01-01T00:00:00Z",'))
    assert result(done) == {"upto": length, "events": 0}


def test_each_event_is_archived_exactly_once_if_another_archive_run_ends_between_two_steps(
    operator: Operator, populated: Connection, archive: Storage, length: int
) -> None:
    operation_id = start_interrupted(operator, populated, "write")
    append(populated, sample_events.lesson("ann", 9))
    batch.run(populated)
    archives.run(populated, archive)
    upto = populated.run(archives.BLOCKS["count"])[0][0]
    assert upto > length
    assert result(operator.run_until_it_ends(operation_id))["upto"] == upto
    expect_whole(populated, archive, upto)


def test_a_learner_who_is_erased_between_two_steps_is_in_no_file(
    operator: Operator, populated: Connection, archive: Storage, length: int
) -> None:
    operation_id = start_interrupted(operator, populated, "join")
    assert archives.files_with(archive, "learner-ann")
    archives.change(populated, "empty stream", stream_id="learner-ann")
    erased_files.remove_stream(populated, archive, "learner-ann", lambda _: None)
    assert archives.files_with(archive, "learner-ann") == []
    assert result(operator.run_until_it_ends(operation_id))["upto"] == length
    assert archives.files_with(archive, "learner-ann") == []
    expect_whole(populated, archive, length)


def test_a_run_that_was_overtaken_leaves_the_other_run_s_range(
    operator: Operator, populated: Connection, archive: Storage, length: int
) -> None:
    """Another run overtakes the operation, and leaves out a learner whose erasure has begun.

    The erasure then changes the ids of the learner's events.
    """
    operation_id = start_interrupted(operator, populated, "write")
    populated.run(archives.BLOCKS["begin erasure"], learner="ann")
    archives.run(populated, archive)
    archives.change(populated, "empty stream", stream_id="learner-ann")
    assert result(operator.run_until_it_ends(operation_id))["upto"] == length
    expect_whole(populated, archive, length)


def test_an_event_that_is_appended_during_a_run_is_left_to_the_next_run(
    operator: Operator,
    populated: Connection,
    archive: Storage,
    length: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = runner.ACTIONS["ARCHIVE"]["write"]

    def append_and_write(operation: ClaimedOperation) -> object:
        append(populated, sample_events.lesson("ben", 9))
        batch.run(populated)
        return write(operation)

    steps = {**runner.ACTIONS["ARCHIVE"], "write": append_and_write}
    monkeypatch.setitem(runner.ACTIONS, "ARCHIVE", steps)
    assert result(operator.run(start(operator)))["upto"] == length
    expect_whole(populated, archive, length)


def test_a_second_request_gets_the_unfinished_operation_of_the_first(
    operator: Operator, populated: Connection
) -> None:
    first = start(operator)
    assert start(operator, 'before: "2020-01-01T00:00:00Z",') == first


def scheduled(connection: Connection) -> list[str]:
    batch_job.start_archive_if_due(connection)
    return [str(operation_id) for operation_id in records.list_unclaimed(connection)]


def test_the_first_batch_run_of_a_day_archives_a_full_range(
    operator: Operator,
    populated: Connection,
    archive: Storage,
    job: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert scheduled(job) == []
    monkeypatch.setattr(runs, "RANGE", 60)
    (operation_id,) = scheduled(job)
    assert result(operator.run(operation_id)) == {"upto": 60, "events": 60}
    assert scheduled(job) == []
    populated.run(archives.BLOCKS["begin another day"])
    assert scheduled(job) == []
    monkeypatch.setattr(runs, "RANGE", 30)
    (operation_id,) = scheduled(job)
    assert result(operator.run(operation_id)) == {"upto": 90, "events": 30}
    expect_whole(populated, archive, 90)


def test_the_first_batch_run_of_a_day_archives_old_events(
    operator: Operator, populated: Connection, archive: Storage, length: int, job: Connection
) -> None:
    archives.change(populated, "age events")
    (operation_id,) = scheduled(job)
    assert result(operator.run(operation_id)) == {"upto": length, "events": length}
    populated.run(archives.BLOCKS["begin another day"])
    assert scheduled(job) == []


def test_a_batch_run_starts_archive_even_if_one_that_an_administrator_started_has_failed(
    operator: Operator, populated: Connection, job: Connection, length: int
) -> None:
    archives.change(populated, "age events")
    operation_id = start(operator)
    assert scheduled(job) == [operation_id]
    operator.cancel(operation_id)
    assert operator.run_until_it_ends(operation_id)["state"] == "FAILED"
    (own,) = scheduled(job)
    assert own != operation_id
    operator.cancel(own)
    assert operator.run_until_it_ends(own)["state"] == "FAILED"
    assert scheduled(job) == []


@pytest.mark.exhaustive
def test_new_ranges_are_written_even_if_older_ranges_cannot_be_joined(
    operator: Operator,
    populated: Connection,
    archive: Storage,
    job: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    length = model_rows.read_value(populated, "head")
    monkeypatch.setattr(runs, "RANGE", length // 10)
    monkeypatch.setattr(runs, "TOGETHER", 9)
    monkeypatch.setattr(runs, "MAX_AGE_DAYS", 0)
    (operation_id,) = scheduled(job)

    def fail(*_: object) -> None:
        raise ProgressError("this call fails")

    with monkeypatch.context() as patch:
        patch.setattr(files.Workspace, "join", fail)
        with pytest.raises(AttemptFailed):
            deliver(operation_id)
        done = operator.run_until_it_ends(operation_id)
    assert done["state"] == "FAILED"
    assert done["error"].startswith("join: ")
    assert archives.ranges(archive)[-1].last == length
    populated.run(archives.BLOCKS["begin another day"])
    assert scheduled(job) == []
    assert result(operator.run(start(operator)))["upto"] == length
    assert len(archives.ranges(archive)) <= 3
    expect_whole(populated, archive, length)
