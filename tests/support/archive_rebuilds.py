"""Rebuilds from an archive, with engines that load the buckets in the test's process."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.adapters.storage.storage import Storage
from progress.archive import runs
from progress.errors import ProgressError, RebuildRunning
from progress.projections import batch, rebuild, replacement
from progress.recovery import archive_rebuild, rebuild_units
from progress.recovery.archive_loads import Rebuild
from progress.recovery.archive_rebuild import Engine, Source
from progress.serve import readiness
from tests.conftest import Store
from tests.support import archives, doomed_worker, model_rows, sample_events
from tests.support.recovery_fixtures import every_row
from tests.support.sample_events import BEGIN, lesson
from tests.support.stage import append

LEARNERS = ("ann", "ben", "cyd", "una")  # ann and una are in the same bucket


@dataclass(frozen=True)
class Archived:
    """A database with rows in every table, whose log is archived in three ranges."""

    store: Store
    connection: Connection
    folder: Path
    archive: Storage

    @property
    def source(self) -> Source:
        return Source(str(self.folder), self.store.url)

    def rows(self) -> dict[str, list[str]]:
        sizes = self.connection.run(blocks("read_models/catalogue_sizes")["live"])  # of all shards
        return every_row(self.connection) | {"catalogue_sizes": sorted(map(str, sizes))}

    def list_left(self) -> list[str]:
        return [file.path for file in self.archive.list_tree("rebuilds")]

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        before = self.rows()
        yield
        assert self.rows() == before
        assert model_rows.read_value(self.connection, "schemas") == 1
        assert self.list_left() == []

    def run(self, engine: Engine) -> int:
        return run(self.store, self.source, engine)

    def expect_rejection(self, engine: Engine, words: str) -> None:
        with self.unchanged(), pytest.raises(ProgressError, match=words):
            self.run(engine)

    def run_plainly(self) -> dict[str, list[str]]:
        rebuild.run(self.store.connect)
        batch.run(self.connection)
        return self.rows()

    def run_until_death(self, step: str) -> None:
        filling = "progress.recovery.archive_rebuild:_Filling"
        assert doomed_worker.call_until_death(
            functools.partial(run, self.store, self.source, run_in_turn),
            functools.partial(doomed_worker.doom_call, filling, step, "after"),
        )
        readiness.wait(self._is_lock_free, "the end of the killed rebuild's session")

    def _is_lock_free(self) -> bool:
        try:
            with replacement.hold_lock(self.connection):
                return True
        except RebuildRunning:
            return False

    def record_later(self) -> None:
        append(
            self.connection,
            [
                sample_events.change_preferences(
                    "una", timezone="America/New_York", display_name="Una"
                ),
                sample_events.user_deleted("cyd"),
                sample_events.item_published("i1", "B2", at=BEGIN + timedelta(days=9)),
                sample_events.item_published("i7"),
                *lesson("new", 1),
                *lesson("ann", 0, items=9),
                *lesson("ann", 12),
            ],
        )
        batch.run(self.connection)


@pytest.fixture
def archived(
    store: Store,
    connection: Connection,
    folder: Path,
    archive: Storage,
    monkeypatch: pytest.MonkeyPatch,
) -> Archived:
    monkeypatch.setattr(runs, "RANGE", 60)
    sample_events.record_lessons(connection, *LEARNERS)
    append(
        connection,
        [
            sample_events.change_preferences(
                "ann", timezone="Asia/Kathmandu", day_start_hour=4, display_name="Ann"
            ),
            sample_events.change_preferences("una", timezone=None, day_start_hour=3),
            *(event for user in ("ann", "ben", "una") for event in sample_events.choices(user)),
            *sample_events.catalogue_list(),
            sample_events.user_deleted("ben"),
        ],
    )
    batch.run(connection)
    archives.run(connection, archive)
    return Archived(store, connection, folder, archive)


def run(store: Store, source: Source, engine: Engine) -> int:
    return archive_rebuild.run(store.connect, source, engine, lambda *_: None)


def run_in_turn(source: Source, rebuild: Rebuild, on_loaded: Callable[[], None]) -> None:
    for bucket in range(rebuild.buckets):
        rebuild_units.process(*source, bucket, rebuild.version)
        on_loaded()
