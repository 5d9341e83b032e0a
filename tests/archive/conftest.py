"""Fixtures for archives: a log, the archive's folder and storage, and small ranges."""

from pathlib import Path

import pytest

from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import runs
from progress.projections import batch
from tests.support import sample_events

LEARNERS = ("ann", "ben", "cyd", "una")  # ann and una are in the same bucket


@pytest.fixture
def log(connection: Connection) -> Connection:
    """The connection to a folded log of four learners and of three items."""
    sample_events.record_lessons(connection, *LEARNERS)
    batch.run(connection)
    return connection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of an archive."""
    return tmp_path / "archive"


@pytest.fixture
def archive(folder: Path) -> Storage:
    """The storage of an archive that does not exist yet."""
    return storage.open_storage(str(folder))


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> int:
    """The number of positions in a full range: 60, which is fewer than in production."""
    monkeypatch.setattr(runs, "RANGE", 60)
    return 60
