"""A rebuild from the archive gives the same rows as one from the log, or changes nothing.

It succeeds even if its tasks are killed, repeated or late.
"""

import contextlib
import dataclasses
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace

import pytest

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.adapters.storage.storage import Storage
from progress.archive import catalogue, erased_files, log_rows
from progress.cli import rebuilds
from progress.errors import ArchiveRunning, ProgressError, RebuildEnded
from progress.event_store import dead_letters
from progress.operations import erasure_rows
from progress.projections import batch, rebuild, replacement, replay, schema
from progress.recovery import archive_loads, beam, rebuild_processes, rebuild_units
from progress.recovery.archive_loads import Rebuild
from progress.recovery.archive_rebuild import Source
from progress.serve import readiness
from tests.conftest import Store
from tests.support import archives, cli, doomed_worker, model_rows, sample_events
from tests.support.archive_rebuilds import Archived, run_in_turn
from tests.support.sample_events import lesson
from tests.support.stage import append

# Each entry names a function. A task that loads a bucket is killed before or after it calls this
# function.
DEATHS = [
    ("progress.recovery.rebuild_units", "fetch", "after"),
    ("progress.recovery.rebuild_units", "fold_bucket", "after"),
    ("progress.recovery.archive_loads", "load_tables", "before"),
    ("progress.recovery.archive_loads", "load_tables", "after"),
    ("progress.recovery.archive_loads", "load_bucket", "after"),
]


@pytest.mark.exhaustive
def test_the_rows_equal_those_of_a_rebuild_from_the_log(archived: Archived) -> None:
    archived.record_later()
    expected = archived.run_plainly()
    assert [table for table, rows in expected.items() if not rows] == ["window_shape"]
    for workers in (1, 3):  # each process takes a second to start
        events = archived.run(functools.partial(rebuild_processes.run_processes, workers=workers))
        assert events == model_rows.read_value(archived.connection, "head")
        assert archived.rows() == expected
        assert model_rows.read_value(archived.connection, "schemas") == 1


@pytest.mark.exhaustive
def test_the_rows_include_changes_made_during_the_rebuild(
    archived: Archived, archive: Storage
) -> None:
    sample_events.poison(archived.connection, "una")
    rebuild.run(archived.store.connect)  # marks una's event as poisoned
    model_rows.read_value(archived.connection, "mend")

    def change(source: Source, number: Rebuild, on_loaded: Callable[[], None]) -> None:
        append(archived.connection, [sample_events.user_deleted("cyd"), *lesson("new", 2)])
        begin_erasure(archived.connection, archive, "ann")
        run_in_turn(source, number, on_loaded)
        (letter,) = dead_letters.list_letters(archived.connection)
        assert replay.replay(archived.connection, letter.letter_id) is None
        append(archived.connection, lesson("una", 11))

    archived.run(change)
    batch.run(archived.connection)
    rows = archived.rows()
    assert model_rows.read(archived.connection, "poisoned") == []
    assert rows == archived.run_plainly()
    assert {row.split(",")[0] for row in rows["user_progress"]} == {"(new", "(una"}


def forbid(connection: Connection, learner: str) -> None:
    connection.run(archives.BLOCKS["begin erasure"], learner=learner)
    ((operation_id,),) = connection.run("SELECT operation_id FROM operations.operations")
    erasure_rows.forbid_learner(connection, learner, operation_id)


def begin_erasure(connection: Connection, archive: Storage, learner: str) -> None:
    """Begin an erasure; assert that it cannot rewrite the archive's files during the rebuild."""
    forbid(connection, learner)
    busy = erasure_rows.fold_deletion(connection, learner)
    assert busy == [replacement.building_name()]
    schema.set_search_path(connection)
    with pytest.raises(ArchiveRunning):
        erased_files.remove_stream(connection, archive, f"learner-{learner}", lambda _: None)


@pytest.mark.exhaustive
def test_a_learner_who_is_not_yet_erased_from_the_archive_does_not_reappear(
    archived: Archived, archive: Storage
) -> None:
    forbid(archived.connection, "ann")
    batch.run(archived.connection)
    archives.run(archived.connection, archive)  # the new range's files leave out ann's UserDeleted
    archived.run(run_in_turn)
    assert archived.rows() == archived.run_plainly()


@pytest.mark.exhaustive
def test_an_archive_that_cannot_be_used_is_rejected_and_nothing_is_left_behind(
    archived: Archived, archive: Storage
) -> None:
    engine = run_in_turn
    path = archives.find_file(archive, "learner-cyd")
    archives.flip_byte(archive, path)
    archived.expect_rejection(engine, path)
    archives.flip_byte(archive, path)
    archived.expect_rejection(lambda *_: None, "16 of 16 buckets were not loaded")
    ranges, away = archived.folder / "ranges", archived.folder / "away"
    newest = max(path.name for path in ranges.iterdir())

    def lose_a_range(source: Source, number: Rebuild, on_loaded: Callable[[], None]) -> None:
        (ranges / newest).rename(away)
        run_in_turn(source, number, on_loaded)

    def lose_the_archive(source: Source, number: Rebuild, on_loaded: Callable[[], None]) -> None:
        ranges.rename(away)
        run_in_turn(source, number, on_loaded)

    def poison(source: Source, number: Rebuild, on_loaded: Callable[[], None]) -> None:
        archived.connection.run("SELECT event_store.mark_poisoned(schema_fingerprint(), 5, 'x')")
        run_in_turn(source, number, on_loaded)

    archived.expect_rejection(lose_a_range, "events were loaded")
    away.rename(ranges / newest)
    archived.expect_rejection(lose_the_archive, "no archive")
    away.rename(ranges)
    archived.expect_rejection(poison, "position 5 was poisoned")
    with log_rows.hold_lock(archived.connection):
        archived.expect_rejection(engine, "another run works on the archive")
    (ranges / "0-1.delta").touch()
    archived.expect_rejection(engine, "newer code")
    (ranges / "0-1.delta").unlink()
    archives.change(archived.connection, "record later", position=catalogue.read(archive).upto)
    archived.expect_rejection(engine, "another log")
    missing = dataclasses.replace(archived, folder=archived.folder / "missing")
    missing.expect_rejection(engine, "no archive")


@pytest.mark.exhaustive
def test_a_bucket_is_loaded_only_once_although_tasks_are_killed_and_repeated(
    archived: Archived,
) -> None:
    bucket = log_rows.bucket_of(archived.connection, "learner-ann", archives.BUCKETS)

    def kill_and_repeat(source: Source, rebuild: Rebuild, on_loaded: Callable[[], None]) -> None:
        work = functools.partial(rebuild_units.process, *source, bucket, rebuild.version)
        for death in DEATHS:
            assert doomed_worker.call_until_death(
                work, functools.partial(doomed_worker.doom_call, *death)
            )
        assert work() == 0, "the bucket was loaded again after a killed task had loaded it"
        for _ in range(2):
            run_in_turn(source, rebuild, on_loaded)

    with archived.unchanged():
        archived.run(kill_and_repeat)


@pytest.mark.exhaustive
def test_the_next_rebuild_succeeds_after_a_rebuild_that_was_killed_in_any_step(
    archived: Archived,
) -> None:
    with archived.unchanged():
        before = archived.rows()
        for step in ("begin", "load", "end", "catch_up"):
            archived.run_until_death(step)
            assert archived.rows() == before
        archived.run(run_in_turn)


@pytest.mark.exhaustive
def test_the_next_rebuild_ends_the_tasks_of_a_rebuild_that_was_killed(archived: Archived) -> None:
    archived.run_until_death("begin")
    with (
        archive_loads.connect(archived.store.url) as task,
        archive_loads.connect(archived.store.url) as other_task,
        ThreadPoolExecutor(1) as threads,
    ):
        ((version,),) = task.run("SELECT version FROM archive_rebuild")
        with database.transaction(task):
            record = blocks("recovery/archive_rebuild")["record bucket"]
            assert task.run(record, bucket=0, events=0, version=version)
            again = threads.submit(archived.run, run_in_turn)
            readiness.wait(lambda: has_ended(other_task, version), "the end of the killed rebuild")
        again.result(120)


def has_ended(connection: Connection, version: int) -> bool:
    try:
        archive_loads.open_bucket(connection, 1, version)
    except RebuildEnded:
        return True
    return False


@pytest.mark.exhaustive
def test_a_repeated_task_waits_until_the_killed_attempt_s_locks_are_free(
    archived: Archived, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {
        "DATABASE_URL": archived.store.url,
        "PROGRESS_DATA_DIR": str(archived.folder.parent),
        "CLOUD_RUN_TASK_ATTEMPT": "1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings.current.cache_clear()
    monkeypatch.setattr(rebuild_processes, "run_processes", lambda *parts, **_: run_in_turn(*parts))
    with archived.unchanged(), contextlib.ExitStack() as killed_attempt:
        killed_attempt.enter_context(replacement.hold_lock(archived.connection))
        clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: killed_attempt.close())
        monkeypatch.setattr(rebuilds, "time", clock)
        rebuilds.rebuild_command(from_archive=True)


def test_beam_gets_the_options_of_any_runner(
    archived: Archived, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / ".packages").touch()
    program = tmp_path / "bin" / "python"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/got\nexit 3\n')
    program.chmod(0o755)
    monkeypatch.setattr(beam, "_ENVIRONMENT", tmp_path)

    def run(*options: str) -> list[str]:
        with archived.unchanged(), pytest.raises(ProgressError, match="the Beam pipeline failed"):
            archived.run(functools.partial(beam.run, options=options))
        return (tmp_path / "got").read_text().splitlines()

    assert run("--runner=DataflowRunner", "--region=r")[-2:] == [
        "--runner=DataflowRunner",
        "--region=r",
    ]
    local = run(*beam.list_local_options(3))
    assert {"--runner=DirectRunner", "--direct_num_workers=3"} <= {*local}
    assert f"--schema={replacement.building_name()}" in local


def test_options_of_a_runner_are_refused_without_beam(store: Store) -> None:
    refused = ("--", "--runner=FlinkRunner")
    for options in (("--engine", "beam"), ("--from-archive", "--engine", "local")):
        done = cli.progress(store.url, "rebuild", *options, *refused)
        assert done.returncode == 2
        assert "options of a runner need --from-archive --engine beam" in done.stderr


@pytest.fixture(autouse=True)
def restore_process_state() -> Iterator[None]:
    """Restore the handler of SIGTERM and clear the cached settings after each test.

    A command that runs in the test process changes both.
    """
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)
    settings.current.cache_clear()


@pytest.mark.exhaustive
def test_other_processes_load_the_buckets_of_a_process_that_was_killed(archived: Archived) -> None:
    killed: list[BaseProcess] = []

    def kill_one(source: Source, number: Rebuild, on_loaded: Callable[[], None]) -> None:
        def kill() -> None:
            on_loaded()
            if not killed:
                killed.extend(multiprocessing.active_children()[:1])
                killed[0].kill()

        rebuild_processes.run_processes(source, number, kill, workers=2)

    with archived.unchanged():
        archived.run(kill_one)
    assert killed


@pytest.mark.exhaustive
def test_the_command_rebuilds_with_processes_and_rejects_a_missing_archive(
    archived: Archived, tmp_path: Path
) -> None:
    command = ("rebuild", "--from-archive")
    refused = cli.progress(archived.store.url, *command, PROGRESS_DATA_DIR=str(tmp_path / "empty"))
    cli.expect_failure(refused, "there is no archive")
    done = cli.progress(
        archived.store.url,
        *command,
        PROGRESS_DATA_DIR=str(tmp_path),
        TZ="Asia/Kathmandu",
        LC_ALL="C",
    )
    assert "are folded into new projections" in cli.expect_success(done)
    assert not sample_events.find_differences(archived.connection)


@pytest.mark.exhaustive
def test_a_command_that_is_interrupted_leaves_nothing_behind(
    archived: Archived, tmp_path: Path
) -> None:
    every_slot = "SELECT {}(hashtext('archive load'), n) FROM generate_series(0, 7) n"
    archived.connection.run(every_slot.format("pg_advisory_lock"))  # the processes wait for a slot
    with archived.unchanged():
        command = subprocess.Popen(
            [sys.executable, "-m", "progress.cli", "rebuild", "--from-archive"],
            env=settings.child_env(
                DATABASE_URL=archived.store.url, PROGRESS_DATA_DIR=str(tmp_path)
            ),
            start_new_session=True,
        )
        readiness.wait(lambda: bool(archived.list_left()), "the rebuild", seconds=60)
        os.killpg(command.pid, signal.SIGTERM)  # Cloud Run interrupts a job in this way
        assert command.wait(60)
    archived.connection.run(every_slot.format("pg_advisory_unlock"))
