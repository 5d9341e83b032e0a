"""Beam's local runner rebuilds from the archive; the rows equal those of a rebuild from the log."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.recovery import archive_loads, beam
from progress.recovery.archive_loads import Rebuild
from progress.recovery.archive_rebuild import Source
from progress.serve import readiness
from tests.conftest import skip_without
from tests.support import archives, cli, model_rows
from tests.support.archive_rebuilds import Archived

LOCAL = beam.list_local_options(2)

_WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@pytest.fixture(autouse=True)
def require_beam(request: pytest.FixtureRequest) -> None:
    if not beam.is_installed():
        skip_without(request, "beam")


def test_two_concurrent_pipelines_give_the_same_rows_as_a_rebuild_from_the_log(
    archived: Archived,
) -> None:
    archived.record_later()
    expected = archived.run_plainly()

    def run_twice(source: Source, rebuild: Rebuild, on_loaded: Callable[[], None]) -> None:
        with ThreadPoolExecutor(2) as threads:
            runs = [
                threads.submit(beam.run, source, rebuild, lambda: None, options=LOCAL)
                for _ in range(2)
            ]
        for done in runs:
            done.result()
        on_loaded()

    events = archived.run(run_twice)
    assert events == model_rows.read_value(archived.connection, "head")
    assert archived.rows() == expected
    assert archived.list_left() == []


def test_the_pipeline_starts_again_if_a_worker_is_killed(archived: Archived) -> None:
    def kill_one(source: Source, rebuild: Rebuild, on_loaded: Callable[[], None]) -> None:
        with ThreadPoolExecutor(1) as threads, archive_loads.connect(archived.store.url) as holder:
            with database.transaction(holder):
                holder.run("LOCK TABLE loaded_buckets IN EXCLUSIVE MODE")
                run = threads.submit(beam.run, source, rebuild, lambda: None, options=LOCAL)
                readiness.wait(
                    lambda: count_waiting(archived.connection) >= 2, "two workers", seconds=300
                )
                first, *others = find_workers()
                first.kill()
                # `beam_pipeline` kills the other workers too. Otherwise, Beam would wait for the
                # killed worker.
                psutil.wait_procs([first, *others])
            run.result()

    before = archived.rows()
    archived.run(kill_one)
    assert archived.rows() == before


def count_waiting(connection: Connection) -> int:
    count: int = connection.run(_WAITING)[0][0]
    return count


def find_workers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "sdk_worker_main" in " ".join(child.cmdline())]


def test_the_command_rebuilds_with_beam_and_reports_a_damaged_file(
    archived: Archived, archive: Storage, tmp_path: Path
) -> None:
    before = archived.rows()
    command = ("rebuild", "--from-archive", "--engine", "beam")
    path = archives.find_file(archive, "learner-cyd")
    archives.flip_byte(archive, path)
    failed = cli.progress(archived.store.url, *command, PROGRESS_DATA_DIR=str(tmp_path))
    cli.expect_failure(failed, "the Beam pipeline failed", path)
    assert archived.rows() == before
    archives.flip_byte(archive, path)
    done = cli.progress(archived.store.url, *command, PROGRESS_DATA_DIR=str(tmp_path))
    assert "are folded into new projections" in cli.expect_success(done)
    assert archived.rows() == before
