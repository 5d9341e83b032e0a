"""Rebuilds from an archive, with engines that load the buckets in the test's process."""

import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import runs
from progress.projections import batch, rebuild
from progress.recovery import archive_rebuild, buckets, runners
from progress.recovery.archive_loads import Rebuild
from progress.recovery.archive_rebuild import Engine, Source
from tests.conftest import Store
from tests.support import archives, sample_events
from tests.support.backup_fixtures import every_row
from tests.support.sample_events import BEGIN, lesson
from tests.support.stage import append

EXECUTION = "rebuild-x7k2p"
LEARNERS = ("ann", "ben", "cyd", "una")  # ann and una are in the same bucket


_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the archive."""
    return tmp_path / "archive"


@pytest.fixture
def archived(connection: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """A connection to a database with rows in every table; its log is archived in three ranges."""
    monkeypatch.setattr(runs, "RANGE", 60)
    sample_events.record_lessons(connection, *LEARNERS)
    append(
        connection,
        [
            sample_events.change_preferences("ann", timezone="Asia/Kathmandu", day_start_hour=4),
            sample_events.change_preferences("una", timezone=None, day_start_hour=3),
            *(event for user in ("ann", "ben", "una") for event in sample_events.choices(user)),
            sample_events.user_deleted("ben"),
        ],
    )
    batch.run(connection)
    archives.run(connection, storage.open_storage(str(folder)))
    return connection


@pytest.fixture
def archive(folder: Path) -> Storage:
    """The storage of the archive."""
    return storage.open_storage(str(folder))


def record_later(connection: Connection) -> None:
    """Record a changed time zone, a deletion, published items and lessons; run the batch job."""
    append(
        connection,
        [
            sample_events.change_preferences("una", timezone="America/New_York"),
            sample_events.user_deleted("cyd"),
            sample_events.item_published("i1", "B2", at=BEGIN + timedelta(days=9)),
            sample_events.item_published("i7"),
            *lesson("new", 1),
            *lesson("ann", 0, items=9),
            *lesson("ann", 12),
        ],
    )
    batch.run(connection)


def rebuild_plainly(store: Store, connection: Connection) -> dict[str, list[str]]:
    """Rebuild from the log; return every row."""
    rebuild.run(store.connect)
    batch.run(connection)
    return every_row(connection)


def list_left(folder: Path) -> list[str]:
    """Return the paths of the files that a rebuild has left in the archive."""
    return [file.path for file in storage.open_storage(str(folder)).list_tree("rebuilds")]


def run(store: Store, folder: Path, engine: Engine, *, execution: str = "") -> int:
    """Rebuild from the archive in the folder; return the number of folded events."""
    source = Source(str(folder), store.url)
    return archive_rebuild.run(store.connect, source, engine, lambda *_: None, execution=execution)


def run_in_turn(source: Source, rebuild: Rebuild, on_loaded: Callable[[], None]) -> None:
    """Load the buckets one after the other."""
    for bucket in range(rebuild.buckets):
        buckets.process(*source, bucket, rebuild.version)
        on_loaded()


def run_tasks(store: Store, folder: Path, count: int) -> int:
    """Rebuild with this number of tasks, each in a thread; return the number of folded events."""

    def run_task(index: int) -> int:
        if index == 0:
            return run(store, folder, first, execution=EXECUTION)
        source = Source(str(folder), store.url)
        runners.run_other_task(source, execution=EXECUTION, index=index, count=count)
        return 0

    def first(source: Source, rebuild: Rebuild, on_loaded: Callable[[], None]) -> None:
        runners.run_first_task(source, rebuild, on_loaded, count=count)

    # If a task starts after the rebuild ends, it waits for another rebuild until this timeout.
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(count) as threads:
        patch.setattr(runners, "_BEGIN_TIMEOUT_S", 10.0)
        return sum(threads.map(run_task, range(count)))


def run_until_death(owner: str, name: str, point: str, function: Callable[..., object]) -> None:
    """Call `function` in a process that kills itself before or after its first call of `name`.

    `point` is `before` or `after`. `owner` is the module or the class (`module:class`) that has the
    function `name`.
    """
    doomed = _FORKS.Process(target=_die, args=(owner, name, point, function))
    doomed.start()
    doomed.join(120)
    assert doomed.exitcode == -signal.SIGKILL


def _die(owner: str, name: str, point: str, function: Callable[..., object]) -> None:
    module, _, class_name = owner.partition(":")
    place: Any = importlib.import_module(module)
    place = getattr(place, class_name) if class_name else place
    original = getattr(place, name)

    def die(*args: Any, **values: Any) -> None:
        if point == "after":
            original(*args, **values)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(place, name, die)
    function()
