"""If the disk is full during the swap of a rebuild, the live read models stay as they were."""

import itertools
from contextlib import closing
from pathlib import Path

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import ProgressError
from progress.projections import batch, rebuild, replacement
from progress.recovery import checks
from progress.serve import readiness
from progress.serve.laptop import postgres
from tests.support import model_rows, sample_events, small_disks
from tests.support.postgres_servers import OwnServer
from tests.support.recovery_fixtures import every_row
from tests.support.stage import append, connect

LEARNERS = [f"u{n}" for n in range(40)]


@pytest.mark.exhaustive
def test_a_disk_that_is_full_during_the_swap_leaves_the_live_read_models(
    small_server: OwnServer, small_disk: Path
) -> None:
    def open_connection() -> Connection:
        return database.connect(small_server.url, name="rebuild")

    def rebuild_until_the_disk_is_full() -> None:
        with replacement.open_replacement(open_connection) as second:
            rebuild.fold(open_connection)
            # The swap folds these lessons. They need more space than PostgreSQL's files have left.
            for learner, day in itertools.product(LEARNERS, range(5, 15)):
                append(connection, sample_events.lesson(learner, day))
            small_disks.fill(filler)
            replacement.swap(second)

    filler = small_disk / "filler"
    rebuild.ensure(open_connection)
    with closing(connect(small_server.url)) as connection:
        sample_events.record_lessons(connection, *LEARNERS[:4])
        batch.run(connection)
        before = every_row(connection)
        with pytest.raises((ProgressError, *database.ERRORS), match=r"No space left|unavailable"):
            rebuild_until_the_disk_is_full()
    filler.unlink()
    readiness.wait(lambda: postgres.is_answering(small_server.url), "PostgreSQL", seconds=60)
    with closing(connect(small_server.url)) as connection:
        assert every_row(connection) == before
        rebuild.run(open_connection)  # drops what the failed rebuild has left
        batch.run(connection)
        assert model_rows.read_value(connection, "schemas") == 1
        assert not checks.run(connection).findings
        assert not sample_events.find_differences(connection)
