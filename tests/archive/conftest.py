"""Fixtures for archives: a log and small ranges."""

import pytest

from progress.adapters.postgres.database import Connection
from progress.archive import runs
from progress.projections import batch
from tests.support import sample_events

LEARNERS = ("ann", "ben", "cyd", "una")  # ann and una are in the same bucket


@pytest.fixture
def log(connection: Connection) -> Connection:
    sample_events.record_lessons(connection, *LEARNERS)
    batch.run(connection)
    return connection


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> int:
    """The number of positions in a full range: 60, which is fewer than in production."""
    monkeypatch.setattr(runs, "RANGE", 60)
    return 60
