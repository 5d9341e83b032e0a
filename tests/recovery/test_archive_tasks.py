"""A rebuild from the archive succeeds even if its tasks are killed, repeated or late."""

import contextlib
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
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
from progress.archive import log_rows
from progress.cli import rebuilds
from progress.cli.rebuilds import EngineName
from progress.errors import RebuildEnded, RebuildRunning
from progress.local import readiness
from progress.projections import replacement
from progress.recovery import archive_loads, buckets, runners
from progress.recovery.archive_loads import Rebuild
from progress.recovery.archive_rebuild import Source
from tests.conftest import Store
from tests.support import archive_rebuilds, archives, cli, model_rows, sample_events
from tests.support.archive_rebuilds import archived, folder
from tests.support.backup_fixtures import every_row

__all__ = ["archived", "folder"]

pytestmark = pytest.mark.timeout(300)  # processes start slowly on a busy machine

FILLING = "progress.recovery.archive_rebuild:_Filling"
# Each entry names a function. A task that loads a bucket is killed before or after it calls this
# function.
DEATHS = [
    ("progress.recovery.buckets", "fetch", "after"),
    ("progress.recovery.buckets", "fold_bucket", "after"),
    ("progress.recovery.archive_loads", "load_tables", "before"),
    ("progress.recovery.archive_loads", "load_tables", "after"),
    ("progress.recovery.archive_loads", "load_bucket", "after"),
]


@pytest.mark.exhaustive
def test_a_bucket_is_loaded_only_once_although_tasks_are_killed_and_repeated(
    store: Store, archived: Connection, folder: Path
) -> None:
    bucket = log_rows.bucket_of(archived, "learner-ann", archives.BUCKETS)

    def kill_and_repeat(source: Source, rebuild: Rebuild, on_loaded: Callable[[], None]) -> None:
        work = functools.partial(buckets.process, *source, bucket, rebuild.version)
        for owner, name, point in DEATHS:
            archive_rebuilds.run_until_death(owner, name, point, work)
        assert work() == 0, "the bucket was loaded again after a killed task had loaded it"
        for _ in range(2):
            archive_rebuilds.run_in_turn(source, rebuild, on_loaded)

    before = every_row(archived)
    archive_rebuilds.run(store, folder, kill_and_repeat)
    assert every_row(archived) == before
    assert archive_rebuilds.list_left(folder) == []


@pytest.mark.exhaustive
def test_the_next_rebuild_succeeds_after_a_rebuild_that_was_killed_in_any_step(
    store: Store, archived: Connection, folder: Path
) -> None:
    before = every_row(archived)
    rebuilding = functools.partial(
        archive_rebuilds.run, store, folder, archive_rebuilds.run_in_turn
    )
    for step in ("begin", "load", "end", "catch_up"):
        archive_rebuilds.run_until_death(FILLING, step, "after", rebuilding)
        readiness.wait(lambda: is_lock_free(archived), "the end of the killed rebuild's session")
        assert every_row(archived) == before
    rebuilding()
    assert every_row(archived) == before
    assert model_rows.read_value(archived, "schemas") == 1
    assert archive_rebuilds.list_left(folder) == []


def test_the_next_rebuild_ends_the_tasks_of_a_rebuild_that_was_killed(
    store: Store, archived: Connection, folder: Path
) -> None:
    rebuilding = functools.partial(
        archive_rebuilds.run, store, folder, archive_rebuilds.run_in_turn
    )
    archive_rebuilds.run_until_death(FILLING, "begin", "after", rebuilding)
    readiness.wait(lambda: is_lock_free(archived), "the end of the killed rebuild's session")
    with (
        archive_loads.connect(store.url) as task,
        archive_loads.connect(store.url) as other_task,
        ThreadPoolExecutor(1) as threads,
    ):
        ((version,),) = task.run("SELECT version FROM archive_rebuild")
        with database.transaction(task):
            record = blocks("recovery/archive_rebuild")["record bucket"]
            assert task.run(record, bucket=0, events=0, version=version)
            again = threads.submit(rebuilding)
            readiness.wait(lambda: has_ended(other_task, version), "the end of the killed rebuild")
        again.result(120)


def has_ended(connection: Connection, version: int) -> bool:
    try:
        archive_loads.open_bucket(connection, 1, version)
    except RebuildEnded:
        return True
    return False


@pytest.mark.exhaustive
@pytest.mark.parametrize("engine", [EngineName.TASKS, EngineName.BEAM])
def test_a_retried_first_task_waits_until_the_killed_attempt_s_locks_are_free(
    store: Store,
    archived: Connection,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: EngineName,
) -> None:
    environment = {
        "DATABASE_URL": store.url,
        "PROGRESS_DATA_DIR": str(folder.parent),
        "CLOUD_RUN_EXECUTION": archive_rebuilds.EXECUTION,
        "CLOUD_RUN_TASK_ATTEMPT": "1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings.current.cache_clear()
    monkeypatch.setattr(rebuilds, "_choose_beam", lambda *_: archive_rebuilds.run_in_turn)
    before = every_row(archived)
    with contextlib.ExitStack() as killed_attempt:
        killed_attempt.enter_context(replacement.hold_lock(archived))
        clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: killed_attempt.close())
        monkeypatch.setattr(rebuilds, "time", clock)
        rebuilds.rebuild_command(from_archive=True, engine=engine)
    assert every_row(archived) == before


@pytest.fixture(autouse=True)
def restore_process_state() -> Iterator[None]:
    """Restore the handler of SIGTERM and clear the cached settings after each test.

    A command that runs in the test process changes both.
    """
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)
    settings.current.cache_clear()


def is_lock_free(connection: Connection) -> bool:
    try:
        with replacement.hold_lock(connection):
            return True
    except RebuildRunning:
        return False


def test_other_processes_load_the_buckets_of_a_process_that_was_killed(
    store: Store, archived: Connection, folder: Path
) -> None:
    killed: list[BaseProcess] = []

    def kill_one(source: Source, number: Rebuild, on_loaded: Callable[[], None]) -> None:
        def kill() -> None:
            on_loaded()
            if not killed:
                killed.extend(multiprocessing.active_children()[:1])
                killed[0].kill()

        runners.run_processes(source, number, kill, workers=2)

    before = every_row(archived)
    archive_rebuilds.run(store, folder, kill_one)
    assert killed
    assert every_row(archived) == before


def test_a_task_ends_if_the_rebuild_ends_without_it(
    store: Store, archived: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun, has_ended, lock = threading.Event(), threading.Event(), archive_loads.lock_bucket

    def lock_late(connection: Connection, bucket: int) -> None:
        has_begun.set()
        has_ended.wait(120)
        lock(connection, bucket)

    monkeypatch.setattr(archive_loads, "lock_bucket", lock_late)
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(
            runners.run_other_task,
            Source(str(folder), store.url),
            execution=archive_rebuilds.EXECUTION,
            index=1,
            count=2,
        )

        def run_without(source: Source, number: Rebuild, on_loaded: Callable[[], None]) -> None:
            has_begun.wait(120)
            archive_rebuilds.run_in_turn(source, number, on_loaded)

        archive_rebuilds.run(store, folder, run_without, execution=archive_rebuilds.EXECUTION)
        has_ended.set()
        other.result(120)


def test_the_command_rebuilds_with_tasks_and_rejects_a_missing_archive(
    store: Store, archived: Connection, folder: Path, tmp_path: Path
) -> None:
    command = ("rebuild", "--from-archive")
    refused = cli.progress(store.url, *command, PROGRESS_DATA_DIR=str(tmp_path / "empty"))
    cli.expect_failure(refused, "there is no archive")
    tasks = ("--engine", "tasks", "--workers", "2")
    done = cli.progress(
        store.url,
        *command,
        *tasks,
        PROGRESS_DATA_DIR=str(tmp_path),
        TZ="Asia/Kathmandu",
        LC_ALL="C",
    )
    assert "are folded into new projections" in cli.expect_success(done)
    assert not sample_events.find_differences(archived)


def test_a_command_that_is_interrupted_leaves_nothing_behind(
    store: Store, archived: Connection, folder: Path, tmp_path: Path
) -> None:
    before = every_row(archived)
    with archive_loads.hold_bucket(archived, 0):  # the first task waits for this lock
        command = subprocess.Popen(
            [sys.executable, "-m", "progress.cli", "rebuild", "--from-archive", "--engine=tasks"],
            env=settings.child_env(DATABASE_URL=store.url, PROGRESS_DATA_DIR=str(tmp_path)),
            start_new_session=True,
        )
        readiness.wait(lambda: bool(archive_rebuilds.list_left(folder)), "the rebuild", seconds=60)
        os.killpg(command.pid, signal.SIGTERM)  # Cloud Run interrupts a job in this way
        assert command.wait(60)
    assert archive_rebuilds.list_left(folder) == []
    assert model_rows.read_value(archived, "schemas") == 1
    assert every_row(archived) == before
